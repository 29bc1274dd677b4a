package attempt

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// several returns an attempt for each key, with a fencing token if fenced is set.
func (w *world) several(fenced bool, keys ...string) []*Attempt {
	w.t.Helper()
	var attempts []*Attempt
	for _, key := range keys {
		a := New(w.group, key, w.token())
		if fenced {
			f, err := w.group.Fencing(key)
			if err != nil {
				w.t.Fatal(err)
			}
			a.Vote(f, ttl)
		}
		attempts = append(attempts, a)
	}
	return attempts
}

// numbered returns n keys.
func numbered(n int) (keys []string) {
	for i := range n {
		keys = append(keys, fmt.Sprint("k", i))
	}
	return keys
}

// expectAll reports an error unless each result has the verdict, and the call took that long.
func expectAll(t *testing.T, results []round.Result, what string, v round.Verdict, start time.Time, took time.Duration) {
	t.Helper()
	for i, res := range results {
		if res.Verdict != v {
			t.Errorf("%s: key %d: %v, want %v", what, i, res, v)
		}
	}
	if d := time.Since(start); d != took {
		t.Errorf("%s took %v, want %v", what, d, took)
	}
}

// own counts calls under the context of their caller. They end in time.
type own struct {
	t     *testing.T
	calls [][]backend.Op
}

type ownMark struct{}

// ctx is a context that cannot end.
func (o *own) ctx() context.Context { return context.WithValue(context.Background(), ownMark{}, true) }

func (o *own) fault(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	if ctx.Value(ownMark{}) != nil {
		o.calls = append(o.calls, ops)
		if d, _ := ctx.Deadline(); time.Until(d) != timeout {
			o.t.Errorf("a call by the caller has %v", time.Until(d))
		}
	}
	return next(ctx, ops)
}

// With one node that can batch, an idle sender and an answer before, the caller makes the one
// call for all keys.
func TestTogetherInline(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.warm()
		o := &own{t: t}
		w.fault[0].Set(o.fault)
		for _, fenced := range []bool{false, true} {
			if fenced && w.make == bare {
				continue
			}
			o.calls = nil
			start := time.Now()
			attempts := w.several(fenced, "a", "b", "c")
			expectAll(t, w.group.AcquireAll(o.ctx(), attempts, ttl, timeout), "acquire", round.Won, start, 0)
			for _, a := range attempts {
				if fenced && a.Fence() == 0 {
					t.Errorf("%s has no fencing token", a.Key())
				}
			}
			expectAll(t, w.group.ReleaseAll(o.ctx(), attempts, timeout), "release", round.Won, start, 0)
			want := [2]int{2, 3}
			if w.make != full { // one operation is a call
				want = [2]int{0, 0}
			}
			if got := len(o.calls); got != want[0] || got > 0 && len(o.calls[0]) != want[1] {
				t.Errorf("fenced %v: the caller made the calls %v", fenced, o.calls)
			}
			for key := range map[string]bool{"a": true, "b": true, "c": true} {
				if v := w.value(0, key); v != "" {
					t.Errorf("%s holds %s", key, v)
				}
			}
		}
		w.fault[0].Clear()
		w.fault[0].Set(dead)
		start := time.Now()
		expectAll(t, w.group.AcquireAll(o.ctx(), w.several(false, "a", "b"), ttl, timeout), "acquire", round.Unavailable, start, 0)
		if w.group.Members[0].Sender.Claim(1, time.Now()) {
			t.Error("a call by a caller right after a failure")
		}
	})
}

// A call by the caller is a call of the sender: what is submitted meanwhile waits for it.
func TestTogetherInlineCounts(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault, faulty.Delay(500*time.Microsecond))
		var wg sync.WaitGroup
		wg.Go(func() { w.group.AcquireAll(context.Background(), w.several(false, numbered(8)...), ttl, timeout) })
		synctest.Wait()
		for i := range 10 {
			wg.Go(func() { w.mustAcquire(fmt.Sprint("other", i)) })
		}
		wg.Wait()
		if calls, most := meter.Calls.Load(), meter.Most.Load(); calls != 2 || most != 1 {
			t.Errorf("%d calls, %d at a time, want two, one after the other", calls, most)
		}
	})
}

