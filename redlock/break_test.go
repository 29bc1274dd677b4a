package redlock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// holderPrint returns the fingerprint that Inspect shows for the holder of key.
func (r *rig) holderPrint(key string) string {
	r.t.Helper()
	s, err := r.locker().Inspect(r.t.Context(), key)
	if err != nil || s.State != StateHeld {
		r.t.Fatalf("%v (%v), want a holder", s, err)
	}
	return s.Fingerprint
}

// A broken lock goes to the next waiter at once, with a higher fencing token. A holder that
// is still alive learns of it when it next extends the lock.
func TestBreak(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		var h told
		var log rawLog
		r.setAll(faulty.Delay(time.Millisecond)) // without a network, not all nodes are asked
		holder := r.locker(WithHooks(h.hooks()), WithOwner(hostile), WithFencing(), WithAutoExtend())
		lock := r.lock(holder, "k")
		ctx := lock.Context(t.Context())
		next := make(chan *Lock, 1)
		go func() {
			lock, err := r.locker(WithFencing()).Lock(t.Context(), "k")
			if err != nil {
				t.Error(err)
			}
			next <- lock
		}()
		time.Sleep(time.Second)
		counter, _ := r.mem[0].Inspect(t.Context(), counterOf("k"))

		operator := r.locker(WithLogger(slog.New(&log)))
		start := time.Now()
		print := r.holderPrint("k")
		report, err := operator.Break(t.Context(), "k", print)
		if err != nil || report.Count(Granted) != len(r.mem) {
			t.Fatalf("Break: %v, %v", report, err)
		}
		newer := <-next
		took(t, start, 0, 10*time.Millisecond)
		if newer.Fence() <= lock.Fence() || fmt.Sprint(lock.Fence()) != counter.Value {
			t.Errorf("the next lock has the fencing token %d after %d; the counter was %s", newer.Fence(), lock.Fence(), counter.Value)
		}
		if lock.Err() != nil || ctx.Err() != nil {
			t.Errorf("the holder has noticed it at once: %v", lock.Err())
		}
		<-ctx.Done()
		took(t, start, time.Second, DefaultTTL/3+time.Second)
		matches(t, lock.Err(), ErrNotHeld)
		synctest.Wait() // until the hooks were called, which is after the contexts have ended
		kinds, _ := h.take()
		if !slices.Contains(kinds, "lost") {
			t.Errorf("the hooks of the holder were told %v", kinds)
		}
		lines := log.all()
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "redlock: lock broken key=k owner="+hostileShown+" fingerprint="+print+" nodes=a: granted") ||
			strings.Contains(lines[0], strings.TrimPrefix(lock.Token(), hostile)) {
			t.Errorf("logged was %q", lines)
		}

		// The name of the old holder does not hit the new one.
		report, err = operator.Break(t.Context(), "k", print)
		matches(t, err, ErrNotHeld)
		if report.Count(Taken) != len(r.mem) || newer.Err() != nil || r.holders("k", newer.Token()) != len(r.mem) {
			t.Errorf("a second Break: %v; the newer lock: %v", report, newer.Err())
		}
		if n := len(log.all()); n != 1 {
			t.Errorf("a Break that asks no node to delete logs: %q", log.all())
		}
		if err := newer.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		report, err = operator.Break(t.Context(), "k", print)
		matches(t, err, ErrNotHeld)
		if report.Count(NotHeld) != len(r.mem) {
			t.Errorf("with nobody: %v", report)
		}
		for i, m := range r.mem {
			if keys := m.Keys(); !slices.Equal(keys, []string{counterOf("k")}) {
				t.Errorf("node %d holds %q, want the counter", i, keys)
			}
		}
	})
}

