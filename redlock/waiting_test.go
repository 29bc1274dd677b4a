package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// distant makes each round trip take trip.
func (r *rig) distant(trip time.Duration) {
	r.setAll(faulty.Delay(trip/2), faulty.DelayReply(trip/2))
}

// operations counts the operations on locks that arrived at the nodes.
func (r *rig) operations() int {
	return r.arrived(func(op backend.Op) bool { return op.Kind != faulty.OpSubscribe && !isEcho(op) })
}

// echoes counts the echoes that inboxes have requested.
func (r *rig) echoes() int { return r.arrived(isEcho) }

func isEcho(op backend.Op) bool { return op.Kind == backend.OpEval && op.Script == lua.Echo }

// queued counts the tickets in the queues for key on all nodes. The key must not have a hash tag.
func (r *rig) queued(key string) int {
	r.t.Helper()
	n := 0
	for _, m := range r.mem {
		reply, err := m.Eval(r.t.Context(), lua.Inspect, []string{key, key + "{" + key + "}:queue"}, []string{"0"})
		if err != nil {
			r.t.Fatal(err)
		}
		tickets, _ := reply.Int(3)
		n += int(tickets)
	}
	return n
}

// gone waits until inboxes, notifications and cleanups have ended, and fails the test if a node
// holds anything then.
func (r *rig) gone() {
	r.t.Helper()
	time.Sleep(30 * time.Second) // a set in doubt may still arrive for a TTL
	r.empty()
}

// Lockers get the lock in the order in which they asked for it, soon after each other.
func TestWaitingIsFirstComeFirstServed(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			r.distant(2 * time.Millisecond)
			held := r.lock(r.locker(), "k")
			var mu sync.Mutex
			var order, want []int
			var all sync.WaitGroup
			const waiters, hold = 8, 5 * time.Millisecond
			for i := range waiters {
				want = append(want, i)
				l := r.locker()
				all.Go(func() {
					lock, err := l.Lock(t.Context(), "k")
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					order = append(order, i)
					mu.Unlock()
					time.Sleep(hold)
					lock.Unlock(t.Context())
				})
				time.Sleep(10 * time.Millisecond)
			}
			start := time.Now()
			held.Unlock(t.Context())
			all.Wait()
			if !slices.Equal(order, want) {
				t.Errorf("%d nodes: the order was %v", size, order)
			}
			if most := waiters*(hold+4*time.Millisecond) + 4*time.Millisecond; time.Since(start) > most {
				t.Errorf("%d nodes: all took %v, want two round trips each, %v", size, time.Since(start), most)
			}
			r.gone()
		})
	}
}

// A queued waiter does not poll: the cost of a long hold does not grow with its length.
func TestQueuedWaitersDoNotPoll(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			held := r.lock(r.locker(WithTTL(10*time.Minute)), "k")
			synctest.Wait() // until it has every node; otherwise new callers would acquire a node, release it and notify there
			var all sync.WaitGroup
			const waiters = 8
			for range waiters {
				l := r.locker()
				all.Go(func() {
					lock, err := l.Lock(t.Context(), "k")
					if err != nil {
						t.Error(err)
						return
					}
					lock.Unlock(t.Context())
				})
				time.Sleep(10 * time.Millisecond)
			}
			before := r.operations()
			if most := waiters * size * 3; before > most {
				t.Errorf("%d nodes: %d operations until all were queued, want %d at most", size, before, most)
			}
			time.Sleep(time.Second)
			if n := r.operations() - before; n > 0 {
				t.Errorf("%d nodes: %d operations while all were queued", size, n)
			}
			time.Sleep(5*time.Minute - time.Second)
			// The waiter of rank r looks every 2 s × min(1 + r, 15) ± 25 %.
			most := 0
			for rank := range waiters {
				most += size * int(5*time.Minute/(time.Duration(1+rank)*1500*time.Millisecond)+1)
			}
			if n := r.operations() - before; n > most {
				t.Errorf("%d nodes: %d operations in five minutes, want %d at most", size, n, most)
			}
			// An inbox that hears nothing requests an echo after 2, 4, … 32 s, and then every 32
			// s.
			if n, most := r.echoes(), waiters*size*(1+5+8); n > most || n < waiters*size {
				t.Errorf("%d nodes: %d echoes in five minutes, want at least one per inbox and at most %d", size, n, most)
			}
			held.Unlock(t.Context())
			all.Wait()
			r.gone()
		})
	}
}

