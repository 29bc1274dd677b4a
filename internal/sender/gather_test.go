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
		ago               time.Duration
		gathers           bool
	}{
		{what: "nothing waits", batches: true, want: true},
		{what: "few operations", acquires: eager - 1, batches: true, want: true},
		{what: "few operations, just in time", acquires: 1, batches: true, ago: lately - 1, want: true},
		{what: "an extension", extends: 1, batches: true},
		{what: "an extension among others", extends: 1, acquires: 1, batches: true},
		{what: "enough operations", acquires: eager, batches: true},
		{what: "no batches", acquires: 1},
		{what: "nobody was answered lately", acquires: 1, batches: true, ago: lately},
		{what: "another goroutine gathers", acquires: 1, batches: true, gathers: true},
	} {
		s, now := New(NewShared(1), &server{}), time.Now()
		s.shared.gathering.note(now.Add(-tc.ago))
		s.gathers.Store(tc.gathers)
		s.batches = tc.batches
		for range tc.extends {
			s.extends.push(new(Item))
		}
		for range tc.acquires {
			s.acquires.push(new(Item))
		}
		if got := s.few(now); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.what, got, tc.want)
		}
	}
}

// If gathering has taken long for what it has found, because other goroutines keep the process
// busy, the next calls leave at once.
func TestSlowGathering(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := New(NewShared(1), &server{})
	// gather gathers while another goroutine submits that many operations and computes for a while.
	gather := func(found int) (before, after time.Time) {
		for range 1000 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				s.mu.Lock()
				for range found {
					s.acquires.push(new(Item))
				}
				s.mu.Unlock()
				for start := time.Now(); time.Since(start) < 5*slowGather; {
				}
			}()
			before = time.Now()
			s.shared.gathering.note(before)
			after = s.gather(before)
			<-done
			s.acquires = list{}
			if after.Sub(before) > slowGather { // otherwise the scheduler came back to the sender first
				return before, after
			}
		}
		t.Fatal("gathering lets nobody run")
		return before, after
	}
	before, after := gather(0)
	took := after.Sub(before)
	gathers := func(later time.Duration) bool {
		s.shared.gathering.note(after.Add(later))
		defer s.gathers.Store(false)
		return s.few(after.Add(later))
	}
	if gathers(0) || gathers(49*took) {
		t.Error("the next calls gather")
	}
	if !gathers(51 * took) {
		t.Error("no call will gather again")
	}
	s.shared.gathering.hasty.Store(0)
	s.shared.gathering.note(after)
	if s.gather(after.Add(-time.Hour)); gathers(0) || !gathers(longestHaste+time.Minute) {
		t.Error("after a suspended process, calls gather at once or never again")
	}

	s.shared.gathering.hasty.Store(0)
	_, after = gather(1000 * eager)
	if !gathers(0) {
		t.Error("calls do not gather after one that has found a lot")
	}
}
