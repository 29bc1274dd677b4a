package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// What a sender does at most, and when: see package sender.
const (
	senderDepth    = 4
	senderStagger  = time.Millisecond
	senderEager    = 16
	senderBare     = 32
	senderBatch    = 512
	senderAcquires = 8192
	longestRepeat  = 250 * time.Millisecond
)

// depth is how many calls a node of make m has under way at most.
func depth(m nodeMake) int64 {
	if m == full {
		return senderDepth
	}
	return senderBare
}

// A node that hangs holds few calls and a bounded queue, however many attempts
// pass it by, and none once it answers; what it granted late is deleted.
func TestHungNodeHoldsLittle(t *testing.T) {
	for _, m := range makes {
		t.Run(string(m), func(t *testing.T) {
			inWorldOf(t, 3, m, func(t *testing.T, w *world) {
				var meter testnodes.BusyMeter
				stall, resume := faulty.Stall()
				w.fault[2].Set(meter.Fault, stall)
				start := time.Now()
				for i := range 6000 {
					a, res := w.acquire(fmt.Sprint("k", i%7))
					expect(t, res, "acquire", round.Won, 0)
					expect(t, a.release(), "release", round.Won, 0)
					if i%100 == 0 { // for less than a TTL in all: a set that arrives later may stay
						time.Sleep(100 * time.Millisecond)
						if urgent, acquires := queues(w.group.Members[2]); urgent+acquires > senderAcquires {
							t.Fatalf("%d operations are queued", urgent+acquires)
						}
					}
				}
				took := time.Since(start)
				if most := meter.Most.Load(); most > depth(m) || most == 0 {
					t.Errorf("%d calls at the same time", most)
				}
				// While it hangs it is probed: one call at a time, with one operation.
				if calls := meter.Calls.Load(); calls > depth(m)+int64(took/sender.CallTimeout)+1 {
					t.Errorf("%d calls in %v", calls, took)
				}
				resume()
				w.fault[2].Clear()
				time.Sleep(time.Second)
				w.empty()
				w.rest(ttl)
			})
		})
	}
}

// queues returns how many operations wait in each queue.
func queues(m *member.Member) (urgent, acquires int) {
	l := m.Sender.Load()
	return l.Extends + l.Deletes, l.Acquires
}

// Once a node has timed out, what has not been sent fails at once, and it is
// probed with a single operation until it answers.
func TestProbing(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault, faulty.Hang())
		var wg sync.WaitGroup
		try := func(n int) {
			for i := range n {
				wg.Go(func() {
					w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, time.Minute)
				})
			}
			synctest.Wait()
		}
		try(100)
		if most := meter.Most.Load(); most > senderDepth {
			t.Errorf("%d calls at first", most)
		}
		time.Sleep(2 * sender.CallTimeout)
		wg.Wait() // nobody waits for the minute that they would
		if !w.group.Members[0].Sender.Load().Away {
			t.Fatal("the node is thought to answer")
		}
		before := meter.Calls.Load()
		meter.MostOps.Store(0)
		for range 3 {
			try(50)
			if calls := meter.Now.Load(); calls != 1 {
				t.Errorf("%d calls while it is probed", calls)
			}
			time.Sleep(2 * sender.CallTimeout)
			wg.Wait()
		}
		if calls, ops := meter.Calls.Load()-before, meter.MostOps.Load(); calls < 3 || calls > 6 || ops != 1 {
			t.Errorf("%d calls, with up to %d operations, while it was probed", calls, ops)
		}
		w.fault[0].Set(meter.Fault)
		time.Sleep(2 * sender.CallTimeout)
		w.mustAcquire("again").release()
	})
}

// While a probe is under way what else comes fails at once: two contenders that
// have split the other nodes must not wait for this one to tell who lost.
func TestProbedNodeDecidesAtOnce(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.Hang())
		probe := w.mustAcquire("probe")
		time.Sleep(2 * sender.CallTimeout) // the call times out, and the next one probes
		again := w.mustAcquire("again")
		if _, err := w.mem[0].SetNX(t.Context(), "split", "other", ttl); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, res := w.group.acquire(t.Context(), nil, "split", "ours", ttl, timeout)
		if took := time.Since(start); res.Verdict != round.Lost || took >= timeout {
			t.Errorf("after %v: %+v, want Lost at once", took, res)
		}
		if v := res.Votes[2]; v.Outcome != round.Failed || v.Err.Error() != "not sent: the node does not answer" {
			t.Errorf("the node that hangs: %+v", v)
		}
		w.fault[2].Clear()
		probe.release()
		again.release()
	})
}

