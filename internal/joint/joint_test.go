package joint

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Keys that are free are acquired together. No hook is called before all are kept.
func TestFree(t *testing.T) {
	const trip = 100 * time.Millisecond
	onRig(t, 3, func(t *testing.T, r *rig) {
		r.fault.Set(faulty.Delay(trip))
		start := time.Now()
		if err := r.acquires(time.Hour); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != trip || r.call.Waited || r.keys[0].waited || !r.call.Since.Equal(start.Add(trip)) {
			t.Errorf("it took %v, waited %v, since %v", took, r.call.Waited, r.call.Since.Sub(start))
		}
		r.did("keep a", "keep b", "keep c", "tell a", "tell b", "tell c")
		r.some("abc")
	})
}

// While the call waits for a key, it extends the keys before that one, and has none behind it.
func TestWaits(t *testing.T) {
	onRig(t, 4, func(t *testing.T, r *rig) {
		r.taken(1, time.Second)
		r.taken(2, 2*time.Second)
		time.AfterFunc(pause/2, func() {
			r.some("aBC")
			r.did("keep a", "tell a", "preserve a", "waits b")
		})
		time.AfterFunc(3*time.Second/2, func() { r.some("abC") })
		start := time.Now()
		if err := r.acquires(time.Hour); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 2*time.Second || took > 2*time.Second+5*pause || !r.call.Waited || !r.keys[0].waited {
			t.Errorf("it took %v, waited %v", took, r.call.Waited)
		}
		r.some("abcd")
		r.did("keep b", "tell b", "preserve a", "preserve b", "waits c", "keep c", "tell c", "keep d", "tell d")
	})
}

// A caller that polls pauses before its next attempt, and the lock begins with that one.
func TestPauses(t *testing.T) {
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.taken(1, pause/2)
		start := time.Now()
		if err := r.acquires(time.Hour); err != nil {
			t.Fatal(err)
		}
		if begun := r.keys[1].won.Begun.Time(); !begun.Equal(start.Add(pause)) || r.keys[1].tokens.Load() != 2 {
			t.Errorf("it began after %v, with attempt %d", begun.Sub(start), r.keys[1].tokens.Load())
		}
	})
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.taken(1, time.Second)
		time.AfterFunc(pause/2, r.keys[0].ends)
		time.AfterFunc(pause, func() {
			if n := r.keys[1].tokens.Load(); n != 1 {
				t.Errorf("%d attempts, although another key was lost during the pause", n)
			}
		})
		if err := r.acquires(time.Hour); err != nil {
			t.Fatal(err)
		}
	})
}

// A key of which nobody can tell whether it is taken is not one for which the call waited.
func TestUnavailable(t *testing.T) {
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.fault.Set(faulty.Refuse(nil))
		if f := r.fails(time.Second); f.Reason != Refused || f.Key != 0 || f.Awaited != None || f.Result.Verdict != round.Unavailable {
			t.Errorf("%+v", f)
		}
	})
}

// If a single attempt is refused, the failure names the first key that was taken. The call keeps the
// keys before that one until GiveBack.
func TestOnce(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		r.call.Once = true
		r.taken(1, time.Minute)
		f := r.fails(time.Hour)
		if f.Reason != Refused || f.Key != 1 || f.Awaited != None || f.Result.Verdict != round.Lost {
			t.Errorf("%+v", f)
		}
		r.some("aB")
		r.call.GiveBack(t.Context())
		r.some("B")
		r.did("keep a", "tell a", "back a false", "told a")
	})
}

// A policy that makes no further attempt ends the call.
func TestPolicyEnds(t *testing.T) {
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.keys[1].once = true
		r.taken(1, time.Minute)
		if f := r.fails(time.Hour); f.Reason != Refused || f.Key != 1 || f.Awaited != 1 || f.Result.CtxErr != nil {
			t.Errorf("%+v", f)
		}
		r.did("keep a", "tell a", "preserve a")
	})
}

