package quorum

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/round"
)

// manyRebuffs is how often a node must fail to queue before this is reported: see package
// member.
const manyRebuffs = 3

// runs matches a script.
func runs(scripts ...*backend.Script) func(backend.Op) bool {
	return func(op backend.Op) bool { return op.Kind == backend.OpEval && slices.Contains(scripts, op.Script) }
}

// Where the scripts are refused, plain commands do the same, one waits by polling,
// it is told once, and after a minute the scripts are tried again.
func TestQueueRefused(t *testing.T) {
	refusals := []error{
		backend.MarkReply(errors.New("NOPERM No permissions to access a key")),
		backend.MarkNotExecuted(fmt.Errorf("no scripts: %w", errors.ErrUnsupported)),
	}
	for _, refusal := range refusals {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			no := faulty.Refuse(refusal)
			p := w.process(full)
			p.set(faulty.On(runs(lua.Release), no))
			a := p.mustAcquire("k")
			if res := release(a); res.Verdict != round.Won {
				t.Errorf("the release: %v", res)
			}
			p.wantSaid(t, "a refused release", 0, "set t1", "delete t1")
			w.empty()
			release(p.mustAcquire("k"))
			p.wantSaid(t, "the next pair", 0, "set t2", "delete t2")

			time.Sleep(notify.MuteAgain - 1)
			release(p.mustAcquire("k"))
			p.wantSaid(t, "shortly before the minute is over", 0, "set t3", "delete t3")
			time.Sleep(time.Nanosecond)
			a = p.mustAcquire("k")
			time.Sleep(time.Nanosecond)
			release(a)
			p.set()
			release(p.mustAcquire("k"))
			p.wantSaid(t, "refused again", 0, "set t4", "delete t4", "set t5", "delete t5")
			time.Sleep(notify.MuteAgain + 1)
			release(p.mustAcquire("k"))
			p.wantSaid(t, "after the rules have changed", 0, "set t6", "release t6")

			p.set(faulty.On(runs(lua.Acquire), no))
			w.mem[0].Set("k", "foreign", 120*time.Millisecond)
			waiter := p.mustJoin("k")
			p.lose(waiter)
			p.wantSaid(t, "a refused acquire", 0, "set t7")
			start := time.Now()
			if err := waiter.wait(context.Background(), pollPace, 0); err != nil || time.Since(start) != pollPace {
				t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
			}
			time.Sleep(100 * time.Millisecond)
			a = p.win(waiter)
			release(a)
			p.wantSaid(t, "a pair of one who polls", 0, "set t8", "delete t8")

			w.mu.Lock()
			defer w.mu.Unlock()
			if len(p.polls) != 1 {
				t.Errorf("it was told %q, want once", p.polls)
			}
			w.empty()
		})
	}
}

// Rollbacks and giving up, refused: the lock is not kept, and what is about the
// queue alone is let be.
func TestRollbackRefused(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		w.mem[0].Set("k", "foreign", time.Second)
		w.mem[1].Set("k", "foreign", time.Second)
		p := w.process(full)
		p.set(faulty.On(runs(lua.Rollback, lua.Release), denied))
		waiter := p.mustJoin("k")
		p.lose(waiter)
		synctest.Wait()
		p.wantSaid(t, "a refused rollback", 2, "acquire t1 ticket", "delete t1")
		w.empty(2)
		waiter.leave()
		p.wantSaid(t, "giving up", 0, "acquire t1 ticket")
		if err := p.Wait(context.Background()); err != nil {
			t.Error(err)
		}
		if n := len(w.abandoned); n != 0 {
			t.Errorf("%q are said to be abandoned", w.abandoned)
		}
	})
}

