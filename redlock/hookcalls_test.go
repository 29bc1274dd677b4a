package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// callKey is the key of the number of a call in a ctx.
type callKey struct{}

// calls numbers the calls that Begin is told of, and records what the other hooks are told with
// that number.
type calls struct {
	mu    sync.Mutex
	begun int
	lines []string
	ends  map[int]int // how often a call ended, by its number
}

func (c *calls) hooks() Hooks {
	c.ends = make(map[int]int)
	note := func(kind string, end bool) func(context.Context, Event) {
		return func(ctx context.Context, e Event) {
			c.mu.Lock()
			defer c.mu.Unlock()
			n, _ := ctx.Value(callKey{}).(int)
			c.lines = append(c.lines, fmt.Sprintf("%d %s: %s", n, e.Op, kind))
			if end {
				c.ends[n]++
			}
		}
	}
	return Hooks{
		Begin: func(ctx context.Context, e Event) context.Context {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.begun++
			line := fmt.Sprintf("%d %s: begin", c.begun, e.Op)
			if e.Automatic {
				line += " automatically"
			}
			c.lines = append(c.lines, line)
			return context.WithValue(ctx, callKey{}, c.begun)
		},
		Waiting: note("waiting", false), Round: note("round", false), Lost: note("lost", false),
		Locked: note("end", true), Extended: note("end", true), Unlocked: note("end", true),
	}
}

// expect compares what was recorded since the last call.
func (c *calls) expect(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !slices.Equal(c.lines, want) {
		t.Errorf("%s: got %q, want %q", what, c.lines, want)
	}
	c.lines = nil
}

// All hooks of a call get the ctx that Begin returned, and the operation. Each call begins once
// and ends once.
func TestHooksBegin(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var c calls
		l := r.locker(WithTTL(3*time.Second), WithHooks(c.hooks()))
		ctx := t.Context()

		lock := r.lock(l, "k")
		c.expect(t, "TryLock", "1 try lock: begin", "1 try lock: round", "1 try lock: end")
		_, _ = l.Lock(ctx, "k", WithRetry(Fixed(time.Second).Limit(2)))
		c.expect(t, "Lock", "2 lock: begin", "2 lock: round", "2 lock: waiting", "2 lock: round", "2 lock: end")
		_ = lock.Extend(ctx, 3*time.Second)
		c.expect(t, "Extend", "3 extend: begin", "3 extend: round", "3 extend: end")
		_, _ = lock.Check(ctx)
		_, _ = l.Lock(ctx, "")
		_ = lock.Extend(ctx, -1)
		c.expect(t, "Check and bad arguments")
		if _, err := l.Resume(ctx, lock.Handover()); err != nil {
			t.Fatal(err)
		}
		c.expect(t, "Resume", "4 resume: begin", "4 resume: round", "4 resume: end")
		_ = lock.Unlock(ctx)
		c.expect(t, "Unlock", "5 unlock: begin", "5 unlock: round", "5 unlock: end")
		_ = lock.Unlock(ctx)
		c.expect(t, "Unlock again")
		_ = l.Release(ctx, lock.Handover())
		c.expect(t, "Release", "6 release: begin", "6 release: round", "6 release: end")

		_ = l.TryDo(ctx, "d", func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil })
		c.expect(t, "TryDo", "7 try lock: begin", "7 try lock: round", "7 try lock: end",
			"8 extend: begin automatically", "8 extend: round", "8 extend: end",
			"9 unlock: begin", "9 unlock: round", "9 unlock: end")

		lost := r.lock(l, "lost")
		_ = lost.Context(ctx)
		time.Sleep(4 * time.Second)
		_ = lost.Unlock(ctx)
		c.expect(t, "lost", "10 try lock: begin", "10 try lock: round", "10 try lock: end", "0 : lost",
			"11 unlock: begin", "11 unlock: round", "11 unlock: end")

		parked := r.lock(l, "p", WithMinHold(time.Second))
		_ = parked.Unlock(ctx)
		c.expect(t, "minimum hold", "12 try lock: begin", "12 try lock: round", "12 try lock: end", "13 unlock: begin", "13 unlock: end")

		r.lock(l, "s")
		_ = l.Shutdown(ctx)
		if _, err := l.TryLock(ctx, "s"); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		c.expect(t, "Shutdown, with a lock that was resumed and has expired", "14 try lock: begin", "14 try lock: round", "14 try lock: end",
			"15 unlock: begin", "15 unlock: end", "0 : lost")
		for n := 1; n <= c.begun; n++ {
			if c.ends[n] != 1 {
				t.Errorf("call %d ended %d times", n, c.ends[n])
			}
		}
	})
}