// What the error is, and what is deleted, whatever the nodes hold and whoever is missing.
func TestBreakOnNodes(t *testing.T) {
	const (
		gone, other = "gone", "other"
		down        = "down"    // has the lock of gone
		refuses     = "refuses" // has it, and does not delete
		free        = ""
	)
	tests := []struct {
		nodes   []string
		want    error
		granted int  // nodes that delete
		hits    int  // nodes that have the lock of gone afterwards
		asked   bool // to delete it, so that those that did not are asked again
	}{
		{[]string{gone}, nil, 1, 0, true},
		{[]string{other}, ErrNotHeld, 0, 0, false},
		{[]string{free}, ErrNotHeld, 0, 0, false},
		{[]string{down}, ErrUnavailable, 0, 1, false},
		{[]string{refuses}, ErrUnavailable, 0, 1, true},
		{[]string{gone, gone, gone}, nil, 3, 0, true},
		{[]string{gone, gone, free}, nil, 2, 0, true},
		{[]string{gone, free, free}, nil, 1, 0, true}, // remains
		{[]string{gone, other, other}, nil, 1, 0, true},
		{[]string{gone, other, free}, nil, 1, 0, true},
		{[]string{other, other, free}, ErrNotHeld, 0, 0, false},
		{[]string{gone, gone, down}, nil, 2, 1, true},
		{[]string{gone, other, down}, nil, 1, 1, true},
		{[]string{other, other, down}, ErrNotHeld, 0, 1, false},
		{[]string{free, other, down}, ErrNotHeld, 0, 1, false},
		{[]string{gone, down, down}, ErrUnavailable, 0, 3, false},
		{[]string{gone, gone, refuses}, nil, 2, 1, true},
		{[]string{gone, refuses, refuses}, ErrUnavailable, 1, 2, true},
		{[]string{refuses, free, free}, ErrUnavailable, 0, 1, true},
		{[]string{gone, gone, free, other, down}, nil, 2, 1, true},
		{[]string{gone, gone, gone, down, down}, nil, 3, 2, true},
		{[]string{gone, gone, down, down, down}, ErrUnavailable, 0, 5, false},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.nodes, " "), func(t *testing.T) {
			onRig(t, len(tt.nodes), false, func(t *testing.T, r *rig) {
				r.setAll(faulty.Delay(time.Millisecond))
				for i, value := range tt.nodes {
					switch value {
					case free:
						continue
					case down:
						value = gone
						r.fault[i].Set(faulty.Refuse(nil))
					case refuses:
						value = gone
						r.fault[i].Set(faulty.On(releases, faulty.Refuse(backend.MarkReply(errors.New("NOPERM no")))))
					}
					r.mem[i].Set("k", value, time.Minute)
				}
				var log rawLog
				l := r.locker(WithLogger(slog.New(&log)))
				report, err := l.Break(t.Context(), "k", proto.Fingerprint(gone))
				if !errors.Is(err, tt.want) {
					t.Fatalf("error %v, want %v", err, tt.want)
				}
				synctest.Wait()
				if n := report.Count(Granted); n != tt.granted || len(report) != len(r.mem) || report.Count(Pending) > 0 {
					t.Errorf("report %v, want %d nodes that deleted it", report, tt.granted)
				}
				if n := r.holders("k", gone); n != tt.hits {
					t.Errorf("%d nodes have it afterwards, want %d", n, tt.hits)
				}
				for i, value := range tt.nodes {
					if e, _ := r.mem[i].Inspect(t.Context(), "k"); value == other && e.Value != other {
						t.Errorf("node %d had the lock of another, and now has %+v", i, e)
					}
				}
				var e *QuorumError
				if err != nil && (!errors.As(err, &e) || e.Op != "break" || e.Key != "k" || e.Last().String() != report.String()) {
					t.Errorf("the error %v does not show the report %v", err, report)
				}
				// What was not deleted is, when the node answers and allows it again.
				r.clear()
				time.Sleep(8 * time.Second)
				want := tt.hits
				if tt.asked {
					want = 0
				}
				if n := r.holders("k", gone); n != want {
					t.Errorf("%d nodes have it later, want %d", n, want)
				}
				if err := l.Close(t.Context()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The holder may change between the two steps.
func TestBreakMeetsANewHolder(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		lock := r.lock(r.locker(), "k")
		synctest.Wait()
		for i, f := range r.fault {
			f.Set(faulty.On(releases, faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
				r.mem[i].Set("k", "newer", time.Minute)
				return next(ctx)
			})))
		}
		report, err := r.locker().Break(t.Context(), "k", proto.Fingerprint(lock.Token()))
		matches(t, err, ErrNotHeld)
		if n := r.holders("k", "newer"); n != len(r.mem) || report.Count(NotHeld) != len(r.mem) {
			t.Errorf("%d nodes have the newer lock; the report is %v", n, report)
		}
		if !strings.Contains(err.Error(), "has just ended") {
			t.Errorf("the error is %v", err)
		}
	})
}

// A reservation and a key of another type are no locks of a holder.
func TestBreakLeavesOtherKeys(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		const ticket = "20:redlock:inbox:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		l := r.locker()
		r.mem[0].Set("reserved", "~"+ticket, time.Second)
		_, err := l.Break(t.Context(), "reserved", proto.Fingerprint(ticket))
		matches(t, err, ErrNotHeld)
		r.mem[0].Push("list", "x")
		s, err := l.Inspect(t.Context(), "list")
		if err != nil || s.State != StateHeld {
			t.Fatal(s, err)
		}
		_, err = l.Break(t.Context(), "list", s.Fingerprint)
		matches(t, err, ErrNotHeld)
		if keys := r.mem[0].Keys(); len(keys) != 2 {
			t.Errorf("the node has %q", keys)
		}
		r.mem[0].Flush()
	})
}