// A key that is taken does not affect the others.
func TestTogetherInlineTaken(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		other := w.mustAcquire("b")
		attempts := w.several(false, "a", "b", "c")
		results := w.group.AcquireAll(context.Background(), attempts, ttl, timeout)
		if got := []round.Verdict{results[0].Verdict, results[1].Verdict, results[2].Verdict}; !slices.Equal(got, []round.Verdict{round.Won, round.Lost, round.Won}) {
			t.Errorf("the verdicts are %v", got)
		}
		if w.holders("b", other.token) != 1 {
			t.Error("the other holder has lost its key")
		}
		start := time.Now()
		expectAll(t, w.group.ReleaseAll(context.Background(), []*Attempt{attempts[0], attempts[2]}, timeout), "release", round.Won, start, 0)
		if w.holders("b", other.token) != 1 {
			t.Error("the release was also about another key")
		}
		other.release()
		synctest.Wait()
		w.empty()
	})
}

// A caller that is cancelled within its own call gives back all keys, and one whose
// context ends before the node timeout leaves no doubt about any of them.
func TestTogetherInlineCancelled(t *testing.T) {
	for _, ignores := range []bool{false, true} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.warm()
			slow := []faulty.Fault{faulty.Late(100 * time.Millisecond)}
			if ignores {
				slow = append([]faulty.Fault{faulty.IgnoreCancel()}, slow...)
			}
			w.fault[0].Set(slow...)
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			start := time.Now()
			attempts := w.several(false, numbered(3)...)
			results := w.group.AcquireAll(ctx, attempts, ttl, timeout)
			if ignores { // then the answer comes first
				expectAll(t, results, "acquire", round.Won, start, 100*time.Millisecond)
				for _, a := range attempts {
					a.Abandon()
				}
			} else {
				expectAll(t, results, "acquire", round.Unavailable, start, 50*time.Millisecond)
				for i, res := range results {
					if !errors.Is(res.CtxErr, context.Canceled) {
						t.Errorf("key %d: the caller's error is %v", i, res.CtxErr)
					}
				}
			}
			time.Sleep(time.Second)
			w.empty()
			w.fault[0].Clear()
			w.rest(2 * ttl)

			w.warm()
			w.fault[0].Set(faulty.On(sets, faulty.Delay(100*time.Millisecond)))
			ctx, cancel = context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			start = time.Now()
			expectAll(t, w.group.AcquireAll(ctx, w.several(false, numbered(3)...), ttl, timeout), "acquire", round.Unavailable, start, 50*time.Millisecond)
			w.rest(51 * time.Millisecond)
			w.empty()
			if n := len(w.fault[0].Arrived()); n != 6 {
				t.Errorf("%d operations were sent, want three sets and three deletions", n)
			}
		})
	}
}

// If the node hangs, every call of its callers ends in time, and all keys are deleted
// once it goes on.
func TestTogetherInlineHangs(t *testing.T) {
	for _, ends := range []bool{false, true} {
		inWorld(t, 1, func(t *testing.T, w *world) {
			ctx := context.Background()
			if ends { // but not in time
				ctx = t.Context()
			}
			held := w.several(false, "held1", "held2", "held3")
			start := time.Now()
			expectAll(t, w.group.AcquireAll(ctx, held, ttl, timeout), "acquire", round.Won, start, 0)
			stall, goOn := faulty.Stall()
			w.fault[0].Set(stall)
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					attempts := w.several(false, fmt.Sprint("x", i), fmt.Sprint("y", i))
					expectAll(t, w.group.AcquireAll(ctx, attempts, ttl, timeout), "acquire", round.Unavailable, start, timeout)
				})
			}
			wg.Go(func() {
				expectAll(t, w.group.ReleaseAll(ctx, held, timeout), "release", round.Unavailable, start, timeout)
			})
			wg.Wait()
			goOn()
			w.fault[0].Clear()
			w.rest(3 * ttl)
			w.empty()
		})
	}
}

