package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// maxHint is by how much a hint may be ahead of a node's clock for the node to
// follow it.
const maxHint = 250 * time.Millisecond

// maxAhead is by how much a node lets its counter be ahead of its clock.
const maxAhead = 24 * time.Hour

// Fencing is what the tries of one caller for a key have in common that are to have
// a fencing token. It is made by [Group.Fencing]. Its methods may be called
// concurrently.
type Fencing struct {
	group   *Group
	key     string
	counter string       // where nodes keep it
	seen    atomic.Int64 // the highest counter of a node that refused
}

// Fencing returns what it takes to acquire key with a fencing token, without I/O, or
// an error if the nodes or the key do not allow it.
func (g *Group) Fencing(key string) (*Fencing, error) {
	if err := g.CanFence(); err != nil {
		return nil, err
	}
	counter, ok := proto.CounterKey(key)
	if !ok {
		return nil, errors.New("no fencing token: a key with braces but no hash tag has no counter, " +
			"since no name that begins with the key shares its slot")
	}
	return &Fencing{group: g, key: key, counter: counter}, nil
}

// CanFence returns an error that names a node which cannot vote for fencing tokens,
// nil if all can.
func (g *Group) CanFence() error {
	for _, l := range g.members {
		if !l.queueing.scripts {
			return fmt.Errorf("no fencing token: %s does not run scripts (backend.Scripter): %w", l.name, errors.ErrUnsupported)
		}
	}
	return nil
}

// Acquire is [Group.Acquire] with a fencing token.
func (f *Fencing) Acquire(ctx context.Context, token string, ttl, timeout time.Duration) (*Attempt, Result) {
	g := f.group
	a := g.attempt(f.key, token)
	f.fence(a, ttl)
	res := a.round(ctx, request{kind: acquiring, ttl: ttl, timeout: timeout})
	if res.Verdict == Won {
		res = a.agree(ctx, res, timeout)
	}
	if res.Verdict != Won {
		a.Abandon()
	}
	return a, res
}

// Adopt is [Group.Adopt] of an attempt that has this fencing token.
func (f *Fencing) Adopt(token string, fence uint64, life time.Duration) *Attempt {
	a := f.group.Adopt(f.key, token, life)
	f.fence(a, life)
	a.voting.value = int64(fence)
	return a
}

// fence has a vote for a fencing token wherever it acquires.
func (f *Fencing) fence(a *Attempt, ttl time.Duration) {
	v := &voting{
		fencing: f,
		stands:  ttl + CallTimeout,
	}
	if v.votes = v.one[:]; len(a.seats) > 1 {
		v.votes = make([]nodeVote, len(a.seats))
	}
	v.tombstone, _ = proto.TombstoneKey(f.key, a.token)
	a.voting = v
}

// hint returns what the nodes are to vote for now: the time by their own clocks, as far
// as these are known, so that it does not matter what ours says. A counter that is
// ahead of that is passed, unless the others would not follow: what is too far ahead of
// their clocks they cut, each by its own clock, and would vote for different values.
func (f *Fencing) hint(a *Attempt, now time.Time) int64 {
	var room [8]time.Duration
	offsets := room[:0]
	for i := range a.seats {
		if offset, ok := a.seats[i].member.skew.get(); ok {
			offsets = append(offsets, offset)
		}
	}
	theirs := f.group.cfg.Clock.at(now).Wall().Add(median(offsets)).UnixMicro()
	if seen := f.seen.Load(); seen >= theirs && seen < theirs+maxHint.Microseconds() {
		return seen + 1
	}
	return max(theirs, 1)
}

// sees notes the counter of a node that refused.
func (f *Fencing) sees(counter int64) {
	for {
		old := f.seen.Load()
		if counter <= old || f.seen.CompareAndSwap(old, counter) {
			return
		}
	}
}

// median returns the middle of offsets, 0 if there are none.
func median(offsets []time.Duration) time.Duration {
	n := len(offsets)
	if n == 0 {
		return 0
	}
	slices.Sort(offsets)
	low := offsets[(n-1)/2]
	return low + (offsets[n/2]-low)/2
}

// voting is an attempt's way to its fencing token. It is guarded by the mutex of the
// attempt, but for what says otherwise.
//
// A vote for a value is a node's counter being moved from below it up to it, which
// happens once for each value, whatever the clocks and the network do. So a value with
// the votes of a quorum is one attempt's alone, and a later attempt, which shares a node
// with it, gets a higher one.
type voting struct {
	fencing   *Fencing
	tombstone string        // its key; not changed
	stands    time.Duration // how long the tombstone is kept; not changed

	hint  int64       // 0 until the first vote
	votes []nodeVote  // by node
	one   [1]nodeVote // room for votes where there is one node
	value int64       // the fencing token; 0 while there is none
}

// A nodeVote is what is known of a node's vote.
type nodeVote struct {
	aim    int64 // what it was last asked to vote for
	cast   int64 // what it last voted for; 0: it did not, as far as is known
	answer Vote  // to the last acquire, a late one too

	// A vote of unknown outcome was sent, or one twice, so that one may arrive later.
	// Read by the sender, before the seat is submitted.
	unsure bool

	// Room for the first vote of a caller that does not wait, most often the only one. It is used once: a call that
	// hangs may still read it.
	used bool
	keys [3]string
	args [4]string
}