// The hooks of two WithHooks share the ctx: each adds to what the one before it has returned.
func TestHooksBeginAddUp(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		type first struct{}
		type second struct{}
		l := r.locker(
			WithHooks(Hooks{Begin: func(ctx context.Context, _ Event) context.Context { return context.WithValue(ctx, first{}, 1) }}),
			WithHooks(Hooks{
				Begin: func(ctx context.Context, _ Event) context.Context {
					return context.WithValue(ctx, second{}, ctx.Value(first{}).(int)+1)
				},
				Locked: func(ctx context.Context, _ Event) {
					if ctx.Value(first{}) != 1 || ctx.Value(second{}) != 2 {
						t.Errorf("the ctx has %v and %v", ctx.Value(first{}), ctx.Value(second{}))
					}
				},
			}))
		r.lock(l, "k")
	})
}

// Round is told the report and the error of each attempt, not only of the last.
func TestHooksRound(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var (
			mu     sync.Mutex
			rounds []Event
		)
		l := r.locker(WithHooks(Hooks{Round: func(_ context.Context, e Event) {
			mu.Lock()
			defer mu.Unlock()
			rounds = append(rounds, e)
		}}))
		holder := r.lock(l, "k")
		rounds = nil
		time.AfterFunc(1500*time.Millisecond, func() { r.setAll(faulty.Refuse(nil)) })
		time.AfterFunc(2500*time.Millisecond, func() { r.clear(); _ = holder.Unlock(context.Background()) })
		lock, err := l.Lock(t.Context(), "k", WithRetry(Fixed(time.Second)))
		if err != nil {
			t.Fatal(err)
		}
		_ = lock
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		var got []string
		for _, e := range rounds {
			if e.Op != "lock" { // the Unlock of the holder
				continue
			}
			got = append(got, fmt.Sprint(e.Tries, errors.Is(e.Err, ErrTaken), errors.Is(e.Err, ErrUnavailable), e.Report.Count(Granted) >= r.need()))
		}
		want := []string{"1 true false false", "2 true false false", "3 false true false", "4 false false true"}
		if !slices.Equal(got, want) {
			t.Errorf("rounds %q, want %q", got, want)
		}
	})
}

// Node is told every answer, also one that came too late for the round, and with the time that
// the node took.
func TestHooksNode(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		told := make(map[string]int)
		l := r.locker(WithNodeTimeout(100*time.Millisecond), WithHooks(Hooks{Node: func(e NodeEvent) {
			mu.Lock()
			defer mu.Unlock()
			told[fmt.Sprintf("%s %s %v %v", e.Node, e.Op, e.Outcome, e.Latency)]++
			if (e.Err != nil) != (e.Outcome == Failed) {
				t.Errorf("%+v", e)
			}
		}}))
		r.set(0, 2, faulty.Delay(5*time.Millisecond))
		r.set(2, 3, faulty.Delay(time.Second))
		lock := r.lock(l, "k")
		time.Sleep(2 * time.Second)
		if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		r.set(2, 3, faulty.Refuse(nil))
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
		derived, err := l.With(WithHooks(Hooks{Node: func(NodeEvent) { t.Error("the hook of a derived Locker was called") }}))
		if err != nil {
			t.Fatal(err)
		}
		r.clear()
		if err := derived.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		for _, want := range []string{
			"a lock granted 5ms", "b lock granted 5ms", "c lock granted 1s",
			"a extend granted 5ms", "b extend granted 5ms", "c extend granted 1s",
			"a unlock granted 5ms", "b unlock granted 5ms",
		} {
			if told[want] != 1 {
				t.Errorf("%q was told %d times; told: %v", want, told[want], told)
			}
		}
		if told["c unlock failed 0s"] == 0 || l.Cleanups() != 0 {
			t.Errorf("told %v; %d cleanups", told, l.Cleanups())
		}
	})
}