// Each operation of a call by the caller has its own error: one is sent again because its
// connection broke, one was refused, and the others count.
func TestTogetherInlineErrors(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		of := func(key string) func(backend.Op) bool {
			return func(op backend.Op) bool { return op.Key == key || slices.Contains(op.Keys, key) }
		}
		w.fault[0].Set(faulty.On(of("cut"), faulty.First(1, faulty.LoseReply(nil))), faulty.On(of("denied"), denied))
		attempts := w.several(false, "a", "cut", "denied", "z")
		results := w.group.AcquireAll(context.Background(), attempts, ttl, timeout)
		for i, want := range []round.Verdict{round.Won, round.Won, round.Unavailable, round.Won} {
			if results[i].Verdict != want {
				t.Errorf("acquire %s: %v, want %v", attempts[i].Key(), results[i], want)
			}
		}
		won := []*Attempt{attempts[0], attempts[1], attempts[3]}
		w.fault[0].Set(faulty.On(of("cut"), faulty.First(1, broken)))
		start := time.Now()
		expectAll(t, w.group.ReleaseAll(context.Background(), won, timeout), "release", round.Won, start, 0)
		w.empty()
	})
}

// A node that has Batch and cannot is sent the operations one by one.
func TestTogetherCannotBatchAfterAll(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.replace(incapable{w.fault[0]})
		w.warm()
		start := time.Now()
		for range 2 {
			attempts := w.several(false, numbered(5)...)
			expectAll(t, w.group.AcquireAll(context.Background(), attempts, ttl, timeout), "acquire", round.Won, start, 0)
			expectAll(t, w.group.ReleaseAll(context.Background(), attempts, timeout), "release", round.Won, start, 0)
			w.empty()
		}
	})
}

// The wrong number of results says nothing about any operation.
func TestTogetherMiscounting(t *testing.T) {
	for _, by := range []int{-1, 1} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.replace(miscounting{w.fault[0], by})
			w.warm()
			failed := 0
			attempts := w.several(false, numbered(5)...)
			for i, res := range w.group.AcquireAll(context.Background(), attempts, ttl, timeout) {
				switch res.Verdict {
				case round.Unavailable:
					failed++
				case round.Won: // it was sent again, and alone
					attempts[i].Abandon()
				default:
					t.Errorf("key %d: %v", i, res)
				}
			}
			if failed == 0 {
				t.Error("none failed")
			}
			w.rest(2 * ttl)
			w.empty()
		})
	}
}

// However many keys there are, calls stay within the limits of the sender.
func TestTogetherMany(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault)
		start := time.Now()
		attempts := w.several(false, numbered(1000)...)
		expectAll(t, w.group.AcquireAll(context.Background(), attempts, ttl, timeout), "acquire", round.Won, start, 0)
		if n := meter.MostOps.Load(); n > 512 {
			t.Errorf("a call with %d operations", n)
		}
		meter.MostOps.Store(0)
		expectAll(t, w.group.ReleaseAll(context.Background(), attempts, timeout), "release", round.Won, start, time.Since(start))
		if n := meter.MostOps.Load(); n > 64 {
			t.Errorf("a call with %d deletions", n)
		}
		w.empty()
	})
}

// Keys of different parts of a node take a call each, those of one part share one.
func TestTogetherParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := halves{FaultNode: faulty.NewFaultNode(memory.New())}
		g, err := NewNodes([]backend.Node{node}, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, group: g.proven()}
		for _, key := range []string{"h", "k"} {
			_, res := w.acquire(key)
			expect(t, res, "acquire", round.Won, 0)
		}
		o := &own{t: t}
		node.Set(o.fault)
		for _, test := range []struct {
			keys []string
			own  int
		}{
			{[]string{"h1", "k1"}, 0},
			{[]string{"h1", "h2"}, 2},
			{[]string{"k1", "k2"}, 2},
		} {
			synctest.Wait() // the senders are idle
			o.calls = nil
			start := time.Now()
			attempts := w.several(false, test.keys...)
			expectAll(t, g.AcquireAll(o.ctx(), attempts, ttl, timeout), "acquire", round.Won, start, 0)
			expectAll(t, g.ReleaseAll(o.ctx(), attempts, timeout), "release", round.Won, start, 0)
			if len(o.calls) != test.own {
				t.Errorf("%q: the caller made the calls %v, want %d", test.keys, o.calls, test.own)
			}
		}
	})
}

