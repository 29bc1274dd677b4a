package attempt

import (
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A rejoin gives a node that has lost the token of a held lock the token back. The node
// restarted without its data, or did not answer for longer than the TTL. Without rejoins,
// a lock would end once a quorum of nodes had been away at one time or another, however
// often it is extended.
//
// It is an acquire of the same token that belongs to no round. It is sent after an
// extension that a quorum confirmed without this node, and never after the release has
// begun. The node decides as for any caller: it grants the lock if the key is free. The
// grant counts once a later extension finds it. docs/safety.md explains why this gives no
// lock to two holders.
type rejoin struct {
	after *round.Round  // the extension after which the node was last asked
	ends  clock.Instant // end of the lease that extension gave
	given bool          // the node may have granted it since it last confirmed an extension
	news  bool          // the node has granted it, and no round has reported this yet
	sure  bool          // the current operation is exempt from the quarantine
	twice bool          // sent while an earlier one of unknown outcome might still arrive
	lasts clock.Instant // with a quarantine: until then the confirmed key lives, unless it is lost

	// The node is not asked again before this time. A deletion that took a rejoin back
	// may still arrive, and would end the lease there, because it names the same token.
	barred time.Time
}

// rejoin asks the nodes that have lost the token to grant it again, if the extension ext
// was won. It asks each node once for each extension.
func (a *Attempt) rejoin(ext request, now time.Time) {
	if ext.round.Verdict == round.Gone {
		a.gone = true
	}
	if ext.round.Verdict != round.Won || a.gone {
		return
	}
	for i := range a.states {
		s := a.states[i]
		if !s.lacks() || s.rejoin.bars(now) || s.released.Load() || s.rejoin != nil && s.rejoin.after == ext.round || slices.ContainsFunc(s.queue, isRejoin) {
			continue
		}
		s.rejoins().after, s.rejoin.ends = ext.round, a.nodes.Config.Clock.At(ext.round.Start).Add(ext.ttl)
		s.ask(request{kind: round.Acquiring, rejoin: true, ttl: ext.ttl, timeout: ext.timeout}, now)
	}
}

// isJoin reports whether r asks a node that has notified a lock's holder.
func isJoin(r request) bool { return r.joins }

// isRejoin reports whether r asks a node to grant a token again that it has lost.
func isRejoin(r request) bool { return r.kind == round.Acquiring && r.rejoin }

// lacks reports whether, as far as is known, the node does not have the token.
func (s *nodeState) lacks() bool { return s.token == absent || s.token == doubted && s.missing }

// bars reports whether the node must not be asked now.
func (r *rejoin) bars(now time.Time) bool { return r != nil && now.Before(r.barred) }

// tookBack handles the outcome of a deletion that takes a rejoin back.
func (r *rejoin) tookBack(s *nodeState, unknown bool, now time.Time) {
	if s.current.rejoin && unknown {
		r.barred = now.Add(s.attempt.nodes.Config.Quarantine) // longer than a request can be on its way
	}
}

// rejoins returns the rejoin of s, making it first if necessary. Few node states have
// one.
func (s *nodeState) rejoins() *rejoin {
	if s.rejoin == nil {
		s.rejoin = new(rejoin)
	}
	return s.rejoin
}

// begin notes whether the quarantine applies to the request that begins now. It does not
// if the node has confirmed the token so recently that the key cannot have expired.
//
// A quarantine protects locks that a node may have granted to others and lost. This node
// granted nothing to others while it had the key. If it has lost the key, it lost it with
// all other data, and has been in quarantine since then, which lasts longer than the key
// would have.
func (r *rejoin) begin(s *nodeState, req request, now time.Time) {
	if r != nil {
		cfg := &s.attempt.nodes.Config
		r.sure = req.rejoin && cfg.Quarantine > 0 && !r.lasts.Past(cfg.Clock.At(now))
	}
}

// answered handles the outcome of a rejoin.
func (r *rejoin) answered(s *nodeState, now time.Time) {
	if !s.current.rejoin || s.token == absent {
		return
	}
	r.given, r.news = true, r.news || s.token == held
	if r.sure && (s.token == doubted || r.lasts.Past(s.attempt.nodes.Config.Clock.At(now))) {
		// The node may grant it, or have granted it, after its quarantine, while others
		// had the lock. It is taken back before an extension can find it.
		s.queue = append([]request{{kind: round.Releasing, rejoin: true, timeout: s.current.timeout}}, s.queue...)
	}
}

// confirmed notes that the node has granted the current operation, an acquire or an
// extension.
func (s *nodeState) confirmed() {
	if cfg := &s.attempt.nodes.Config; cfg.Quarantine > 0 {
		s.rejoins().lasts = cfg.Clock.At(s.begun).Add(s.current.ttl - cfg.Drift(s.current.ttl))
	}
}

// found notes that the token was found on the node, and reports whether this is the first
// time since a rejoin.
func (s *nodeState) found() bool {
	r := s.rejoin
	if r == nil || !r.given {
		return false
	}
	r.given, r.news = false, r.news || s.token == doubted
	return true
}

// tell makes the round of an extension report that the node has the token again.
func (r *rejoin) tell(ext *round.Round, node int) {
	if r != nil && r.news && ext.Verdict == round.Undecided {
		ext.Votes[node].Rejoined, r.news = true, false
	}
}