// A holder of another library deletes its key and notifies nobody. While the first waiter sees
// such a holder, it looks every 250 ms ± 25 %.
func TestForeignHolderDeletesSilently(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		for _, m := range r.mem {
			m.Set("k", "foreign", time.Hour)
		}
		start := time.Now()
		time.AfterFunc(time.Minute, func() {
			for _, m := range r.mem {
				m.EvalDelete(context.Background(), "k", "foreign")
			}
		})
		lock, err := r.locker().Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, time.Minute, time.Minute+313*time.Millisecond)
		lock.Unlock(t.Context())
		r.gone()
	})
}

// The lock of a dead holder stays until it expires, and no longer.
func TestWaitingForADeadHolder(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.lock(r.locker(WithTTL(2*time.Second)), "k")
		synctest.Wait()
		start := time.Now()
		lock, err := r.locker().Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		least, most := 2*time.Second, 2*time.Second+2*time.Millisecond
		if r.bare {
			most = 2*time.Second + 250*time.Millisecond
		}
		took(t, start, least, most)
		lock.Unlock(t.Context())
		r.gone()
	})
}

// A waiter that is cancelled at any time delays no other waiter and leaves nothing behind.
func TestCancelledWaiterBlocksNobody(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		for cut := range 30 {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				r.distant(4 * time.Millisecond)
				first, second := r.locker(), r.locker()
				held := r.lock(r.locker(), "k")
				ctx, cancel := context.WithCancel(t.Context())
				failed := make(chan error, 1)
				go func() {
					lock, err := first.Lock(ctx, "k")
					if err == nil {
						lock.Unlock(ctx)
					}
					failed <- err
				}()
				time.Sleep(time.Millisecond)
				time.AfterFunc(20*time.Millisecond, func() { go held.Unlock(context.Background()) })
				time.AfterFunc(time.Duration(cut)*time.Millisecond+500*time.Microsecond, cancel)
				start := time.Now()
				lock, err := second.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d > 20*time.Millisecond+60*time.Millisecond {
					t.Errorf("%d nodes, cancelled after %d ms: the next waited for %v", size, cut, d)
				}
				lock.Unlock(t.Context())
				if err := <-failed; err != nil {
					matches(t, err, context.Canceled)
				}
				time.Sleep(4 * time.Second) // the inbox is still open, and a set may be in doubt
				if n := r.queued("k"); n != 0 {
					t.Errorf("%d nodes, cancelled after %d ms: %d tickets are left", size, cut, n)
				}
				r.gone()
			})
		}
	}
}

// Any number of waiters without an inbox, such as those of a dead process, is skipped.
func TestDeadWaitersAreSkipped(t *testing.T) {
	for _, size := range []int{1, 3} {
		for _, dead := range []int{1, 15, 40} {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				held := r.lock(r.locker(), "k")
				for i := range dead {
					for _, m := range r.mem {
						ticket := fmt.Sprint("20:dead-", i)
						ctx, cancel := context.WithCancel(t.Context())
						go m.Subscribe(ctx, fmt.Sprint("dead-", i), backend.Events{Ready: func() {}, Message: func(string) {}})
						synctest.Wait()
						m.Eval(t.Context(), lua.Acquire, []string{"k", "k{k}:queue"}, []string{"t", "1000", ticket, "100"})
						cancel()
						synctest.Wait()
					}
				}
				if n := r.queued("k"); n != dead*size {
					t.Fatalf("%d tickets are queued, want %d", n, dead*size)
				}
				done := make(chan time.Duration, 1)
				l := r.locker()
				var unlocked time.Time
				go func() {
					lock, err := l.Lock(t.Context(), "k")
					if err != nil {
						t.Error(err)
						return
					}
					done <- time.Since(unlocked)
					lock.Unlock(t.Context())
				}()
				time.Sleep(time.Second)
				unlocked = time.Now()
				held.Unlock(t.Context())
				// More than 16 at once are left to the next caller, which a timer wakes.
				most := time.Duration(0)
				if dead > 15 {
					most = 2*time.Second*15*5/4 + time.Second
				}
				if d := <-done; d > most {
					t.Errorf("%d nodes, %d dead waiters: the lock changed hands after %v, want %v", size, dead, d, most)
				}
			})
		}
	}
}

// TryLock does not get a lock that is reserved for a waiter, and never queues.
func TestTryLockRespectsReservations(t *testing.T) {
	for _, size := range []int{1, 3} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			for _, m := range r.mem {
				m.Set("k", "~20:somebody", 20*time.Millisecond)
			}
			l := r.locker()
			_, err := l.TryLock(t.Context(), "k")
			matches(t, err, ErrTaken)
			if n := r.arrived(faulty.Kind(faulty.OpSubscribe)); n != 0 {
				t.Errorf("TryLock subscribed %d times", n)
			}
			if n := r.queued("k"); n != 0 {
				t.Errorf("TryLock is queued %d times", n)
			}
			time.Sleep(20 * time.Millisecond) // no waiter took the lock
			r.lock(l, "k").Unlock(t.Context())
			r.gone()
		})
	}
}