// A call that is under way for longer than a caller would wait says as much as one
// that has timed out, to this caller, if the other nodes can decide without this one.
func TestHungNodeIsNoticedByTheWait(t *testing.T) {
	inWorldOf(t, 2, full, func(t *testing.T, w *world) {
		w.fault[0].Set(faulty.Hang())
		for i, want := range []struct{ wait, took time.Duration }{
			{timeout, timeout},         // the first one finds out
			{timeout, 0},               // for the others
			{3 * timeout, 3 * timeout}, // but for one with more patience
		} {
			start := time.Now()
			_, res := w.group.acquire(t.Context(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, want.wait)
			time.Sleep(time.Millisecond) // more than the wait, not just as long
			if took := time.Since(start) - time.Millisecond; res.Verdict != round.Unavailable || took != want.took {
				t.Errorf("caller %d: %+v after %v, want Unavailable after %v", i, res, took, want.took)
			}
		}
		w.fault[0].Clear()
	})
}

// An inline call that was answered meanwhile shows that the node does not hang, as
// any other does.
func TestInlineAnswerIsProgress(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.warm()
		var wg sync.WaitGroup
		w.fault[0].Set(faulty.DelayReply(timeout - time.Millisecond))
		wg.Go(func() { w.mustAcquire("inline") })
		synctest.Wait()
		w.fault[0].Set(faulty.Hang())
		wg.Go(func() { w.acquire("hangs") })
		synctest.Wait()
		w.fault[0].Clear()
		time.Sleep(timeout + time.Millisecond)
		_, res := w.acquire("k")
		expect(t, res, "acquire", round.Won, 0)
		wg.Wait()
	})
}

// The queue of a node that hangs is bounded: an acquire that comes on top fails at
// once.
func TestQueueIsBounded(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held, given := w.mustAcquire("held"), w.mustAcquire("given")
		w.fault[0].Set(faulty.Hang())
		var wg sync.WaitGroup
		full := 0
		var mu sync.Mutex
		for i := range senderAcquires + 1000 {
			wg.Go(func() {
				_, res := w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, timeout)
				mu.Lock()
				defer mu.Unlock()
				if res.Votes[0].Err != nil && strings.Contains(res.Votes[0].Err.Error(), "too many operations wait") {
					full++
					expect(t, res, "acquire on a full lane", round.Unavailable, 0)
				}
			})
		}
		synctest.Wait()
		if urgent, acquires := queues(w.group.Members[0]); urgent+acquires > senderAcquires {
			t.Errorf("%d operations are queued", urgent+acquires)
		}
		if full == 0 || full > 1000 {
			t.Errorf("%d of %d found no place", full, senderAcquires+1000)
		}
		given.Abandon()
		wg.Go(func() { expect(t, held.extend(), "extend on a full lane", round.Unavailable, timeout) })
		synctest.Wait()
		if urgent, _ := queues(w.group.Members[0]); urgent != 2 {
			t.Errorf("%d deletions and extensions are queued, want 2", urgent)
		}
		wg.Wait()
		held.Abandon()
		w.fault[0].Clear()
		w.rest(2 * ttl)
		w.empty()
	})
}

// Deletions outlive the hanging of a node, as long as there is something to
// delete.
func TestDeletionsOutliveAHang(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		var attempts []*Attempt
		for i := range 2000 {
			attempts = append(attempts, w.mustAcquire(fmt.Sprint("k", i)))
		}
		synctest.Wait()
		if n := len(w.mem[2].Keys()); n != 2000 {
			t.Fatalf("node 2 has %d keys", n)
		}
		w.fault[2].Set(faulty.Hang())
		for _, a := range attempts {
			expect(t, a.release(), "release", round.Won, 0)
		}
		time.Sleep(ttl - 4*time.Second)
		w.empty(0, 1)
		if n := len(w.mem[2].Keys()); n != 2000 {
			t.Fatalf("node 2 has %d keys", n)
		}
		w.fault[2].Set(faulty.Delay(time.Millisecond))
		time.Sleep(sender.CallTimeout + sender.CallTimeout/4 + 200*time.Millisecond) // the probe, at most
		w.empty()
	})
}

