package sender

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

// own makes a call of n operations as a caller, and reports whether it may.
func own(t *testing.T, s *Sender, n int) bool {
	t.Helper()
	now := time.Now()
	if !s.Claim(n, now) {
		return false
	}
	var items []*Item
	var tickets []*ticket
	for i := range n {
		k := &ticket{sender: s, done: make(chan backend.Result, 1)}
		op := backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint("own", i), Token: "t"}
		k.Item = Item{Op: op, Key: op.Key, Class: Acquiring, Expires: mono.Of(now).Add(patience), Wait: patience, Owner: k}
		tickets, items = append(tickets, k), append(items, &k.Item)
	}
	s.Make(t.Context(), items, now)
	for i, k := range tickets {
		select {
		case r := <-k.done:
			if r.Err != nil {
				t.Errorf("operation %d of %d: %v", i, n, r.Err)
			}
		default:
			t.Fatalf("operation %d of %d is not complete", i, n)
		}
	}
	return true
}

// A caller makes a call itself only if the sender would send all of its operations at
// once. Such calls widen the window after an outage like those of the sender.
func TestClaimLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &server{keys: map[string]string{}}
		s := New(NewShared(1), server)
		if own(t, s, 1) {
			t.Error("a caller's call was the first one")
		}
		set := func(key string) (bool, error) {
			return do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: key, Token: "t"})
		}
		set("first")
		synctest.Wait()
		for n, want := range map[int]bool{0: true, 1: true, deleteShare: true, deleteShare + 1: false, batchSize + 1: false} {
			if got := own(t, s, n); got != want {
				t.Errorf("a call of %d: %v, want %v", n, got, want)
			}
		}
		server.set(refuses)
		for range brakeAfter {
			set("down")
			synctest.Wait()
		}
		if own(t, s, 1) {
			t.Error("a caller's call while the brake is on")
		}
		server.set(up)
		time.Sleep(longestPause)
		set("probe")
		synctest.Wait()
		if own(t, s, minWindow+1) {
			t.Error("a caller's call that exceeds the window")
		}
		if !own(t, s, minWindow) || !own(t, s, minWindow+1) {
			t.Error("the window has not widened")
		}
		s.Hold()
		if own(t, s, 1) {
			t.Error("a caller's call during a hold")
		}
		s.Resume()
		if l := s.Load(); l != (Load{}) {
			t.Errorf("the sender still has work: %+v", l)
		}
	})
}

// Between Claim and Make, no other call begins, however many operations wait and for however long.
// They follow as soon as the caller's own are on their way.
func TestNothingOvertakesAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &server{keys: map[string]string{}}
		s := New(NewShared(1), server)
		if _, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "first", Token: "t"}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		server.set(up)
		now := time.Now()
		if !s.Claim(1, now) {
			t.Fatal("no claim on an idle sender")
		}
		var others []*ticket
		for i := range 2 * eager {
			others = append(others, submit(s, Deleting, backend.Op{Kind: backend.OpEvalDelete, Key: fmt.Sprint("other", i), Token: "t"}, nil))
		}
		time.Sleep(5 * stagger)
		if calls, _ := server.set(up); calls > 0 {
			t.Errorf("%d calls before the one that was claimed", calls)
		}
		k := &ticket{sender: s, done: make(chan backend.Result, 1)}
		op := backend.Op{Kind: backend.OpSetNX, Key: "own", Token: "t"}
		k.Item = Item{Op: op, Key: op.Key, Class: Acquiring, Expires: mono.Of(now).Add(patience), Wait: patience, Owner: k}
		server.set(hung)
		ctx, cancel := context.WithTimeout(t.Context(), 5*stagger)
		defer cancel()
		s.Make(ctx, []*Item{&k.Item}, now)
		if calls, ops := server.set(up); calls != 2 || ops != 1+len(others) {
			t.Errorf("beside the caller's own call of 5 ms there were %d calls with %d operations, want 1 with %d", calls-1, ops-1, len(others))
		}
		time.Sleep(time.Minute)
		if l := s.Load(); l != (Load{}) {
			t.Errorf("the sender still has work: %+v", l)
		}
	})
}