// A caller with a retry policy polls at the policy's intervals, and does not queue.
func TestRetryPolls(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		held := r.lock(r.locker(), "k")
		synctest.Wait()
		l := r.locker()
		r.lock(l, "other").Unlock(t.Context()) // because the first acquire on a node is a script
		synctest.Wait()
		start, before := time.Now(), r.arrived(faulty.Kind(backend.OpSetNX))
		time.AfterFunc(time.Second+time.Millisecond, func() { held.Unlock(context.Background()) })
		lock, err := l.Lock(t.Context(), "k", WithRetry(Fixed(100*time.Millisecond)))
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, 1100*time.Millisecond, 1100*time.Millisecond)
		synctest.Wait()
		if n := r.arrived(faulty.Kind(backend.OpSetNX)) - before; n < 12*r.need() || n > 12*len(r.mem) {
			t.Errorf("%d sets on %d nodes, want twelve each, or fewer where the other nodes decided", n, len(r.mem))
		}
		if n := r.arrived(faulty.Kind(faulty.OpSubscribe)); n != 0 {
			t.Errorf("the caller subscribed %d times", n)
		}
		lock.Unlock(t.Context())
		r.gone()
	})
}

// Close ends all waiters at once, including those behind others, and none of them gets the lock.
func TestCloseEndsWaiters(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.distant(2 * time.Millisecond)
		held := r.lock(r.locker(), "k")
		l := r.locker()
		var all sync.WaitGroup
		start := time.Now()
		for range 10 {
			all.Go(func() {
				if _, err := l.Lock(t.Context(), "k"); !errors.Is(err, ErrClosed) {
					t.Errorf("a waiter ended with %v, want ErrClosed", err)
				}
				if d := time.Since(start); d > time.Second+4*time.Millisecond {
					t.Errorf("a waiter ended %v after the Locker was closed, want at once", d-time.Second)
				}
			})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Until(start.Add(time.Second)))
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		all.Wait()
		held.Unlock(t.Context())
		r.gone()
	})
}

// A lock that the same process holds is handed over within the process when it is unlocked,
// without a look, even on bare nodes.
func TestOwnHolderHandsOver(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.distant(2 * time.Millisecond)
		l := r.locker()
		held := r.lock(l, "k")
		var all sync.WaitGroup
		const waiters = 5
		for range waiters {
			all.Go(func() {
				lock, err := l.Lock(t.Context(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				lock.Unlock(t.Context())
			})
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(3 * time.Second)
		start := time.Now()
		held.Unlock(t.Context())
		all.Wait()
		if d, most := time.Since(start), (waiters+1)*8*time.Millisecond; d > most {
			t.Errorf("all had the lock after %v, want a few round trips each, %v", d, most)
		}
		r.gone()
	})
}

// A waiter whose inbox breaks again and again still gets the lock soon after its release.
func TestBrokenInbox(t *testing.T) {
	for _, size := range []int{1, 3} {
		for cut := range 20 {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				r.distant(2 * time.Millisecond)
				held := r.lock(r.locker(), "k")
				l := r.locker()
				start := time.Now()
				time.AfterFunc(50*time.Millisecond, func() { go held.Unlock(context.Background()) })
				time.AfterFunc(40*time.Millisecond+time.Duration(cut)*time.Millisecond, func() {
					for _, f := range r.fault {
						f.Disconnect()
					}
				})
				lock, err := l.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if d := time.Since(start); d > 100*time.Millisecond {
					t.Errorf("%d nodes, broken after %d ms: the waiter had the lock after %v", size, 40+cut, d)
				}
				lock.Unlock(t.Context())
				r.gone()
			})
		}
	}
}

// A node that cannot notify waiters is logged once, gets no ticket, and is polled.
func TestNoQueueIsLogged(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		held := r.lock(r.locker(), "k")
		var log logText
		l := r.locker(WithLogger(log.logger()))
		r.setAll(faulty.On(faulty.Kind(faulty.OpSubscribe), faulty.Refuse(backend.MarkReply(errors.New("NOPERM channel")))))
		start := time.Now()
		time.AfterFunc(time.Second, func() { held.Unlock(context.Background()) })
		lock, err := l.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		took(t, start, time.Second, time.Second+250*time.Millisecond)
		lock.Unlock(t.Context())
		if n := strings.Count(log.String(), "a node does not notify waiters"); n != 1 || strings.Contains(log.String(), "inbox:") {
			t.Errorf("the Locker logged %q", log.String())
		}
		r.gone()
	})
}

