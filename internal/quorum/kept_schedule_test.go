package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// In some schedules with readers, nodes restart without their data, again and again, and nothing
// else goes wrong. Holders that read extend what they hold, so that such a node gets the share
// again. Half of these schedules have a quarantine, which keeps writers away although nodes
// forget. What is checked in addition:
//
//   - a node that has lost a share does not confirm an extension before another one
//     was confirmed without it;
//   - nobody extends a lock that has ended;
//   - a node on which others read gives a share back, although a writer waits;
//   - a share ends with the release.
//
// In all schedules without other faults, a holder that becomes a reader leaves the queues.

// Mistakes of extensions and rejoins.
const (
	countsAtOnce  rushBug = "a rejoin that counts in the extension that it follows"
	revivesShare  rushBug = "an extension that revives a share beside other readers"
	rejoinsLate   rushBug = "a rejoin after the release"
	rejoinsBehind rushBug = "a rejoin that waits behind a writer"
	staysQueued   rushBug = "a downgrade that leaves its ticket in the queues"
)

// mostRelease is how long the nodes may take to end a share after its release has begun. The calls
// that are under way come first.
const mostRelease = 50 * time.Millisecond

// A loss says whether a node has lost the share of a hold, and no extension has been confirmed
// since.
type loss struct {
	lost  bool
	since time.Time
}

// A witness is a node that notices when it refuses a share to a token that had one, although
// others read.
type witness struct {
	*memory.Node
	s *rush

	mu  sync.Mutex
	had map[string]bool // by token
}

func (s *rush) newWitness(mem *memory.Node) *witness {
	return &witness{Node: mem, s: s, had: make(map[string]bool)}
}

func (w *witness) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch script {
	default:
		return w.Node.Eval(ctx, script, keys, args)
	case lua.ReleaseShared, lua.RollbackShared:
		delete(w.had, args[0])
		return w.Node.Eval(ctx, script, keys, args)
	case lua.AcquireShared:
	}
	before, _ := w.Inspect(ctx, keys[0])
	r, err := w.Node.Eval(ctx, script, keys, args)
	switch granted, _ := r.Int(0); {
	case err != nil:
	case granted == 1:
		w.had[args[0]] = true
	case w.had[args[0]] && before.Value == proto.SharedValue:
		w.s.mu.Lock()
		w.s.problem("%s does not give %s its share of %s back, although others read", w.Name(), args[0], keys[0])
		w.s.mu.Unlock()
	}
	return r, err
}

func (w *witness) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i, op := range ops {
		results[i] = op.Do(ctx, w)
	}
	return results
}

// forget makes nodes lose what they have.
func (s *rush) forget(rng *rand.Rand) {
	for range 2 + rng.IntN(6) {
		time.Sleep(s.hold + draw(rng, 4*s.hold))
		s.event("a node that forgets", nil, &s.stats.flushes)
		s.mu.Lock()
		i := rng.IntN(len(s.nodes))
		for _, key := range s.keys {
			value, readers := s.readersOn(i, key.name)
			for _, h := range key.holds {
				if h.valid(time.Now()) && (value == h.token || slices.Contains(readers, h.token)) {
					h.on[i] = loss{true, time.Now()}
					s.stats.sharesLost++
				}
			}
		}
		s.nodes[i].Flush()
		s.mu.Unlock()
	}
}

// extend extends the hold of a reader, or makes a reader of the holder.
func (s *rush) extend(h *hold, a Held, extend func(ctx context.Context, ttl, timeout time.Duration) round.Result) {
	begun := time.Now()
	res := extend(context.Background(), s.ttl, 100*time.Millisecond)
	s.mu.Lock()
	defer s.mu.Unlock()
	won := res.Verdict == round.Won
	for i, v := range res.Votes {
		switch on := &h.on[i]; {
		case v.Outcome == round.Granted && on.lost && on.since.Before(begun):
			s.problem("node %d confirms an extension of %s, whose share it has lost", i, h.token)
		case v.Outcome != round.Granted && won:
			on.lost = false // from now on it is asked for the share
		}
		if v.Rejoined {
			s.stats.rejoined++
		}
	}
	now := time.Now()
	switch {
	case won && h.until.Before(begun) && s.restarts:
		s.problem("%s is extended %v after its end", h.token, begun.Sub(h.until))
	case won && now.Before(h.until):
		s.stats.extended++
		h.until = begun.Add(s.ttl - shareSlack)
		a.Lasts(a.Begun.Add(h.until.Sub(a.Begun.Time())))
	case res.Verdict == round.Gone && now.Before(h.until):
		h.until = now
		a.Lose()
	}
}