// What comes while calls are under way goes out together with the next one, and
// not more than a batch may hold.
func TestGathering(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault, faulty.Delay(10*time.Millisecond))
		const n = 2000
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() {
				key, token := fmt.Sprint("k", i), fmt.Sprint("t", i)
				a, res := w.group.acquire(context.Background(), nil, key, token, ttl, timeout)
				if res.Verdict != round.Won {
					t.Errorf("acquire: %v", res)
				}
				if res = a.release(); res.Verdict != round.Won {
					t.Errorf("release: %v", res)
				}
			})
		}
		wg.Wait()
		if most := meter.Most.Load(); most > senderDepth {
			t.Errorf("%d calls at the same time", most)
		}
		if ops := meter.MostOps.Load(); ops > senderBatch || ops < senderBatch/2 {
			t.Errorf("%d operations in a call", ops)
		}
		if calls := meter.Calls.Load(); calls > n/20 || meter.Ops.Load() != 2*n {
			t.Errorf("%d operations in %d calls", meter.Ops.Load(), calls)
		}
		w.rest(0)
		w.empty()
	})
}

// With one node a second call leaves at once if so much waits that it is worth it, and a
// third one later; with several nodes the second one waits like the third.
func TestEagerCall(t *testing.T) {
	for _, tc := range []struct {
		nodes int
		ops   []int           // that come one after the other while the first call is under way
		want  []time.Duration // when calls leave
	}{
		{1, []int{senderEager - 1}, []time.Duration{0, senderStagger}},
		{1, []int{senderEager}, []time.Duration{0, 0}},
		{1, []int{senderEager - 1, 1, senderEager}, []time.Duration{0, 0, senderStagger}},
		{3, []int{senderEager}, []time.Duration{0, senderStagger}},
	} {
		inWorldOf(t, tc.nodes, full, func(t *testing.T, w *world) {
			w.warm()
			start := time.Now()
			var calls []time.Duration
			var mu sync.Mutex
			w.fault[0].Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
				mu.Lock()
				calls = append(calls, time.Since(start))
				mu.Unlock()
				time.Sleep(10 * time.Millisecond)
				return next(ctx, ops)
			})
			var wg sync.WaitGroup
			ask := func(n int) {
				for range n {
					wg.Go(func() { w.group.acquire(context.Background(), nil, w.token(), w.token(), ttl, timeout) })
				}
				synctest.Wait()
			}
			ask(1)
			for _, n := range tc.ops {
				ask(n)
			}
			wg.Wait()
			time.Sleep(20 * time.Millisecond) // several nodes decide without the slow one
			mu.Lock()
			defer mu.Unlock()
			if !slices.Equal(calls, tc.want) {
				t.Errorf("%d nodes, %d operations: calls began after %v, want %v", tc.nodes, tc.ops, calls, tc.want)
			}
		})
	}
}

// A node that does not batch is asked for many operations at the same time.
func TestDepthWithoutBatches(t *testing.T) {
	inWorldOf(t, 1, bare, func(t *testing.T, w *world) {
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault, faulty.Delay(10*time.Millisecond))
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, timeout)
			})
		}
		start := time.Now()
		wg.Wait()
		if most := meter.Most.Load(); most != senderBare || time.Since(start) != 40*time.Millisecond {
			t.Errorf("%d calls at the same time, all done in %v", most, time.Since(start))
		}
	})
}

// Releases and extensions overtake acquires.
func TestUrgentFirst(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		held := w.mustAcquire("held")
		w.fault[0].Forget()
		w.fault[0].Set(faulty.Delay(10 * time.Millisecond))
		var wg sync.WaitGroup
		acquire := func(i int) {
			wg.Go(func() {
				w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, time.Second)
			})
		}
		for i := range senderDepth {
			acquire(i)
			time.Sleep(senderStagger) // each is a call of its own
		}
		for i := range senderDepth*senderBatch + 100 { // more than the next calls take
			acquire(senderDepth + i)
		}
		synctest.Wait()
		expect(t, held.release(), "release", round.Won, 20*time.Millisecond-senderDepth*senderStagger)
		wg.Wait()
		for _, c := range w.fault[0].Calls() {
			if i := slices.IndexFunc(c.Ops, deletes); i > 0 {
				t.Errorf("it went out as number %d of %d operations", i, len(c.Ops))
			}
		}
	})
}

