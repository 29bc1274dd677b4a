package sender

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// Callers that have just been answered run before the next call is made, so their next
// operations share it. Otherwise the first of them would have a call of its own.
func TestAnsweredCallersShareACall(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that no caller runs beside the sender
	for _, nodes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			const callers, turns = eager / 2, 20
			server := &server{cost: time.Microsecond, keys: map[string]string{}}
			s := New(NewShared(nodes), server)
			s.Hold()
			var all sync.WaitGroup
			for i := range callers {
				all.Go(func() {
					op := backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint("k", i), Token: "t"}
					for range turns {
						if _, err := do(s, Acquiring, op); err != nil {
							t.Error(err)
						}
					}
				})
			}
			synctest.Wait()
			s.Resume()
			all.Wait()
			// Now and then the scheduler goes back to the sender before all callers have run.
			if calls, ops := server.set(up); ops != callers*turns || calls > turns*3/2 {
				t.Errorf("%d nodes: %d calls with %d operations, want about %d with %d", nodes, calls, ops, turns, callers*turns)
			}
		})
	}
}

// Extensions, full calls and the calls of a node that cannot batch do not wait for others.
func TestNothingToGather(t *testing.T) {
	for _, tc := range []struct {
		what              string
		extends, acquires int
		batches, want     bool
	}{
		{"nothing waits", 0, 0, true, true},
		{"few operations", 0, eager - 1, true, true},
		{"an extension", 1, 0, true, false},
		{"an extension among others", 1, 1, true, false},
		{"enough operations", 0, eager, true, false},
		{"no batches", 0, 1, false, false},
	} {
		s := New(NewShared(1), &server{})
		s.batches = tc.batches
		for range tc.extends {
			s.extends.push(new(Item))
		}
		for range tc.acquires {
			s.acquires.push(new(Item))
		}
		if got := s.few(time.Now()); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.what, got, tc.want)
		}
	}
}

// If gathering has taken long, because other goroutines keep the process busy, the next calls
// leave at once.
func TestSlowGathering(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := New(NewShared(1), &server{})
	var before, after time.Time
	for try := 0; after.Sub(before) <= slowGather; try++ { // the scheduler may come back to the sender first
		if try == 1000 {
			t.Fatal("gathering lets nobody run")
		}
		go func() {
			for start := time.Now(); time.Since(start) < 5*slowGather; {
			}
		}()
		before = time.Now()
		after = s.gather(before)
	}
	took := after.Sub(before)
	if s.few(after) || s.few(after.Add(49*took)) {
		t.Error("the next calls gather")
	}
	if !s.few(after.Add(51 * took)) {
		t.Error("no call will gather again")
	}
}
