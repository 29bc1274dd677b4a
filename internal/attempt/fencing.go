package attempt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/text"
)

// maxHint is how far a hint may be ahead of a node's clock and still be followed by the
// node.
const maxHint = 250 * time.Millisecond

// maxAhead is how far a node lets its counter be ahead of its clock.
const maxAhead = 24 * time.Hour

// Fencing is what all attempts of one caller to get a key with a fencing token share.
// [Nodes.Fencing] makes it.
type Fencing struct {
	nodes   *Nodes
	key     string
	counter string       // key of the counter on the nodes
	seen    atomic.Int64 // the highest counter reported with a refusal

	slots map[string]*Fencing // by the key of a slot
}

// Fencing prepares to acquire key with a fencing token. It does no I/O. It returns an
// error if the nodes or the key do not allow fencing.
func (ns *Nodes) Fencing(key string) (*Fencing, error) {
	if err := ns.CanFence(); err != nil {
		return nil, err
	}
	counter, ok := proto.CounterKey(key)
	if !ok {
		return nil, errors.New("no fencing token: a key with braces but no hash tag has no counter, " +
			"since no name that begins with the key shares its slot")
	}
	return &Fencing{nodes: ns, key: key, counter: counter}, nil
}

// Of returns the Fencing for the lock or slot key. f may be nil. It must not be called
// concurrently.
func (f *Fencing) Of(key string) *Fencing {
	if f == nil || f.key == key {
		return f
	}
	s := f.slots[key]
	if s == nil {
		if f.slots == nil {
			f.slots = make(map[string]*Fencing)
		}
		s = &Fencing{nodes: f.nodes, key: key}
		s.counter, _ = proto.CounterKey(key)
		f.slots[key] = s
	}
	return s
}

// CanFence returns an error that names a node that cannot vote for fencing tokens, or
// nil.
func (ns *Nodes) CanFence() error {
	for _, m := range ns.Members {
		if !m.Queueing.Scripts {
			return fmt.Errorf("no fencing token: %s does not run scripts (backend.Scripter): %w", m.Name, errors.ErrUnsupported)
		}
	}
	return nil
}

// Vote turns every acquire of the attempt into a vote for a fencing token. It must be called
// before the attempt acquires for ttl. A nil f does nothing.
func (a *Attempt) Vote(f *Fencing, ttl time.Duration) {
	if f == nil {
		return
	}
	v := &voting{
		fencing:       f,
		tombstoneLife: ttl + sender.CallTimeout,
	}
	if v.votes = v.one[:]; len(a.states) > 1 {
		v.votes = make([]nodeVote, len(a.states))
	}
	v.tombstone, _ = proto.TombstoneKey(f.key, a.token)
	a.voting = v
}

// Resume says that the attempt, which was adopted, has the fencing token fence, and extends
// for ttl.
func (a *Attempt) Resume(f *Fencing, ttl time.Duration, fence uint64) {
	a.Vote(f, ttl)
	a.voting.value = int64(fence)
}

// hint returns the value that the nodes should vote for now: the time on their own
// clocks, as far as these are known, so that this process's clock does not matter.
//
// If a counter is known to be ahead of that, hint returns a value above the counter. It
// does not if the counter is too far ahead: each node limits such a hint according to its
// own clock, so the nodes would vote for different values.
func (f *Fencing) hint(a *Attempt, now time.Time) int64 {
	var room [8]time.Duration
	offsets := room[:0]
	for i := range a.states {
		if offset, ok := a.states[i].member.Clock.Get(); ok {
			offsets = append(offsets, offset)
		}
	}
	theirs := f.nodes.Config.Clock.At(now).Wall().Add(clock.Median(offsets)).UnixMicro()
	if seen := f.seen.Load(); seen >= theirs && seen < theirs+maxHint.Microseconds() {
		return seen + 1
	}
	return max(theirs, 1)
}

// sees notes a counter reported with a refusal.
func (f *Fencing) sees(counter int64) {
	for {
		old := f.seen.Load()
		if counter <= old || f.seen.CompareAndSwap(old, counter) {
			return
		}
	}
}