// A lock that was unlocked before the end of its minimum hold can be broken, and the end of
// the hold does not hit the next one.
func TestBreakEndsAMinimumHold(t *testing.T) {
	fencingRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		l := r.locker()
		lock := r.lock(l, "k", WithMinHold(5*time.Second))
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.taken("k", "unlocked early")
		if _, err := l.Break(t.Context(), "k", proto.Fingerprint(lock.Token())); err != nil {
			t.Fatal(err)
		}
		next := r.lock(l, "k", WithTTL(time.Minute))
		time.Sleep(10 * time.Second)
		if n := r.holders("k", next.Token()); n != len(r.mem) {
			t.Errorf("%d nodes have the next lock", n)
		}
		if err := next.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// Nodes that hang cost one node timeout for each step.
func TestBreakWithHungNodes(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		lock := r.lock(r.locker(), "k", WithTTL(time.Minute))
		synctest.Wait() // all nodes have it
		r.clear()
		l := r.locker(WithNodeTimeout(time.Second))
		print := proto.Fingerprint(lock.Token())

		r.set(0, 2, faulty.Hang())
		start := time.Now()
		report, err := l.Break(t.Context(), "k", print)
		matches(t, err, ErrUnavailable)
		took(t, start, time.Second, time.Second)
		if report.Count(TimedOut) != 2 || !strings.Contains(err.Error(), "nothing was deleted") || r.holders("k", lock.Token()) != 3 {
			t.Errorf("two hang: %v", err)
		}

		r.set(1, 2)
		start = time.Now()
		report, err = l.Break(t.Context(), "k", print)
		if err != nil || report.Count(Granted) != 2 || report.Count(TimedOut) != 1 {
			t.Errorf("one hangs: %v, %v", report, err)
		}
		took(t, start, 2*time.Second, 2*time.Second)
		r.clean(l)
	})
}

// A ctx that ends in the first step ends the call, and nothing is deleted. In the second
// step the deletions go on.
func TestBreakCancelled(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		lock := r.lock(r.locker(), "k", WithTTL(time.Minute))
		synctest.Wait() // all nodes have it
		r.clear()
		l := r.locker()
		print := proto.Fingerprint(lock.Token())
		r.setAll(faulty.Delay(100 * time.Millisecond))
		why := errors.New("why")
		for _, after := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(after, func() { cancel(why) })
			start := time.Now()
			report, err := l.Break(ctx, "k", print)
			took(t, start, after, after)
			matches(t, err, context.Canceled, why)
			if first := after < 100*time.Millisecond; errors.Is(err, ErrUnavailable) == first || (report == nil) != first {
				t.Errorf("cancelled after %v: %v, %v", after, report, err)
			}
			if n := r.holders("k", lock.Token()); n != 3 {
				t.Errorf("cancelled after %v: %d nodes have it", after, n)
			}
		}
		r.clean(l)
	})
}

func TestBreakArguments(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithKeyPrefix("p:"))
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for _, tt := range []struct {
			ctx        context.Context
			key, print string
			says       string
		}{
			{t.Context(), "", "0123abcd", "redlock: break: an empty key"},
			{t.Context(), "k{k}:queue", "0123abcd", `redlock: break "p:k{k}:queue": the key is not free for a lock`},
			{t.Context(), "k", "", `redlock: break "p:k": a fingerprint of "": must be 8 of the digits`},
			{t.Context(), "k", "0123abc", "a fingerprint of"},
			{t.Context(), "k", "0123ABCD", "a fingerprint of"},
			{t.Context(), "k", "#123abcd", "a fingerprint of"},
			{cancelled, "k", "0123abcd", `redlock: break "p:k": the context has ended already`},
		} {
			report, err := l.Break(tt.ctx, tt.key, tt.print)
			if report != nil || err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("%q %q: %v, %v", tt.key, tt.print, report, err)
			}
			differs(t, err, ErrNotHeld, ErrUnavailable)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := l.Break(t.Context(), "k", "0123abcd")
		matches(t, err, ErrClosed)
		if _, err := new(Locker).Break(t.Context(), "k", "0123abcd"); err != errZero {
			t.Errorf("a zero Locker: %v", err)
		}
		if n := r.calls(); n != 0 {
			t.Errorf("%d calls were made", n)
		}
	})
}

// Nodes that run no scripts cannot say who holds a lock.
func TestBreakOnBareNodes(t *testing.T) {
	onRig(t, 3, true, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(time.Millisecond))
		lock := r.lock(r.locker(), "k")
		synctest.Wait()
		report, err := r.locker().Break(t.Context(), "k", proto.Fingerprint(lock.Token()))
		matches(t, err, ErrUnavailable)
		if report.Count(Failed) != 3 || !errors.Is(report[0].Err, errors.ErrUnsupported) || r.holders("k", lock.Token()) != 3 {
			t.Errorf("report %v", report)
		}
	})
}
