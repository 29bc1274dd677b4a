package attempt

import (
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"weak"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A deletion that waits for its node keeps alive neither what belongs to other nodes nor
// the rounds. It is done when the node answers again, and nothing else is asked for any more.
func TestWaitingDeletionKeepsLittleAlive(t *testing.T) {
	for _, m := range makes {
		inWorldOf(t, 3, m, func(t *testing.T, w *world) {
			a, res := w.group.acquire(t.Context(), nil, "k", "t", ttl, timeout)
			if res.Verdict != round.Won {
				t.Fatal(res)
			}
			synctest.Wait() // all three have granted
			seats := []weak.Pointer[nodeState]{weak.Make(a.states[0]), weak.Make(a.states[1]), weak.Make(a.states[2])}
			w.fault[2].Set(faulty.Refuse(nil))
			if res := a.Release(t.Context(), timeout); res.Verdict != round.Won {
				t.Fatal(res)
			}
			synctest.Wait() // the senders have let go of it
			runtime.GC()
			for i, s := range seats {
				if alive := s.Value() != nil; alive != (i == 2) {
					t.Errorf("%s: the state of node %d is alive: %v", m, i, alive)
				}
			}
			if res := a.Extend(t.Context(), ttl, timeout); res.Verdict != round.Gone || res.Elapsed != 0 {
				t.Errorf("%s: an extension after the release came to %v", m, res)
			}
			if res := a.Release(t.Context(), timeout); res.Verdict != round.Gone || res.Elapsed != 0 {
				t.Errorf("%s: a second release came to %v", m, res)
			}
			w.fault[2].Clear()
			if err := w.group.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if ok, err := w.mem[2].SetNX(t.Context(), "k", "other", ttl); !ok || err != nil {
				t.Errorf("%s: the token is not deleted: %v, %v", m, ok, err)
			}
		})
	}
}

// What a deletion takes that waits for one node of three, which is away. It counts what
// nodes in memory take too: three keys for a lock that is held, and one for a deletion.
func BenchmarkWaitingDeletion(b *testing.B) {
	const locks = 10_000
	nodes := make([]backend.Node, 3)
	for i := range nodes {
		nodes[i] = memory.New()
	}
	away := faulty.NewFaultNode(nodes[2])
	nodes[2] = away
	heap := func() float64 {
		runtime.GC()
		runtime.GC() // frees what the first one removed from pools
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	for b.Loop() {
		away.Clear()
		g, err := NewNodes(nodes, Config{}, nil)
		if err != nil {
			b.Fatal(err)
		}
		key := func(i int) string { return fmt.Sprint("key ", i) }
		before := heap()
		attempts := make([]*Attempt, locks)
		for i := range attempts {
			var res round.Result
			if attempts[i], res = g.acquire(b.Context(), nil, key(i), fmt.Sprint("token ", i), ttl, timeout); res.Verdict != round.Won {
				b.Fatal(res)
			}
		}
		held := heap()
		away.Set(faulty.Refuse(nil))
		for i, a := range attempts {
			a.Release(b.Context(), timeout)
			attempts[i] = nil
		}
		b.ReportMetric((held-before)/locks, "B/held")
		b.ReportMetric((heap()-before)/float64(g.Cleanups()), "B/deletion")
		away.Clear()
		if err := g.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