// What is wrong with one operation of a batch does not touch the others.
func TestOneOfABatchFails(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		results := w.batch(t, 50, faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			if op.Key == "k17" {
				return backend.Result{Err: backend.MarkReply(errors.New("WRONGTYPE"))}
			}
			return next(ctx)
		}))
		for i, res := range results {
			want := round.Won
			if i == 17 {
				want = round.Unavailable
			}
			if res.Verdict != want {
				t.Errorf("%d: %v, want %v", i, res, want)
			}
		}
	})
}

// batch acquires n keys, most of them in one batch, which passes fault.
func (w *world) batch(t *testing.T, n int, fault faulty.Fault) []round.Result {
	t.Helper()
	// Calls that last keep the lane busy until all have come.
	w.fault[0].Set(faulty.Delay(time.Millisecond))
	for i := range senderDepth {
		go w.group.acquire(context.Background(), nil, fmt.Sprint("before", i), fmt.Sprint("b", i), ttl, timeout)
	}
	synctest.Wait()
	w.fault[0].Set(faulty.Delay(time.Millisecond), fault)
	results := make([]round.Result, n)
	attempts := make([]*Attempt, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			attempts[i], results[i] = w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, timeout)
		})
	}
	wg.Wait()
	batched := 0
	for _, c := range w.fault[0].Calls() {
		batched = max(batched, len(c.Ops))
	}
	if batched < n/2 {
		t.Errorf("the largest batch has %d operations of %d", batched, n)
	}
	for _, a := range attempts {
		a.Abandon()
	}
	return results
}

// A connection that breaks under a batch leaves the outcome of each of its
// operations unknown: they are sent again as scripts, and those that find
// nothing to hold on to are deleted.
func TestBatchBreaks(t *testing.T) {
	for times, want := range []round.Verdict{0: round.Won, 1: round.Won, 2: round.Unavailable} {
		for _, executed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d times, executed=%v", times, executed), func(t *testing.T) {
				inWorldOf(t, 1, full, func(t *testing.T, w *world) {
					var mu sync.Mutex
					met := map[string]int{} // how often each set met the fault, whatever batch it was in
					fault := faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
						key := op.Key
						if op.Kind == backend.OpEval {
							key = op.Keys[0]
						}
						if !deletes(op) {
							mu.Lock()
							met[key]++
							hit := met[key] <= times
							mu.Unlock()
							if hit && executed {
								next(ctx)
							}
							if hit {
								return backend.Result{Err: io.EOF}
							}
						}
						return next(ctx)
					})
					for i, res := range w.batch(t, 50, fault) {
						if res.Verdict != want {
							t.Errorf("%d: %v, want %v", i, res, want)
						}
					}
					w.rest(ttl + time.Second)
					w.fault[0].Clear()
					for _, key := range w.mem[0].Keys() {
						if key[0] == 'k' {
							t.Errorf("%s is left", key)
						}
					}
				})
			})
		}
	}
}

// replace has the group of a world of one node call another one.
func (w *world) replace(n backend.Node) {
	w.t.Helper()
	g, err := NewNodes([]backend.Node{n}, Config{}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.group = g.proven()
}

// miscounting is a node that answers a batch with the wrong number of results.
type miscounting struct {
	*faulty.FaultNode
	by int
}

func (m miscounting) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	return make([]backend.Result, max(0, len(ops)+m.by))
}

// An adapter that breaks its contract does not break the lane, and what it did
// is taken for unknown.
func TestBatchOfWrongLength(t *testing.T) {
	for _, by := range []int{-1, 1, -1000} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			w.replace(miscounting{w.fault[0], by})
			w.fault[0].Set(faulty.Delay(time.Millisecond))
			var wg sync.WaitGroup
			failed := 0
			var mu sync.Mutex
			for i := range 100 {
				wg.Go(func() {
					_, res := w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), time.Second, timeout)
					mu.Lock()
					defer mu.Unlock()
					if res.Verdict == round.Unavailable {
						failed++
					} else if res.Verdict != round.Won {
						t.Errorf("acquire: %v", res)
					}
				})
			}
			wg.Wait()
			if failed == 0 {
				t.Error("none failed")
			}
			w.rest(time.Minute)
		})
	}
}

// incapable is a node that has Batch, and cannot: behind a proxy, perhaps.
type incapable struct{ *faulty.FaultNode }

func (n incapable) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i := range results {
		results[i].Err = fmt.Errorf("pipelines: %w", errors.ErrUnsupported)
	}
	return results
}