// A key that another request is about when all are released is released after that.
func TestTogetherReleaseOfABusyKey(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		attempts := w.several(false, numbered(3)...)
		start := time.Now()
		expectAll(t, w.group.AcquireAll(context.Background(), attempts, ttl, timeout), "acquire", round.Won, start, 0)
		w.fault[0].Set(faulty.On(extends, faulty.Delay(100*time.Millisecond)))
		go attempts[1].extend()
		synctest.Wait()
		expectAll(t, w.group.ReleaseAll(context.Background(), attempts, timeout), "release", round.Won, start, 100*time.Millisecond)
		w.empty()

		// The request waits to be repeated, and the sender is idle.
		attempts = w.several(false, numbered(3)...)
		w.group.AcquireAll(context.Background(), attempts, ttl, timeout)
		w.fault[0].Set(faulty.On(deletes, faulty.First(2, denied))) // also without the queue
		attempts[1].Abandon()
		synctest.Wait()
		w.warm()
		results := w.group.ReleaseAll(context.Background(), attempts, timeout)
		expect(t, results[0], "release", round.Won, 0)
		expect(t, results[1], "release of the busy key", round.Unavailable, timeout)
		expect(t, results[2], "release", round.Won, 0)
		w.rest(2 * ttl)
		w.empty()
	})
}

// An acquire of a key waits until the deletion of a call by a caller has come back.
func TestTogetherDeletionsStayInOrder(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		attempts := w.several(false, numbered(3)...)
		w.group.AcquireAll(context.Background(), attempts, ttl, timeout)
		w.fault[0].Set(faulty.On(deletes, faulty.First(1, faulty.Delay(20*time.Millisecond))))
		var wg sync.WaitGroup
		wg.Go(func() { w.group.ReleaseAll(context.Background(), attempts, timeout) })
		time.Sleep(5 * time.Millisecond) // longer than until a second call may begin
		if n := w.group.Cleanups(); n != len(attempts) {
			t.Errorf("%d cleanups are under way, want %d", n, len(attempts))
		}
		_, res := w.acquire("k1")
		expect(t, res, "acquire", round.Won, 15*time.Millisecond)
		wg.Wait()
	})
}

// Callers of several keys and of one race for the calls that a caller makes itself. All
// get answers, and nothing is left.
func TestTogetherInlineRace(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.warm()
		rng := rand.New(rand.NewPCG(3, 4))
		var mu sync.Mutex
		w.fault[0].Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			mu.Lock()
			d := draw(rng, time.Millisecond)
			mu.Unlock()
			return faulty.Delay(d)(ctx, ops, next)
		})
		var wg sync.WaitGroup
		for i := range 6 {
			wg.Go(func() {
				for j := range 50 {
					ctx, cancel := context.WithCancel(context.Background())
					if (i+j)%5 == 0 {
						time.AfterFunc(time.Duration(i+j)*20*time.Microsecond, cancel)
					}
					keys := []string{fmt.Sprint("k", i), fmt.Sprint("l", i), fmt.Sprint("m", i)}
					attempts := w.several(false, keys[:1+j%3]...)
					var won []*Attempt
					for n, res := range w.group.AcquireAll(ctx, attempts, ttl, timeout) {
						switch {
						case res.Verdict == round.Won:
							won = append(won, attempts[n])
						case res.Verdict == round.Lost: // the key of the cancelled one before
						case res.CtxErr == nil:
							t.Errorf("acquire: %v", res)
						}
					}
					for _, res := range w.group.ReleaseAll(context.Background(), won, timeout) {
						if res.Verdict != round.Won {
							t.Errorf("release: %v", res)
						}
					}
					cancel()
				}
			})
		}
		wg.Wait()
		w.rest(2 * ttl)
		w.empty()
	})
}