// The limit ends a wait, but not the first attempt. It counts even if a key was lost by then.
func TestLimit(t *testing.T) {
	for _, queue := range []bool{false, true} {
		onRig(t, 2, func(t *testing.T, r *rig) {
			r.queue = queue
			r.taken(1, time.Minute)
			start := time.Now()
			r.keys[0].until = start.Add(time.Second)
			f := r.fails(time.Second)
			if took := time.Since(start); took != time.Second || f.Reason != Refused || f.Key != 1 || f.Awaited != 1 ||
				!errors.Is(f.Result.CtxErr, context.DeadlineExceeded) || f.Result.Ctx.Err() == nil {
				t.Errorf("after %v: %+v", took, f)
			}
		})
	}
	onRig(t, 3, func(t *testing.T, r *rig) { // the attempt at c, after the wait for b
		r.taken(1, time.Second/2)
		time.AfterFunc(time.Second/10, func() {
			r.fault.Set(faulty.On(func(op backend.Op) bool { return op.Key == "c" || slices.Contains(op.Keys, "c") }, faulty.Delay(3*time.Second/4)))
		})
		start := time.Now()
		f := r.fails(time.Second)
		if took := time.Since(start); took != time.Second || f.Reason != Refused || f.Key != 2 || f.Awaited != 1 || !errors.Is(f.Result.CtxErr, context.DeadlineExceeded) {
			t.Errorf("after %v: %+v", took, f)
		}
	})
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.fault.Set(faulty.Delay(time.Second / 2))
		if err := r.acquires(time.Millisecond); err != nil {
			t.Error(err)
		}
	})
}

// A key for which others of this process wait is not asked for, nor are those behind it, unless
// the call makes a single attempt or polls.
func TestContended(t *testing.T) {
	for _, tc := range []struct {
		queue, once bool
		asked       string
		verdict     round.Verdict
		awaited     int
	}{
		{true, false, "a", round.Behind, 1},
		{true, true, "abc", round.Lost, None},
		{false, false, "abc", round.Lost, 1},
	} {
		onRig(t, 3, func(t *testing.T, r *rig) {
			r.queue, r.call.Once = tc.queue, tc.once
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r.taken(1, time.Hour)
			other := &key{r: r, name: "b"}
			waiting := other.Request(r.call.Clock.Now())
			waiting.Queue = true
			go r.group.Lock(ctx, waiting)
			time.Sleep(time.Second)
			f := r.fails(time.Second)
			asked := ""
			for _, k := range r.keys {
				asked += k.name[:min(k.tokens.Load(), 1)]
			}
			if f.Key != 1 || f.Result.Verdict != tc.verdict || f.Awaited != tc.awaited || asked != tc.asked {
				t.Errorf("%+v: it asked for %q, and failed: %+v", tc, asked, f)
			}
			cancel()
			time.Sleep(time.Hour)
		})
	}
}

// A key that is lost during a wait is given back, and so are those behind it, but not those
// before it and not those of ctx. After a pause the call acquires them again.
func TestLostWhileItWaits(t *testing.T) {
	for _, queue := range []bool{false, true} {
		onRig(t, 5, func(t *testing.T, r *rig) {
			r.queue = queue
			r.keys[2].outer = true
			r.call.Locks[2] = r.keys[2]
			r.taken(4, 2*time.Second)
			time.Sleep(time.Millisecond)
			time.AfterFunc(time.Second, func() {
				r.some("abdE")
				r.said = nil
				r.mem.EvalDelete(context.Background(), "b", r.keys[1].won.Token())
				r.keys[1].ends()
			})
			time.AfterFunc(time.Second+pause/2, func() {
				r.did("lost b 1", "back b true", "back c true", "back d true", "told b", "told d")
				r.some("aE")
			})
			if err := r.acquires(time.Hour); err != nil {
				t.Fatal(err)
			}
			r.some("abde")
		})
	}
}

// If the limit ends the pause after a loss, the error says why the key was lost. If the key cannot be
// acquired again, nothing is given back yet.
func TestLostForGood(t *testing.T) {
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.taken(1, time.Hour)
		time.AfterFunc(time.Second-time.Millisecond/2, r.keys[0].ends)
		f := r.fails(time.Second)
		if f.Reason != Lost || f.Key != 0 || f.Awaited != 1 || f.Err != errEnded || !errors.Is(f.Result.CtxErr, context.DeadlineExceeded) || f.Result.Ctx.Err() == nil {
			t.Errorf("%+v", f)
		}
	})
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.keys[0].final = errors.New("final")
		r.taken(1, time.Hour)
		time.AfterFunc(time.Second, r.keys[0].ends)
		if err := r.acquires(time.Minute); err != r.keys[0].final {
			t.Error(err)
		}
		r.did("keep a", "tell a", "preserve a", "waits b", "lost a 1")
		r.some("aB")
	})
}

// If Keep fails, the call ends with that error. It gives back all other keys that it has won, and
// calls no hook.
func TestKeepFails(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		r.keys[1].closed = errors.New("closed")
		if err := r.acquires(time.Hour); err != r.keys[1].closed {
			t.Error(err)
		}
		r.did("keep a", "keep b")
		r.some("a")
		r.call.GiveBack(t.Context())
		r.some("")
	})
	onRig(t, 2, func(t *testing.T, r *rig) { // after a wait
		r.keys[1].closed = errors.New("closed")
		r.taken(1, time.Second)
		if err := r.acquires(time.Hour); err != r.keys[1].closed {
			t.Error(err)
		}
		r.did("keep a", "tell a", "preserve a", "waits b", "keep b")
	})
}