// voting is how an attempt gets its fencing token. The attempt's mutex guards it, except
// where noted.
//
// A node votes for a value by raising its counter from below that value to it. This
// happens once for each value on each node, whatever clocks and networks do. So only one
// attempt can have a value with the votes of a quorum. A later attempt shares a node with
// it, and therefore gets a higher value.
type voting struct {
	fencing       *Fencing
	tombstone     string        // its key; constant
	tombstoneLife time.Duration // how long the tombstone is kept; constant

	hint  int64       // 0 until the first vote
	votes []nodeVote  // by node
	one   [1]nodeVote // space for votes if there is one node
	value int64       // the fencing token; 0: none yet
}

// A nodeVote is what is known about a node's vote.
type nodeVote struct {
	aim    int64      // what it was last asked to vote for
	cast   int64      // what it last voted for; 0: no vote is known
	answer round.Vote // to the last acquire, even if it came late

	// A vote with an unknown outcome was sent, or a vote was sent twice, so one may still
	// arrive. The sender reads this before the node state is submitted.
	unsure bool

	// Space for the first vote of a caller that does not wait, which is usually the only
	// one. It is used once, because a call that hangs may still read it.
	used bool
	keys [3]string
	args [4]string
}

// room returns the space for a vote, or nil if it has been used.
func (b *nodeVote) room() (keys, args []string) {
	if b.used {
		return nil, nil
	}
	b.used = true
	return b.keys[:0], b.args[:0]
}

// Fence returns the fencing token of an attempt that has won, or 0 if it has none. A reader
// has none, even if it had the lock for itself before.
func (a *Attempt) Fence() uint64 {
	if a.voting == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shared != nil {
		return 0
	}
	return uint64(a.voting.value)
}

// Agree finds the fencing token of an attempt that a quorum has granted with result res.
// It is the value for which a quorum voted. If there is none, a second round asks the
// nodes to raise their votes to the highest known vote, and that value is the token if a
// quorum does. Agree does not wait for answers to the first round that are still missing.
// It returns res, or the result of the second round.
func (a *Attempt) Agree(ctx context.Context, res round.Result, timeout time.Duration) round.Result {
	v := a.voting
	if v == nil {
		return res
	}
	a.mu.Lock()
	value, agreed := v.tally(a.nodes.Need())
	if agreed {
		v.value = value
	}
	a.mu.Unlock()
	if agreed {
		return res
	}
	raised := a.round(ctx, request{kind: round.Raising, value: value, timeout: timeout})
	raised.Elapsed += res.Elapsed
	if raised.Verdict == round.Won {
		a.mu.Lock()
		defer a.mu.Unlock()
		v.value = value
	}
	return raised
}

// tally returns the value for which need nodes have voted, or else the value to which the
// others should be raised.
func (v *voting) tally(need int) (value int64, agreed bool) {
	for _, b := range v.votes {
		votes := 0
		for _, other := range v.votes {
			if other.cast == b.cast {
				votes++
			}
		}
		if b.cast > 0 && votes >= need {
			return b.cast, true
		}
	}
	return v.highest(), false
}

// highest returns the highest vote that the other nodes would follow. It ignores the vote
// of a node whose clock is days ahead of theirs. The hint shows what their clocks say;
// the lowest vote does too, in case the hint is wrong.
func (v *voting) highest() int64 {
	lowest := int64(0)
	for _, b := range v.votes {
		if b.cast > 0 && (lowest == 0 || b.cast < lowest) {
			lowest = b.cast
		}
	}
	limit := max(v.hint, lowest) + maxAhead.Microseconds()
	highest := int64(0)
	for _, b := range v.votes {
		if b.cast <= limit {
			highest = max(highest, b.cast)
		}
	}
	return highest
}

// aim returns what the next node should vote for: the same as the nodes before it.
func (v *voting) aim() int64 {
	if v.value > 0 {
		return v.value
	}
	return max(v.hint, v.highest())
}