// keep extends what a caller reads a few times, and now and then too late.
func (c *rushCaller) keep(h *hold, a Held) {
	s := c.p.rush
	for range 1 + c.rng.IntN(5) {
		s.mu.Lock()
		valid := h.valid(time.Now())
		s.mu.Unlock()
		if !valid {
			return
		}
		s.extend(h, a, a.Extend)
		if c.rng.IntN(4) == 0 {
			return // it releases while some nodes have yet to answer
		}
		time.Sleep(draw(c.rng, 2*c.hold))
	}
	if s.restarts && c.rng.IntN(32) == 0 {
		time.Sleep(s.ttl + 10*s.trip)
		s.extend(h, a, a.Extend)
	}
}

// overdue finds shares that have not ended with the release, and tickets that have not left the
// queues with the downgrade.
func (s *rush) overdue(key *contested) {
	now := time.Now()
	late := func(since time.Time) bool { return !since.IsZero() && now.Sub(since) > mostRelease }
	for i := range s.nodes {
		_, readers := s.readersOn(i, key.name)
		for _, h := range key.holds {
			switch {
			case h.found:
			case late(h.over) && slices.Contains(readers, h.token):
				h.found = true
				s.problem("node %d has the share of %s %v after its release", i, h.token, now.Sub(h.over))
			case late(h.lowered) && h.valid(now) && s.queuedFor(h.p, i, key):
				h.found = true
				s.problem("node %d has the ticket of %s in its queue %v after the downgrade", i, h.token, now.Sub(h.lowered))
			}
		}
	}
}

// queuedFor reports whether the ticket with which a process waits for the lock itself is queued on
// node i, although no caller of the process does.
func (s *rush) queuedFor(p *rusher, i int, key *contested) bool {
	for _, w := range key.waits {
		if w.p == p && !w.shared && (w.over.IsZero() || time.Since(w.over) < mostRelease) {
			return false
		}
	}
	ls := &p.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	queue, _ := proto.QueueKey(key.name)
	r, _ := s.nodes[i].Eval(context.Background(), lua.Inspect, []string{key.name, queue}, []string{"1000"})
	return ls.inbox != nil && slices.Contains(r, any(ls.inbox.ticket))
}

// mistakeOfKeeping makes the mistakes of extensions and rejoins before op is sent. held is the
// lock's value, and share makes a share of the token on the node at once.
func (l *link) mistakeOfKeeping(op backend.Op, held memory.Entry, share func(op backend.Op)) backend.Op {
	const reads = 5 // where an acquire says that its token reads elsewhere
	rejoins := op.Script == lua.AcquireShared && len(op.Args) > reads
	switch b := l.p.rush.bug; {
	case b == countsAtOnce && op.Script == lua.ExtendShared && !held.Found,
		b == revivesShare && op.Script == lua.ExtendShared && held.Value == proto.SharedValue:
		share(op)
	case b == rejoinsBehind && rejoins:
		op.Args = op.Args[:reads]
	case b == staysQueued && op.Script == lua.ReleaseShared && op.Args[0] == "":
		return nothing
	case b == rejoinsLate && rejoins:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rejoins[op.Args[0]] = op
	}
	return op
}

// rejoinAgain repeats the rejoin of a token that was released.
func (l *link) rejoinAgain(release backend.Op) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if again, ok := l.rejoins[release.Args[0]]; ok {
		again.Do(context.Background(), l.mem)
	}
}

// Mistakes of extensions and rejoins are noticed too.
func TestKeptSchedulesNoticeBugs(t *testing.T) {
	rushesNotice(t, 1000, 100, func(t *testing.T, seed uint64, b rushBug) *rush { return simulateReaders(t, seed, b, true, true) },
		countsAtOnce, revivesShare, rejoinsLate, rejoinsBehind, staysQueued)
}
