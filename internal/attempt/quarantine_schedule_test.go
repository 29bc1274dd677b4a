package attempt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// A loss says how the nodes of a ballot lose what they have: everything or the end of it,
// by a restart or without one. Besides what ballots check, no two hold a lock at once.
// The clocks of nodes are off by lossSkew at most, those of clients by hours, and locks are
// not freed otherwise. In some ballots the clocks of nodes are set within these bounds,
// which a lock does not survive, but its token does.
type loss struct {
	quarantine bool
	sets       bool // the clocks of nodes
}

const lossMarker = "marker"

// lossSkew is by how much clocks may be off if a quarantine is longer than the TTL by a
// second.
const lossSkew = 250 * time.Millisecond

// quarantine returns the one that processes ask for.
func (s *ballot) quarantine() time.Duration {
	if s.loss == nil || !s.loss.quarantine {
		return 0
	}
	if s.long {
		return longTTL*s.ttl + time.Second
	}
	return s.ttl + time.Second
}

// losses makes the trouble of a ballot that is about loss.
func (s *ballot) losses(rng *rand.Rand) {
	if s.long && rng.IntN(20) > 0 { // locks are held for longer
		return
	}
	v, p := s.nodes[rng.IntN(len(s.nodes))], s.processes[rng.IntN(len(s.processes))]
	switch what := rng.IntN(40); {
	case what < 6:
		s.count(&s.stats.steps)
		p.clock.Set(time.Duration(rng.Int64N(int64(12*time.Hour))) - 6*time.Hour)
	case what < 8 && s.loss.sets:
		s.count(&s.stats.steps)
		v.offset.Set(testnodes.Draw(rng, 2*lossSkew) - lossSkew)
	case what < 12:
		s.count(&s.stats.pauses)
		p.until.Store(time.Now().Add(testnodes.Draw(rng, 2*s.ttl)).UnixNano())
	case what < 20:
		v.save()
	case what < 21:
		s.count(&s.stats.wipes)
		switch rng.IntN(3) {
		case 0:
			v.lose()
		case 1:
			v.lose()
			v.Restart()
		case 2:
			v.restore()
		}
	}
}

// An image is what a node has written to its disk.
type image struct {
	at      time.Time // by its clock
	entries map[string]memory.Entry
}

// save writes an image of the node's keys, but for queues.
func (v *voter) save() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.image = image{v.offset.Now(), map[string]memory.Entry{}}
	for _, key := range v.Keys() {
		if e, _ := v.Inspect(context.Background(), key); e.Value != "" {
			v.image.entries[key] = e
		}
	}
}

// restore starts the node again with its image: what came later is lost.
func (v *voter) restore() {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.counts)
	v.Flush()
	for key, e := range v.image.entries {
		if e.TTL != backend.NoExpiry {
			if e.TTL -= v.offset.Now().Sub(v.image.at); e.TTL <= 0 {
				continue
			}
		}
		v.Set(key, e.Value, e.TTL)
	}
	v.Restart()
}

// judgeHolders looks whether two have held a lock at once.
func (s *ballot) judgeHolders() {
	for _, key := range s.keys {
		var held []grant
		for _, g := range s.grants {
			if g.key == key && g.won.Before(g.ended) {
				held = append(held, g)
			}
		}
		slices.SortFunc(held, func(a, b grant) int { return a.won.Compare(b.won) })
		for i := 1; i < len(held); i++ {
			if last := held[i-1]; held[i].won.Before(last.ended) {
				s.overlaps++
				s.problem("%s was had with the token %d from %v on, and with %d until %v", key,
					held[i].fence, held[i].won.Format("05.000000"), last.fence, last.ended.Format("05.000000"))
			}
			if held[i].ended.Before(held[i-1].ended) { // the longest counts
				held[i] = held[i-1]
			}
		}
	}
}

// simulateLoss runs the ballot of a seed with losses, with a quarantine or without.
func simulateLoss(t *testing.T, seed uint64, quarantine bool) *ballot {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 20))
	s := &ballot{
		wipe: true, rng: rand.New(rand.NewPCG(seed, 21)), raised: map[string]bool{},
		loss: &loss{quarantine: quarantine, sets: rng.IntN(4) == 0},
		trip: 2*time.Millisecond + time.Duration(rng.IntN(2)), ttl: 400 * time.Millisecond, keys: []string{"k0"},
	}
	s.run(t, rng, []int{1, 2, 3, 3, 3, 5}[rng.IntN(6)], false)
	s.judge()
	if !s.loss.sets {
		s.judgeHolders()
	}
	return s
}

// Where nodes lose what they have, a quarantine keeps locks apart and tokens in order.
func TestQuarantineSchedules(t *testing.T) {
	n := (*testnodes.Schedules + 79) / 80
	if testing.Short() {
		n = min(n, 10)
	}
	var total ballotStats
	testnodes.Each(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulateLoss(t, seed, true)
		what := fmt.Sprintf("%d nodes, clocks set: %v", len(s.nodes), s.loss.sets)
		return testnodes.Over{Problems: s.problems, What: what, Note: func() { total.add(s.stats) }}
	})
	t.Logf("%d schedules, no violation: %v; %+v", n, !t.Failed(), total)
	if n >= 25 && (total.grants < 5*n || total.wipes < 5*n || total.waited < 5*n || total.prolonged < 5*n) {
		t.Error("too little has happened")
	}
}

// Without one, the same losses do not.
func TestQuarantineSchedulesWithout(t *testing.T) {
	const most = 500
	wrong, overlaps, seed := 0, 0, uint64(1)
	for ; seed <= most && (wrong == 0 || overlaps == 0); seed++ {
		s := simulateLoss(t, seed, false)
		overlaps += s.overlaps
		if len(s.problems) > s.overlaps { // not all of them are locks that two had
			wrong++
		}
	}
	t.Logf("after %d schedules: %d locks that two had at once, and tokens that were wrong in %d schedules", seed-1, overlaps, wrong)
	if wrong == 0 || overlaps == 0 {
		t.Error("nothing is noticed without a quarantine: the schedules show nothing")
	}
}