// vote returns what the node should vote for. An acquire with a vote may be sent again.
func (s *nodeState) vote() proto.Vote {
	v := s.attempt.voting
	if v.hint == 0 {
		v.hint = v.fencing.hint(s.attempt, s.begun)
	}
	aim := v.aim()
	v.votes[s.index].aim = aim
	return proto.Vote{Counter: v.fencing.counter, Tombstone: v.tombstone, Hint: aim, Keep: s.attempt.nodes.Config.CounterLife}
}

// raise returns an operation that raises the node's vote. It may be sent again.
func (s *nodeState) raise() backend.Op {
	a := s.attempt
	raise := proto.Raise{
		Lock: a.key, Counter: a.voting.fencing.counter, Token: a.token,
		Value: s.current.value, Keep: a.nodes.Config.CounterLife, Check: s.check(),
	}
	return raise.Op(nil, nil)
}

// prolong returns an extension that also keeps the counter alive.
func (s *nodeState) prolong() backend.Op {
	a := s.attempt
	prolong := proto.Prolong{
		Lock: a.key, Counter: a.voting.fencing.counter, Token: a.token,
		TTL: s.current.ttl, Value: a.voting.value, Keep: a.nodes.Config.CounterLife,
	}
	return prolong.Op(nil, nil)
}

// explain adds the keys that fencing or the shared mode uses to an access error of a script,
// because the server does not say which key it denies.
func (s *nodeState) explain(err error) error {
	if err == nil || s.current.kind == round.Releasing || !strings.Contains(err.Error(), "NOPERM") {
		return err
	}
	switch s.item.Op.Script {
	case lua.AcquireShared, lua.ExtendShared:
		return fmt.Errorf("%w (a shared lock also takes the keys %s and %s)", err, text.Quote(s.attempt.queue()), text.Quote(s.attempt.readers()))
	case lua.Vote, lua.Raise, lua.Prolong:
	default:
		return err
	}
	counter := text.Quote(s.attempt.voting.fencing.counter)
	tombstone, _ := proto.TombstoneKey(s.attempt.key, "*") // the real key would show the token
	if s.ticketed {
		return fmt.Errorf("%w (a fencing token also takes the keys %s and %s, and to wait for it %s)", err,
			counter, text.Quote(tombstone), text.Quote(s.attempt.queue()))
	}
	return fmt.Errorf("%w (a fencing token also takes the keys %s and %s)", err, counter, text.Quote(tombstone))
}

// tombstone returns the tombstone that the current release or rollback should add, if a
// vote may still arrive. It sets s.tombstoned accordingly.
func (s *nodeState) tombstone() proto.Tombstone {
	v := s.attempt.voting
	s.tombstoned = v != nil && v.votes[s.index].unsure && s.attempt.shared == nil
	if !s.tombstoned {
		return proto.Tombstone{}
	}
	return proto.Tombstone{Key: v.tombstone, Life: v.tombstoneLife}
}

// raises answers a raise without asking the node, if the known vote is enough to tell.
func (s *nodeState) raises(r request) (vote round.Vote, told bool) {
	b := s.attempt.voting.votes[s.index]
	cast := b.cast
	switch {
	case s.token == absent:
		return b.answer, true
	case cast > r.value+maxAhead.Microseconds():
		return round.Vote{Outcome: round.Failed, Err: fmt.Errorf("no fencing token: it votes for %d, "+
			"which is more than a day ahead of what others vote for: set its clock right", cast)}, true
	case cast > r.value:
		return round.Vote{Outcome: round.Taken}, true
	case cast == r.value:
		return round.Vote{Outcome: round.Granted}, true
	}
	return round.Vote{}, false
}

// voted records a node's answer to a vote.
func (s *nodeState) voted(r proto.AcquireReply, now time.Time) {
	v := s.attempt.voting
	s.member.Clock.Learn(time.UnixMicro(r.Clock), s.attempt.nodes.Config.Clock.At(now).Wall(), now.Sub(s.begun), now)
	if r.Granted {
		v.votes[s.index].cast = r.Counter
	} else {
		v.fencing.sees(r.Counter)
	}
}
