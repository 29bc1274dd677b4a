package redlock

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// An error text names the operation, the key, the result and the number of nodes needed. It says
// what each node did, with the node's own error if it failed.
func TestErrorTexts(t *testing.T) {
	ms := func(n int) faulty.Fault { return faulty.Delay(time.Duration(n) * time.Millisecond) }
	tests := []struct {
		name string
		do   func(t *testing.T, r *rig, l *Locker) error
		want string
	}{
		{"taken", func(t *testing.T, r *rig, l *Locker) error {
			r.lock(l, "k")
			synctest.Wait() // every node has it
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			_, err := l.TryLock(t.Context(), "k")
			return err
		}, `redlock: lock "app:k": taken: 0 of 3 nodes, need 2 (a: taken; b: taken; c: not waited for)`},
		{"taken until the deadline", func(t *testing.T, r *rig, l *Locker) error {
			r.lock(l, "k")
			synctest.Wait() // every node has it
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := l.Lock(ctx, "k", WithRetry(Fixed(498*time.Millisecond)))
			return err
		}, `redlock: lock "app:k": taken: context deadline exceeded after 3 tries in 1s: 0 of 3 nodes, need 2 (a: taken; b: taken; c: not waited for)`},
		{"cancelled with a cause", func(t *testing.T, r *rig, l *Locker) error {
			r.lock(l, "k")
			synctest.Wait() // every node has it
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(time.Second, func() { cancel(errors.New("SIGTERM")) })
			_, err := l.Lock(ctx, "k", WithRetry(Fixed(time.Minute)))
			return err
		}, `redlock: lock "app:k": taken: context canceled: SIGTERM: 0 of 3 nodes, need 2 (a: taken; b: taken; c: not waited for)`},
		{"taken until ctx ends during an attempt", func(t *testing.T, r *rig, l *Locker) error {
			r.lock(l, "k")
			synctest.Wait() // every node has it
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, func() {
				r.setAll(faulty.Hang())
				time.AfterFunc(100*time.Millisecond, cancel)
			})
			_, err := l.Lock(ctx, "k", WithRetry(Fixed(time.Second)))
			return err
		}, `redlock: lock "app:k": taken: context canceled after 2 tries in 1.1s: 0 of 3 nodes, need 2 (a: taken; b: taken; c: not waited for)`},
		{"unavailable until ctx ends during an attempt", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(ms(1), faulty.Refuse(nil))
			r.fault[1].Set(ms(2), faulty.Refuse(backend.MarkReply(errors.New("WRONGPASS invalid username-password pair"))))
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, func() {
				r.fault[1].Set(faulty.Hang()) // so that the last attempt sees only one failure
				time.AfterFunc(100*time.Millisecond, cancel)
			})
			_, err := l.Lock(ctx, "k", WithRetry(Fixed(time.Second)))
			return err
		}, `redlock: lock "app:k": unavailable: context canceled after 2 tries in 1.1s: 0 of 3 nodes, need 2 (a: failed: dial tcp: connection refused; b: failed: WRONGPASS invalid username-password pair; c: not waited for)`},
		{"unavailable until ctx ends between two attempts", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(ms(1), faulty.Refuse(nil))
			r.fault[1].Set(ms(2), faulty.Refuse(nil))
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := l.Lock(ctx, "k", WithRetry(Fixed(time.Minute)))
			return err
		}, `redlock: lock "app:k": unavailable: context deadline exceeded after 2 tries in 1s: 0 of 3 nodes, need 2 (a: failed: dial tcp: connection refused; b: failed: dial tcp: connection refused; c: not waited for)`},
		{"cut off by ctx", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(ms(1), faulty.Refuse(nil))
			r.fault[1].Set(faulty.Hang())
			r.fault[2].Set(ms(3))
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			_, err := l.TryLock(ctx, "k")
			return err
		}, `redlock: lock "app:k": unavailable: context deadline exceeded: 1 of 3 nodes, need 2 (a: failed: dial tcp: connection refused; b: no answer yet after 100ms; c: granted)`},
		{"unavailable", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(faulty.Hang())
			r.fault[1].Set(ms(300))
			_, err := l.TryLock(t.Context(), "k")
			return err
		}, `redlock: lock "app:k": unavailable: 1 of 3 nodes, need 2 (a: timed out after 250ms: no answer so far; the first one takes longer, because a connection has to be made: if the network is slow, raise the node timeout of 250ms with redlock.WithNodeTimeout; b: timed out after 250ms: no answer so far; the first one takes longer, because a connection has to be made: if the network is slow, raise the node timeout of 250ms with redlock.WithNodeTimeout; c: granted)`},
		{"unavailable for long", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(ms(1), faulty.Refuse(nil))
			r.fault[1].Set(ms(2), faulty.LoseRequest(io.EOF))
			r.fault[2].Set(ms(3))
			_, err := l.Lock(t.Context(), "k", WithTTL(time.Second), WithRetry(Fixed(time.Second).Limit(3)))
			return err
		}, `redlock: lock "app:k": unavailable after 3 tries in 2.006s: 0 of 3 nodes, need 2 (a: failed: dial tcp: connection refused; b: failed: not sent: the node has just failed: EOF; c: not waited for)`},
		{"refused", func(t *testing.T, r *rig, l *Locker) error {
			r.fault[0].Set(ms(1), faulty.Refuse(backend.MarkReply(errors.New("NOAUTH Authentication required."))))
			r.fault[1].Set(ms(2), faulty.Refuse(backend.MarkReply(errors.New("WRONGPASS invalid username-password pair"))))
			r.fault[2].Set(ms(3))
			_, err := l.Lock(t.Context(), "k")
			return err
		}, `redlock: lock "app:k": unavailable: 0 of 3 nodes, need 2 (a: failed: NOAUTH Authentication required.; b: failed: WRONGPASS invalid username-password pair; c: not waited for)`},
		{"extend", func(t *testing.T, r *rig, l *Locker) error {
			lock := r.lock(l, "k")
			synctest.Wait()
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			r.mem[0].Flush()
			r.mem[1].Set("app:k", "other", time.Minute)
			return lock.Extend(t.Context(), time.Minute)
		}, `redlock: extend "app:k": not held: 0 of 3 nodes, need 2 (a: not held; b: not held; c: not waited for)`},
		{"extend released", func(t *testing.T, r *rig, l *Locker) error {
			lock := r.lock(l, "k")
			_ = lock.Unlock(t.Context())
			return lock.Extend(t.Context(), time.Minute)
		}, `redlock: extend "app:k": not held: it was unlocked`},
		{"unlock", func(t *testing.T, r *rig, l *Locker) error {
			lock := r.lock(l, "k")
			time.Sleep(time.Minute)
			r.fault[0].Set(ms(1))
			r.fault[1].Set(ms(2))
			r.fault[2].Set(ms(3))
			return lock.Unlock(t.Context())
		}, `redlock: unlock "app:k": not held: 0 of 3 nodes, need 2 (a: not held; b: not held; c: not waited for)`},
		{"past validity", func(t *testing.T, r *rig, l *Locker) error {
			lock := r.lock(l, "k")
			time.Sleep(time.Minute)
			return lock.Err()
		}, `redlock: lock "app:k": not held: its validity ended at ` +
			time.Date(2000, 1, 1, 0, 0, 9, 898e6, time.UTC).Local().Format(time.RFC3339Nano)},
		{"closed", func(t *testing.T, r *rig, l *Locker) error {
			_ = l.Close(t.Context())
			_, err := l.TryLock(t.Context(), "k")
			return err
		}, `redlock: the Locker is closed`},
		{"zero", func(t *testing.T, r *rig, l *Locker) error {
			_, err := new(Locker).TryLock(t.Context(), "k")
			return err
		}, `redlock: the Locker was not made by New`},
		{"ended context", func(t *testing.T, r *rig, l *Locker) error {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := l.Lock(ctx, "k")
			return err
		}, `redlock: lock "app:k": the context has ended already: context canceled`},
		{"Mutex not locked", func(t *testing.T, r *rig, l *Locker) error {
			return l.Mutex("k").Unlock(t.Context())
		}, `redlock: unlock "app:k": not held: the Mutex is not locked`},
		{"Mutex busy", func(t *testing.T, r *rig, l *Locker) error {
			m := l.Mutex("k")
			_ = m.Lock(t.Context())
			return m.TryLock(t.Context())
		}, `redlock: lock "app:k": taken: this Mutex is locked`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onRig(t, 3, false, func(t *testing.T, r *rig) {
				err := tt.do(t, r, r.locker(WithKeyPrefix("app:")))
				if err == nil || err.Error() != tt.want {
					t.Errorf("error\n\t%v, want\n\t%s", err, tt.want)
				}
			})
		})
	}
}