// A minority without queues is no reason to poll: the others call. (A first try in
// vain when the release is on one node only: whose the others are is not known.)
func TestMinorityCannotQueue(t *testing.T) {
	for _, queues := range []int{0, 1, 2, 3} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			held := w.process(full).mustAcquire("k")
			synctest.Wait()
			p := w.process(full)
			for i := queues; i < 3; i++ {
				p.fault[i].Set(faulty.On(scripts, denied))
			}
			waiter := p.mustJoin("k")
			p.lose(waiter)
			start := time.Now()
			time.AfterFunc(time.Second, func() { release(held) })
			polls := 0
			for {
				if err := waiter.wait(context.Background(), pollPace, 0); err != nil {
					t.Fatal(err)
				}
				a, res := p.try(waiter)
				if res.Verdict == round.Won {
					release(a)
					break
				}
				polls++
			}
			switch took := time.Since(start); {
			case queues >= 2 && (polls > 1 || took != time.Second):
				t.Errorf("queued on %d of 3 nodes it tried %d times in vain, and won after %v", queues, polls, took)
			case queues < 2 && (polls < 15 || polls > 25 || took > time.Second+pollPace):
				t.Errorf("queued on %d of 3 nodes it tried %d times in vain, and won after %v", queues, polls, took)
			}
		})
	}
}

// One who polls for what this process holds is told of the release.
func TestReleaseHereWakesPollers(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, m := range []nodeMake{scripted, bare} {
			inWorldOf(t, n, m, func(t *testing.T, w *world) {
				p := w.process(m).distant(2 * time.Millisecond)
				held := p.mustAcquire("k")
				waiter := p.mustJoin("k")
				p.lose(waiter)
				var start time.Time
				time.AfterFunc(time.Second, func() {
					start = time.Now()
					release(held)
				})
				if err := waiter.wait(context.Background(), time.Hour, 0); err != nil {
					t.Fatal(err)
				}
				a := p.win(waiter)
				if took := time.Since(start); took != 4*time.Millisecond {
					t.Errorf("%d %s nodes: it was handed over in %v, want two round trips", n, m, took)
				}
				release(a)
				time.Sleep(time.Second)
				w.empty()
			})
		}
	}
}

// A node that runs the scripts and queues nobody is told of, once, though it never
// refuses: its rights to single commands are missing, for instance.
func TestNotQueued(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.process(full).mustAcquire("k")
		w.mem[0].Push("k{k}:queue", "no queue")
		p := w.process(full)
		waiter := p.mustJoin("k")
		told := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(p.polls)
		}
		for i := range 3 * manyRebuffs {
			p.lose(waiter)
			if want := min(1, (i+1)/manyRebuffs); told() != want {
				t.Errorf("after %d tries it was told %q", i+1, p.polls)
			}
		}
		if want := "n0: it queues no waiter: ZADD: WRONGTYPE Operation against a key holding the wrong kind of value"; p.polls[0] != want {
			t.Errorf("it was told %q, want %q", p.polls, want)
		}
		waiter.leave()
	})
}

// A release that could call nobody, by what its script answers, has released all the same,
// and is told of, once.
func TestReleaseThatCallsNobody(t *testing.T) {
	for _, answer := range []backend.Reply{{int64(1), "PUBLISH: ERR no right"}, {int64(1), int64(7)}} {
		inWorldOf(t, 1, full, func(t *testing.T, w *world) {
			p := w.process(full)
			p.set(faulty.On(runs(lua.Release, lua.Rollback), faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
				next(ctx)
				return backend.Result{Reply: answer}
			})))
			for range 3 {
				expect(t, release(p.mustAcquire("k")), "release", round.Won, 0)
			}
			p.wantSaid(t, "in all", 0, "set t1", "release t1", "set t2", "release t2", "set t3", "release t3")
			w.mu.Lock()
			defer w.mu.Unlock()
			want := []string{"n0: it releases locks, but does not notify waiters: PUBLISH: ERR no right"}
			if _, ok := answer[1].(string); !ok {
				want = nil
			}
			if !slices.Equal(p.polls, want) {
				t.Errorf("it was told %q, want %q", p.polls, want)
			}
			if !p.Members[0].Queueing.Works() {
				t.Error("the queue is not used any more")
			}
			w.empty()
		})
	}
}