func TestCannotBatchAfterAll(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.replace(incapable{w.fault[0]})
		var meter testnodes.BusyMeter
		w.fault[0].Set(meter.Fault, faulty.Delay(time.Millisecond))
		var wg sync.WaitGroup
		for i := range 500 {
			wg.Go(func() {
				a, res := w.group.acquire(context.Background(), nil, fmt.Sprint("k", i), fmt.Sprint("t", i), ttl, timeout)
				if res.Verdict != round.Won {
					t.Errorf("acquire: %v", res)
				}
				if res := a.release(); res.Verdict != round.Won {
					t.Errorf("release: %v", res)
				}
			})
		}
		wg.Wait()
		w.empty()
		if most, ops := meter.Most.Load(), meter.MostOps.Load(); most != senderBare || ops != 1 {
			t.Errorf("%d calls at the same time, of %d operations", most, ops)
		}
	})
}

// With one node, an idle lane and an answer before, the call is the caller's own.
func TestInline(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.warm()
		type mark struct{}
		ctx := context.WithValue(context.Background(), mark{}, true)
		inline := 0
		w.fault[0].Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			if ctx.Value(mark{}) != nil {
				inline++
				if d, _ := ctx.Deadline(); time.Until(d) != timeout {
					t.Errorf("an inline call has %v", time.Until(d))
				}
			}
			return next(ctx, ops)
		})
		a, res := w.group.acquire(ctx, nil, "k", "t", ttl, timeout)
		expect(t, res, "acquire", round.Won, 0)
		expect(t, a.Extend(ctx, ttl, timeout), "extend", round.Won, 0)
		expect(t, a.Release(ctx, timeout), "release", round.Won, 0)
		if inline != 3 {
			t.Errorf("%d calls were inline", inline)
		}
		// After a failure the lane calls, until the node has answered.
		w.fault[0].Set(dead)
		_, res = w.group.acquire(ctx, nil, "k", "t2", ttl, timeout)
		expect(t, res, "acquire", round.Unavailable, 0)
		if w.group.Members[0].Sender.Claim(1, time.Now()) {
			t.Error("an inline call right after a failure")
		}
	})
}

// A caller that is cancelled within its own call takes its key back; one with a
// short deadline spoils nothing for others.
func TestInlineCancelled(t *testing.T) {
	for _, ignores := range []bool{false, true} {
		inWorld(t, 1, func(t *testing.T, w *world) {
			w.warm()
			slow := []faulty.Fault{faulty.Late(100 * time.Millisecond)}
			if ignores {
				slow = append([]faulty.Fault{faulty.IgnoreCancel()}, slow...)
			}
			w.fault[0].Set(slow...)
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(50*time.Millisecond, cancel)
			_, res := w.group.acquire(ctx, nil, "k", "t1", ttl, timeout)
			if ignores { // then the answer comes first
				expect(t, res, "acquire", round.Won, 100*time.Millisecond)
				if res.CtxErr != nil {
					t.Errorf("won, and the caller's error is %v", res.CtxErr)
				}
				w.group.Adopt("k", "t1", ttl).Abandon()
			} else {
				expect(t, res, "acquire", round.Unavailable, 50*time.Millisecond)
				if !errors.Is(res.CtxErr, context.Canceled) {
					t.Errorf("the caller's error is %v", res.CtxErr)
				}
			}
			time.Sleep(time.Second)
			w.empty()

			w.fault[0].Clear()
			w.mustAcquire("x").release()
			w.fault[0].Set(faulty.Delay(30 * time.Millisecond))
			var wg sync.WaitGroup
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
				defer cancel()
				_, res := w.group.acquire(ctx, nil, "short", "t2", ttl, timeout)
				expect(t, res, "acquire with 5ms", round.Unavailable, 5*time.Millisecond)
				if !errors.Is(res.CtxErr, context.DeadlineExceeded) {
					t.Errorf("the caller's error is %v", res.CtxErr)
				}
			})
			synctest.Wait()
			for i := range 20 {
				wg.Go(func() {
					a, res := w.group.acquire(context.Background(), nil, fmt.Sprint("other", i), fmt.Sprint("o", i), ttl, timeout)
					if res.Verdict != round.Won {
						t.Errorf("another's acquire: %v", res)
					}
					a.release()
				})
			}
			wg.Wait()
			w.rest(2 * ttl)
			w.empty()
		})
	}
}