// Which errors match which targets. In particular, a node's time-out never matches the errors of
// the caller's ctx, whatever the driver reports.
func TestErrorMatrix(t *testing.T) {
	all := []error{ErrTaken, ErrUnavailable, ErrNotHeld, ErrReleased, ErrClosed, context.Canceled, context.DeadlineExceeded, io.EOF, backend.ErrRefused, backend.ErrNotExecuted}
	timeout := fmt.Errorf("read tcp: %w", context.DeadlineExceeded)
	tests := []struct {
		name  string
		class error
		fault []faulty.Fault
		key   string // another holds "held", this test holds "mine"
		limit time.Duration
		want  []error
	}{
		{"taken", ErrTaken, nil, "held", 0, []error{ErrTaken}},
		{"taken, caller gone", ErrTaken, nil, "held", time.Second, []error{ErrTaken, context.DeadlineExceeded}},
		{"hung", nil, []faulty.Fault{faulty.Hang()}, "free", 0, []error{ErrUnavailable}},
		{"hung, caller gone", nil, []faulty.Fault{faulty.Hang()}, "free", time.Second, []error{ErrUnavailable, context.DeadlineExceeded}},
		{"time-out of a driver", nil, []faulty.Fault{faulty.LoseRequest(timeout)}, "free", 0, []error{ErrUnavailable}},
		{"cancelled by a driver", nil, []faulty.Fault{faulty.LoseRequest(context.Canceled)}, "free", 0, []error{ErrUnavailable}},
		{"broken", nil, []faulty.Fault{faulty.LoseRequest(nil)}, "free", 0, []error{ErrUnavailable}},
		{"refused", nil, []faulty.Fault{faulty.Refuse(backend.MarkReply(errors.New("NOPERM no")))}, "free", 0, []error{ErrUnavailable}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker(WithRetry(Fixed(100 * time.Millisecond).Limit(3)))
				r.lock(l, "held", WithTTL(time.Hour))
				r.setAll(tt.fault...)
				ctx, cancel := context.WithCancel(context.Background())
				var opts []LockOption
				if tt.limit > 0 {
					ctx, cancel = context.WithTimeout(ctx, tt.limit)
					opts = append(opts, WithRetry(Fixed(100*time.Millisecond)))
				}
				defer cancel()
				_, err := l.Lock(ctx, tt.key, opts...)
				wrapped := fmt.Errorf("starting the job: %w", err)
				for _, target := range all {
					want := false
					for _, w := range tt.want {
						want = want || w == target
					}
					if got := errors.Is(wrapped, target); got != want {
						t.Errorf("errors.Is(%q, %q) is %v, want %v", err, target, got, want)
					}
				}
				var q *QuorumError
				if !errors.As(wrapped, &q) {
					t.Fatalf("error %v is not a *QuorumError", err)
				}
				if q.Op != "lock" || q.Key != tt.key || q.Need != r.need() || len(q.Rounds) == 0 || len(q.Rounds[0]) != len(r.mem) {
					t.Errorf("%+v", q)
				}
				if tt.fault != nil {
					cause := q.Rounds[len(q.Rounds)-1]
					if cause.Count(Failed)+cause.Count(TimedOut) == 0 {
						t.Errorf("the report %v does not show which nodes failed", cause)
					}
				}
			})
		})
	}
}