// Cleanups counts what is still to be deleted, for each node.
func TestCleanups(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		if n := new(Locker).Cleanups(); n != 0 {
			t.Errorf("a zero Locker has %d cleanups", n)
		}
		l := r.locker()
		locks := []*Lock{r.lock(l, "a"), r.lock(l, "b")}
		synctest.Wait()
		r.set(2, 3, faulty.Refuse(nil))
		for _, lock := range locks {
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := l.Cleanups(); n != 2 {
			t.Errorf("%d cleanups with one node of 3 down, want 2", n)
		}
		r.clear()
		if err := l.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := l.Cleanups(); n != 0 {
			t.Errorf("%d cleanups after Close", n)
		}
	})
}

// Hooks that are not set cost a lock and its unlock no allocation. With one node, no other
// goroutine takes part, so the number of allocations is exact. It is what it was before there
// were hooks for rounds and for the beginning of a call.
func TestHooksUnsetAllocateNothing(t *testing.T) {
	pair := func(l *Locker) float64 {
		return testing.AllocsPerRun(500, func() {
			lock, err := l.Lock(context.Background(), "orders/42")
			if err == nil {
				err = lock.Unlock(context.Background())
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
	bare, err := New([]backend.Node{prompt("n")})
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	observed, err := bare.With(WithHooks(Hooks{Round: func(context.Context, Event) { told++ }}))
	if err != nil {
		t.Fatal(err)
	}
	most := 7.0
	if raceDetector {
		most++
	}
	without, with := pair(bare), pair(observed)
	if without > most || with <= without || told == 0 {
		t.Errorf("%v allocations without hooks, want at most %v; %v with one, which was called %d times", without, most, with, told)
	}
}

// The hooks of an unlock come in the same order for one key and for several. When the first of them
// is called, all handles have ended.
func TestHooksOfUnlock(t *testing.T) {
	for _, test := range []struct {
		name  string
		later time.Duration
		opts  []LockOption
		each  []string // of each key
	}{
		{"held", 0, nil, []string{"begin", "round", "end"}},
		{"lost", time.Hour, nil, []string{"lost", "begin", "round", "end"}},
		{"minimum hold", 0, []LockOption{WithMinHold(time.Minute)}, []string{"begin", "end"}},
		{"lost with a minimum hold", 61 * time.Second, []LockOption{WithMinHold(time.Minute)}, []string{"lost", "begin", "end"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			onRig(t, 3, false, func(t *testing.T, r *rig) {
				var (
					mu    sync.Mutex
					locks []*Lock
					kinds = make(map[string][]string) // by key
					all   []string
				)
				note := func(kind string) func(context.Context, Event) {
					return func(_ context.Context, e Event) {
						mu.Lock()
						defer mu.Unlock()
						kinds[e.Key], all = append(kinds[e.Key], kind), append(all, kind)
						for _, lock := range locks {
							if !lock.lease.Released() && lock.lease.Lost() == nil {
								t.Errorf("%s of %q: %q is still held", kind, e.Key, lock.Key())
							}
						}
					}
				}
				begin := note("begin")
				l := r.locker(WithHooks(Hooks{
					Begin: func(ctx context.Context, e Event) context.Context { begin(ctx, e); return ctx },
					Round: note("round"), Unlocked: note("end"), Lost: note("lost"),
				}))
				advance := suspend(l)
				unlock := func(handle interface{ Unlock(context.Context) error }, of ...*Lock) {
					synctest.Wait()
					advance(test.later)
					mu.Lock()
					locks, all = of, nil
					clear(kinds)
					mu.Unlock()
					_ = handle.Unlock(t.Context())
					synctest.Wait()
					mu.Lock()
					defer mu.Unlock()
					locks = nil
					for _, lock := range of {
						if got := kinds[lock.Key()]; !slices.Equal(got, test.each) {
							t.Errorf("%d keys: %q has the hooks %q, want %q", len(of), lock.Key(), got, test.each)
						}
					}
				}
				one := r.lock(l, "one", test.opts...)
				unlock(one, one)
				several, err := l.LockAll(t.Context(), []string{"a", "b", "c"}, test.opts...)
				if err != nil {
					t.Fatal(err)
				}
				unlock(several, several.locks...)
				if slices.Contains(all[slices.Index(all, "begin"):], "lost") {
					t.Errorf("%q: a key begins before another one is told as lost", all)
				}
				if asked := slices.Index(all, "round"); asked >= 0 && slices.Contains(all[asked:], "begin") {
					t.Errorf("%q: a key begins after the nodes were asked", all)
				}
				if end := slices.Index(all, "end"); slices.Contains(all[end:], "round") {
					t.Errorf("%q: a key ends before the round of another one is told", all)
				}
			})
		})
	}
}