// The holder releases a node after the lock has been won on other nodes. That notifies this
// Locker, which also waits for another lock. A lock that is held takes the node. A lock that has
// ended does not, however it ended and whether or not that was noticed. Nobody would unlock it
// there, and its token would block the node for a whole TTL.
func TestLostLockTakesNoNode(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts []Option
		then func(t *testing.T, r *rig, l *Locker, lock *Lock)
		take bool
	}{
		{"held", nil, func(*testing.T, *rig, *Locker, *Lock) { time.Sleep(9 * time.Second) }, true},
		{"past its validity", nil, func(t *testing.T, r *rig, l *Locker, lock *Lock) {
			time.Sleep(time.Until(lock.Until()))
			if r.holders("k", lock.Token()) != 2 {
				t.Error("the nodes let the lock expire too early")
			}
		}, false},
		{"expired", nil, func(*testing.T, *rig, *Locker, *Lock) { time.Sleep(time.Minute) }, false},
		{"noticed to have expired", nil, func(t *testing.T, r *rig, l *Locker, lock *Lock) {
			ctx := lock.Context(t.Context())
			<-ctx.Done()
			synctest.Wait()
			if l.group.Contended("k") {
				t.Error("the lock still counts as held")
			}
		}, false},
		{"while the machine was suspended", nil, func(t *testing.T, r *rig, l *Locker, lock *Lock) { suspend(l)(time.Minute) }, false},
		{"found missing", nil, func(t *testing.T, r *rig, l *Locker, lock *Lock) {
			for _, m := range r.mem[:2] {
				if _, err := m.EvalDelete(t.Context(), "k", lock.Token()); err != nil {
					t.Fatal(err)
				}
			}
			matches(t, lock.Extend(t.Context(), 10*time.Second), ErrNotHeld)
			synctest.Wait()
			if l.group.Contended("k") {
				t.Error("the lock still counts as held")
			}
		}, false},
		{"not extended in time", []Option{WithAutoExtend()}, func(t *testing.T, r *rig, l *Locker, lock *Lock) {
			r.set(0, 2, faulty.On(faulty.Kind(backend.OpExtend), faulty.Refuse(nil)))
			time.Sleep(15 * time.Second)
			r.clear()
			matches(t, lock.Err(), ErrNotHeld)
			if l.group.Contended("k") {
				t.Error("the lock still counts as held")
			}
		}, false},
		{"extended", nil, func(t *testing.T, r *rig, l *Locker, lock *Lock) {
			time.Sleep(9 * time.Second)
			if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(9 * time.Second)
		}, true},
		{"extended by itself", []Option{WithAutoExtend()}, func(*testing.T, *rig, *Locker, *Lock) { time.Sleep(time.Minute) }, true},
		{"with a fencing token, extended", []Option{WithFencing(), WithAutoExtend()}, func(*testing.T, *rig, *Locker, *Lock) {
			time.Sleep(time.Minute)
		}, true},
		{"with a fencing token, expired", []Option{WithFencing()}, func(*testing.T, *rig, *Locker, *Lock) { time.Sleep(time.Minute) }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onRig(t, 3, false, func(t *testing.T, r *rig) {
				r.t = t
				l := r.locker(append(tc.opts, WithTTL(10*time.Second))...)
				for i, m := range r.mem {
					m.Set("busy", "foreign", time.Hour)
					m.Set("k", "foreign", []time.Duration{time.Second, time.Second, time.Hour}[i])
				}
				ctx, cancel := context.WithCancel(t.Context())
				var other sync.WaitGroup
				other.Go(func() { // waits all the time, so that the inbox stays open
					if _, err := l.Lock(ctx, "busy"); !errors.Is(err, context.Canceled) {
						t.Errorf("the other lock: %v", err)
					}
				})
				lock, err := l.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if e, _ := r.mem[2].Inspect(t.Context(), "k"); e.Value != "foreign" || r.queued("k") != 1 {
					t.Fatalf("node c holds %q, and %d tickets are queued, want one", e.Value, r.queued("k"))
				}
				tc.then(t, r, l, lock)
				synctest.Wait()
				if _, err := r.mem[2].Eval(t.Context(), lua.Release, []string{"k", "k{k}:queue"}, []string{"foreign"}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				e, _ := r.mem[2].Inspect(t.Context(), "k")
				if took := e.Found && e.Value == lock.Token(); took != tc.take || !tc.take && e.Found {
					t.Errorf("node c holds %q for %v; the lock took it: %v, want %v", e.Value, e.TTL, took, tc.take)
				}
				_ = lock.Unlock(t.Context()) // its result is that of the case
				cancel()
				other.Wait()
			})
		})
	}
}