// A caller whose ctx ends before the node timeout learns what its call has done, though
// not in time: nothing is left to be deleted again and again for a TTL.
func TestDeadlineLeavesNoDoubt(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.warm()
		w.fault[0].Set(faulty.On(sets, faulty.Delay(100*time.Millisecond)))
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		_, res := w.group.acquire(ctx, nil, "k", "t", ttl, timeout)
		expect(t, res, "acquire", round.Unavailable, 50*time.Millisecond)
		if !errors.Is(res.CtxErr, context.DeadlineExceeded) {
			t.Errorf("the caller's error is %v", res.CtxErr)
		}
		w.rest(51 * time.Millisecond)
		w.empty()
		if n := len(w.fault[0].Arrived()); n != 2 {
			t.Errorf("%d operations were sent, want the set and one deletion", n)
		}
	})
}

// What waits while an inline call is all that the lane may have under way goes
// out when that ends.
func TestInlineHoldsUpAProbe(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		held := w.mustAcquire("held")
		synctest.Wait() // the sender is idle
		const long = 4 * sender.CallTimeout
		w.fault[0].Set(faulty.On(deletes, faulty.First(1, faulty.Hang())), faulty.On(sets, faulty.DelayReply(long)))
		var wg sync.WaitGroup
		wg.Go(func() {
			_, res := w.group.acquire(context.Background(), nil, "k", w.token(), ttl, 2*long)
			expect(t, res, "acquire", round.Won, long)
		})
		synctest.Wait()
		expect(t, held.release(), "release", round.Unavailable, timeout)
		time.Sleep(2 * sender.CallTimeout) // the lane's call has timed out
		if w.holders("held", held.token) != 1 {
			t.Error("there are two calls on a node that hangs")
		}
		wg.Wait()
		time.Sleep(time.Millisecond)
		if w.holders("held", held.token) != 0 {
			t.Error("what waited did not go out")
		}
	})
}

// Callers that race for the inline call and the lane all get answers.
func TestInlineRace(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		w.warm()
		rng := rand.New(rand.NewPCG(1, 2))
		var mu sync.Mutex
		w.fault[0].Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			mu.Lock()
			d := draw(rng, time.Millisecond)
			mu.Unlock()
			return faulty.Delay(d)(ctx, ops, next)
		})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 50 {
					ctx, cancel := context.WithCancel(context.Background())
					if (i+j)%5 == 0 {
						time.AfterFunc(time.Duration(i+j)*20*time.Microsecond, cancel)
					}
					a, res := w.group.acquire(ctx, nil, fmt.Sprint("k", i), fmt.Sprint("t", i, "-", j), ttl, timeout)
					switch {
					case res.Verdict == round.Won:
						if res := a.extend(); res.Verdict != round.Won {
							t.Errorf("extend: %v", res)
						}
						if res := a.release(); res.Verdict != round.Won {
							t.Errorf("release: %v", res)
						}
					case res.Verdict == round.Lost: // the key of the cancelled one before
					case res.CtxErr == nil:
						t.Errorf("acquire: %v", res)
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

// A part of a node that hangs does not hold up the others.
func TestPartsOfANode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := halves{FaultNode: faulty.NewFaultNode(memory.New())}
		hang := faulty.Hang()
		node.Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			if strings.HasPrefix(ops[0].Key, "h") {
				return hang(ctx, ops, next)
			}
			return next(ctx, ops)
		})
		g, err := NewNodes([]backend.Node{node}, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		g.proven() // so that the commands name the key as the fault expects it
		for i := range 20 {
			_, res := g.acquire(t.Context(), nil, fmt.Sprint("h", i), fmt.Sprint("th", i), ttl, timeout)
			if res.Verdict != round.Unavailable {
				t.Errorf("in the part that hangs: %+v", res)
			}
			start := time.Now()
			a, res := g.acquire(t.Context(), nil, fmt.Sprint("k", i), fmt.Sprint("tk", i), ttl, timeout)
			if res.Verdict != round.Won || time.Since(start) > 0 {
				t.Errorf("in the other part: %+v after %v", res, time.Since(start))
			}
			if res := a.Release(t.Context(), timeout); res.Verdict != round.Won {
				t.Errorf("in the other part: %+v", res)
			}
			time.Sleep(sender.CallTimeout / 4)
		}
		node.Clear()
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
