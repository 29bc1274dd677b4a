package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// maxPicks is how many slots a call tries one after the other, without a pause, because
// surveys have found them free. Others may be faster each time.
const maxPicks = 4

// Slots is what this process knows about the slots of a lock that several may hold. Its
// methods may be called concurrently.
type Slots struct {
	n  int
	mu sync.Mutex

	// Slots that this process has released and not acquired again, the last one last.
	// They are most likely free. At most n.
	released []int
}

// NewSlots returns the Slots of a lock that n may hold, from 1 to [proto.MostSlots].
func NewSlots(n int) *Slots { return &Slots{n: n} }

// has reports whether i is one of the slots.
func (s *Slots) has(i int) bool { return 1 <= i && i <= s.n }

// pick returns the slot to try if nothing is known about the others: the one that this
// process has released last, otherwise a random one.
func (s *Slots) pick() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.released); n > 0 {
		i := s.released[n-1]
		s.released = s.released[:n-1] // the next caller tries another one
		return i
	}
	return 1 + rand.IntN(s.n)
}

// won notes that this process has the slot with that key.
func (s *Slots) won(key string) {
	_, i, _ := proto.Slot(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.released = slices.DeleteFunc(s.released, func(j int) bool { return i == j })
}

// Released notes that this process has released the slot with that key. A nil s does
// nothing.
func (s *Slots) Released(key string) {
	if s == nil {
		return
	}
	_, i, _ := proto.Slot(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i <= s.n && !slices.Contains(s.released, i) {
		s.released = append(s.released, i)
	}
}

// trySlots makes a plain attempt, and, while surveys find a free slot, a few more. It
// returns the last one, and when that began.
func (g *Group) trySlots(ctx context.Context, r *Request, start clock.Instant) (*attempt.Attempt, round.Result, clock.Instant) {
	slot := r.Slots.pick()
	for picks := 1; ; picks++ {
		a, res := g.plain(ctx, r, proto.SlotKey(r.Key, slot))
		if res.Verdict != round.Lost || res.CtxErr != nil || picks == maxPicks {
			return a, res, start
		}
		survey, _ := inspect.Slots(ctx, g, r.Key, r.Slots.n, "", r.Timeout)
		free := survey.Free(g.Need())
		if len(free) == 0 {
			return a, res, start
		}
		r.Caller.Attempted(res)
		slot, start = free[rand.IntN(len(free))], g.Config.Clock.Now()
	}
}