// The report contains the driver's own error.
func TestReportKeepsTheDriversError(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		own := errors.New("the driver's own error")
		r.setAll(faulty.LoseRequest(own))
		_, err := r.locker().TryLock(t.Context(), "k")
		var q *QuorumError
		if !errors.As(err, &q) {
			t.Fatal(err)
		}
		failed := 0
		for _, n := range q.Rounds[0] {
			if errors.Is(n.Err, own) {
				failed++
			}
		}
		if failed < r.need() {
			t.Errorf("%d nodes with the driver's error, want at least %d", failed, r.need())
		}
		differs(t, err, own)
	})
}

// An error keeps the reports of the last 16 rounds, and counts all of them.
func TestRoundsAreCapped(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k", WithTTL(time.Hour))
		for _, tries := range []int{1, 15, 16, 17, 100} {
			_, err := l.Lock(t.Context(), "k", WithRetry(Fixed(0).Limit(tries)))
			var q *QuorumError
			if !errors.As(err, &q) || q.Tries != tries || len(q.Rounds) != min(tries, 16) {
				t.Errorf("%d attempts: error %v, %d rounds", tries, err, len(q.Rounds))
			}
		}
	})
}

// A server quotes the arguments of an unknown command. The error must not show the token.
func TestTokenIsNotQuoted(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		r.setAll(faulty.Refuse(errors.New("ERR unknown command 'set', with args beginning with: 'k' 'TOKEN' 'nx'")))
		_, err := r.locker(WithLogger(log.logger())).TryLock(t.Context(), "k")
		synctest.Wait() // the cleanup is rejected too
		if text := fmt.Sprint(err, log.String()); !strings.Contains(text, "unknown command 'set'") || strings.Contains(text, "TOKEN") {
			t.Error(text)
		}
	})
}

func TestStrings(t *testing.T) {
	for o, want := range map[Outcome]string{
		Pending: "pending", Granted: "granted", Taken: "taken", NotHeld: "not held",
		Failed: "failed", TimedOut: "timed out", Skipped: "not asked", 99: "Outcome(99)",
	} {
		if o.String() != want {
			t.Errorf("%d is %q, want %q", uint8(o), o, want)
		}
	}
	for s, want := range map[State]string{StateUnknown: "unknown", StateFree: "free", StateHeld: "held", StateSplit: "split", 99: "State(99)"} {
		if s.String() != want {
			t.Errorf("%d is %q, want %q", uint8(s), s, want)
		}
	}
	for _, err := range []error{ErrTaken, ErrUnavailable, ErrNotHeld} {
		if strings.Contains(err.Error(), "redlock") {
			t.Errorf("%q repeats the package name, which the *QuorumError adds", err)
		}
	}
}