// Locks that are stale are extended at the same time, without a limit after the first attempt. If
// one is lost, it is acquired again.
func TestFreshens(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		r.keys[0].stale, r.keys[2].stale = true, true
		r.keys[2].fails = errors.New("not this time")
		r.keys[2].then = func() {
			r.keys[2].fails, r.keys[2].then, r.keys[2].stale = nil, nil, false
			r.keys[1].ends()
		}
		start := time.Now()
		if err := r.acquires(time.Hour); err != nil {
			t.Fatal(err)
		}
		if took, since := time.Since(start), r.call.Since.Sub(start); took != 2*time.Second+pause || since != time.Second+pause {
			t.Errorf("it took %v, and had all keys after %v", took, since)
		}
		if !slices.Equal(r.keys[0].limits, []bool{false, true}) {
			t.Errorf("limits of the extensions: %v", r.keys[0].limits)
		}
		r.some("abc")
	})
}

// An extension that fails ends the call.
func TestNotExtended(t *testing.T) {
	for _, limit := range []time.Duration{time.Millisecond, time.Hour} {
		onRig(t, 2, func(t *testing.T, r *rig) {
			r.keys[1].stale, r.keys[1].fails = true, errors.New("unavailable")
			f := r.fails(limit)
			if f.Reason != NotExtended || f.Key != 1 || f.Awaited != None || f.Err != r.keys[1].fails || (f.Result.CtxErr != nil) != (limit < time.Second) {
				t.Errorf("%+v", f)
			}
		})
	}
}

// The Err of a context of several locks notices that any of them has ended, even if its timer is
// late.
func TestContextErr(t *testing.T) {
	for i := range 2 {
		late := []*slowLock{{}, {}}
		ctx := NewContext(context.Background(), late)
		if ctx.Err() != nil {
			t.Fatal("it has ended already")
		}
		late[i].ctx.past = true
		if ctx.Err() == nil || context.Cause(ctx) != errEnded {
			t.Errorf("lock %d: %v, because of %v", i, ctx.Err(), context.Cause(ctx))
		}
	}
}

// slow is a lock, and its context, which ends when somebody asks it after its end.
type slow struct {
	context.Context
	past   bool
	cancel context.CancelCauseFunc
}

func (s *slow) Err() error {
	if s.past {
		s.cancel(errEnded)
	}
	return s.Context.Err()
}

// slowLock is a lock with a slow context.
type slowLock struct{ ctx slow }

func (l *slowLock) Err() error { return nil }

func (l *slowLock) Context(parent context.Context) context.Context {
	l.ctx.Context, l.ctx.cancel = context.WithCancelCause(parent)
	return &l.ctx
}

// Each calls all functions at the same time. A panic of one reaches the caller when the others
// have returned.
func TestEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var done [3]bool
		func() {
			defer func() {
				if v := recover(); v != "boom" {
					t.Errorf("panic %v, want boom", v)
				}
			}()
			Each(3, func(i int) {
				if i == 1 {
					panic("boom")
				}
				time.Sleep(time.Second)
				done[i] = true
			})
		}()
		if took := time.Since(start); took != time.Second || done != [3]bool{0: true, 2: true} {
			t.Errorf("after %v: %v", took, done)
		}
		Each(0, nil)
	})
}

// If a key is lost at the same moment as the limit of the call ends, as after a pause of the
// process, the failure names the limit and not the context that ended with the key.
func TestLostAtTheLimit(t *testing.T) {
	for _, queue := range []bool{false, true} {
		onRig(t, 2, func(t *testing.T, r *rig) {
			r.queue = queue
			r.taken(1, time.Minute)
			limited, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, func() {
				r.keys[0].ends()
				cancel()
			})
			var f *Failure
			if err := r.call.Acquire(t.Context(), limited); !errors.As(err, &f) || f.Reason != Refused || f.Result.Ctx != limited {
				t.Errorf("queue %v: %v, with the context %v", queue, err, f.Result.Ctx)
			}
		})
	}
}

// A call whose ctx ends during an attempt does not begin to wait.
func TestCtxEnds(t *testing.T) {
	onRig(t, 2, func(t *testing.T, r *rig) {
		r.fault.Set(faulty.Hang())
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		var f *Failure
		if err := r.call.Acquire(ctx, ctx); !errors.As(err, &f) || f.Key != 0 || f.Awaited != None || !errors.Is(f.Result.CtxErr, context.DeadlineExceeded) || r.call.Waited {
			t.Errorf("%v, waited: %v", err, r.call.Waited)
		}
		r.did()
	})
}