// room returns the room for a vote, nil if it has been used.
func (b *nodeVote) room() (keys, args []string) {
	if b.used {
		return nil, nil
	}
	b.used = true
	return b.keys[:0], b.args[:0]
}

// Fence returns the fencing token of an attempt that has won, 0 if it has none.
func (a *Attempt) Fence() uint64 {
	if a.voting == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return uint64(a.voting.value)
}

// agree finds the fencing token of an attempt that a quorum has granted, with the
// result res: the value for which a quorum has voted, or else the highest vote that is
// known, if a quorum raises its votes to that. What is not answered yet is not waited
// for. It returns res, or the result of the second round.
func (a *Attempt) agree(ctx context.Context, res Result, timeout time.Duration) Result {
	v := a.voting
	if v == nil {
		return res
	}
	a.mu.Lock()
	value, agreed := v.tally(a.group.need)
	if agreed {
		v.value = value
	}
	a.mu.Unlock()
	if agreed {
		return res
	}
	raised := a.round(ctx, request{kind: raising, value: value, timeout: timeout})
	raised.Elapsed += res.Elapsed
	if raised.Verdict == Won {
		a.mu.Lock()
		defer a.mu.Unlock()
		v.value = value
	}
	return raised
}

// tally returns the value for which need nodes have voted, or the one to raise the others
// to.
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

// highest returns the highest vote, but for those that the other nodes would not follow:
// of a node whose clock is days ahead of theirs. The hint says where these are, and so does
// the lowest vote, if the hint does not.
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

// aim returns what the next node is to vote for: the same as those before it.
func (v *voting) aim() int64 {
	if v.value > 0 {
		return v.value
	}
	return max(v.hint, v.highest())
}

// vote returns what the seat's node is to vote for. An acquire with a vote may be sent again.
func (s *seat) vote() proto.Vote {
	v := s.attempt.voting
	if v.hint == 0 {
		v.hint = v.fencing.hint(s.attempt, s.begun)
	}
	aim := v.aim()
	v.votes[s.index].aim = aim
	return proto.Vote{Counter: v.fencing.counter, Tombstone: v.tombstone, Hint: aim, Keep: s.attempt.group.cfg.CounterLife}
}

// raise returns a raise of the node's vote, which may be sent again.
func (s *seat) raise() backend.Op {
	a := s.attempt
	raise := proto.Raise{
		Lock: a.key, Counter: a.voting.fencing.counter, Token: a.token,
		Value: s.current.value, Keep: a.group.cfg.CounterLife, Check: s.check(),
	}
	return raise.Op(nil, nil)
}

// prolong returns an extension that keeps the counter too.
func (s *seat) prolong() backend.Op {
	a := s.attempt
	prolong := proto.Prolong{
		Lock: a.key, Counter: a.voting.fencing.counter, Token: a.token,
		TTL: s.current.ttl, Value: a.voting.value, Keep: a.group.cfg.CounterLife,
	}
	return prolong.Op(nil, nil)
}

// explain adds to the error of a script for fencing what it may be about: a server that
// refuses a key to a user does not say which.
func (s *seat) explain(err error) error {
	if err == nil || s.attempt.voting == nil || s.current.kind == releasing || !strings.Contains(err.Error(), "NOPERM") {
		return err
	}
	counter := text.Quote(s.attempt.voting.fencing.counter)
	tombstone, _ := proto.TombstoneKey(s.attempt.key, "*") // its own would show the token
	if s.ticketed {
		return fmt.Errorf("%w (a fencing token also takes the keys %s and %s, and to wait for it %s)", err,
			counter, text.Quote(tombstone), text.Quote(s.attempt.queue))
	}
	return fmt.Errorf("%w (a fencing token also takes the keys %s and %s)", err, counter, text.Quote(tombstone))
}

// tombstone returns the tombstone that the current release or rollback is to add, if a vote
// may still arrive, and notes whether there is one.
func (s *seat) tombstone() proto.Tombstone {
	v := s.attempt.voting
	s.buried = v != nil && v.votes[s.index].unsure
	if !s.buried {
		return proto.Tombstone{}
	}
	return proto.Tombstone{Key: v.tombstone, Life: v.stands}
}

// raises returns what the seat has to say to a raise without asking its node, if
// that can be told: whether its vote is for the value.
func (s *seat) raises(r request) (vote Vote, told bool) {
	b := s.attempt.voting.votes[s.index]
	cast := b.cast
	switch {
	case s.token == absent:
		return b.answer, true
	case cast > r.value+maxAhead.Microseconds():
		return Vote{Outcome: Failed, Err: fmt.Errorf("no fencing token: it votes for %d, "+
			"which is more than a day ahead of what others vote for: set its clock right", cast)}, true
	case cast > r.value:
		return Vote{Outcome: Taken}, true
	case cast == r.value:
		return Vote{Outcome: Granted}, true
	}
	return Vote{}, false
}

// voted takes the answer of a node to a vote.
func (s *seat) voted(r proto.AcquireReply, now time.Time) {
	v := s.attempt.voting
	s.member.skew.learn(time.UnixMicro(r.Clock), s.attempt.group.cfg.Clock.at(now).Wall(), now.Sub(s.begun), now)
	if r.Granted {
		v.votes[s.index].cast = r.Counter
	} else {
		v.fencing.sees(r.Counter)
	}
}
