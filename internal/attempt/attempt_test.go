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
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

func TestPair(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, n, func(t *testing.T, w *world) {
				for range 3 { // from the second on N=1 calls inline
					a, res := w.acquire("k")
					expect(t, res, "acquire", round.Won, 0)
					if got := w.holders("k", a.token); got < w.group.Need() {
						t.Errorf("%d nodes hold it", got)
					}
					synctest.Wait()
					_, res = w.acquire("k")
					expect(t, res, "acquire what is held", round.Lost, 0)
					if w.rest(time.Second); w.holders("k", a.token) != n {
						t.Errorf("%d of %d nodes hold it after another was refused", w.holders("k", a.token), n)
					}
					expect(t, a.extend(), "extend", round.Won, 0)
					expect(t, a.release(), "release", round.Won, 0)
					expect(t, a.extend(), "extend what was released", round.Gone, 0)
					if w.rest(time.Second); n > 0 {
						w.empty()
					}
				}
			})
		})
	}
}

// Who unlocks and locks again at once is not refused because of deletions that
// are still under way, of this token or of older ones. (A set that is still
// under way then may refuse him.)
func TestLockAgainAtOnce(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, n, func(t *testing.T, w *world) {
				for i, f := range w.fault {
					rng := rand.New(rand.NewPCG(uint64(i), 0))
					var mu sync.Mutex
					f.Set(faulty.On(deletes, func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
						mu.Lock()
						d := draw(rng, 100*time.Millisecond)
						mu.Unlock()
						return faulty.Delay(d)(ctx, ops, next)
					}))
				}
				for i := range 300 {
					a, res := w.acquire("k")
					if res.Verdict != round.Won {
						t.Errorf("acquire number %d: %v", i, res)
					}
					synctest.Wait()
					if res := a.release(); res.Verdict != round.Won {
						t.Errorf("release number %d: %v", i, res)
					}
				}
			})
		})
	}
}

// A minority that hangs costs neither time nor an error; the report says that
// it has not answered.
func TestMinorityHangs(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, n, func(t *testing.T, w *world) {
				for i := w.group.Need(); i < n; i++ {
					w.fault[i].Set(faulty.Hang())
				}
				for range 3 {
					a, res := w.acquire("k")
					expect(t, res, "acquire", round.Won, 0)
					if got, want := outcomes(res.Votes), map[int]string{3: "GGP", 5: "GGGPP"}[n]; got != want {
						t.Errorf("the votes are %s, want %s", got, want)
					}
					expect(t, a.extend(), "extend", round.Won, 0)
					expect(t, a.release(), "release", round.Won, 0)
				}
			})
		})
	}
}

// Where a majority hangs, the node timeout ends the wait, and the report names
// those.
func TestMajorityHangs(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("held")
		w.fault[1].Set(faulty.Hang())
		w.fault[2].Set(faulty.Hang())
		_, res := w.acquire("k")
		expect(t, res, "acquire", round.Unavailable, timeout)
		if got := outcomes(res.Votes); got != "GOO" {
			t.Errorf("the votes are %s", got)
		}
		for _, v := range res.Votes[1:] {
			if !errors.Is(v.Err, context.DeadlineExceeded) || v.Latency != timeout {
				t.Errorf("the vote of a node that hangs is %+v", v)
			}
		}
		expect(t, a.extend(), "extend", round.Unavailable, timeout)
		expect(t, a.release(), "release", round.Unavailable, timeout)
		synctest.Wait()
		w.empty(0)
	})
}

// The caller's ctx ends the wait sooner; that is told apart from a time-out of
// the nodes.
func TestCallersDeadline(t *testing.T) {
	const patience = 150 * time.Millisecond
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("held")
		w.fault[1].Set(faulty.Hang())
		w.fault[2].Set(faulty.Hang())
		for _, call := range []struct {
			what string
			call func(context.Context) round.Result
		}{
			{"acquire", func(ctx context.Context) round.Result {
				_, res := w.group.acquire(ctx, nil, "k", w.token(), ttl, timeout)
				return res
			}},
			{"extend", func(ctx context.Context) round.Result { return a.Extend(ctx, ttl, timeout) }},
			{"release", func(ctx context.Context) round.Result { return a.Release(ctx, timeout) }},
		} {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			res := call.call(ctx)
			cancel()
			expect(t, res, call.what, round.Unavailable, patience)
			if !errors.Is(res.CtxErr, context.DeadlineExceeded) {
				t.Errorf("%s: the caller's error is %v", call.what, res.CtxErr)
			}
			if got := outcomes(res.Votes); got != "GPP" {
				t.Errorf("%s: the votes are %s: it is not the nodes that timed out", call.what, got)
			}
			for i, v := range res.Votes[1:] {
				if v.Latency != patience {
					t.Errorf("%s: node %d was waited for for %v, want %v", call.what, i+1, v.Latency, patience)
				}
			}
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		// One that has ended already does not shorten the wait.
		b := w.group.Adopt("k", "other", ttl)
		res := b.Release(ctx, timeout)
		expect(t, res, "release with a ctx that has ended", round.Unavailable, timeout)
		if res.CtxErr != nil {
			t.Errorf("release with a ctx that has ended: the caller's error is %v", res.CtxErr)
		}
	})
}

// The rule's answers for locks held on two of three nodes.
func TestReleaseOfTwoOfThree(t *testing.T) {
	third := []struct {
		name   string
		before faulty.Fault // while it is acquired
		after  faulty.Fault // while it is released
		flush  bool         // between the two
		known  bool         // to be free of the token
	}{
		{name: "never reached", before: dead, known: true},
		{name: "never reached and still dead", before: dead, after: dead, known: true},
		{name: "granted, then emptied", flush: true, known: true},
		{name: "hung all along", before: faulty.Hang(), after: faulty.Hang()},
		{name: "reachable, but the set may still arrive", before: broken},
	}
	second := []struct {
		name  string
		fault faulty.Fault
		flush bool
	}{
		{name: "alive"},
		{name: "killed", fault: dead},
		{name: "hung", fault: faulty.Hang()},
		{name: "emptied", flush: true},
	}
	for _, three := range third {
		for _, two := range second {
			want, after := round.Unavailable, time.Duration(0)
			hung := three.name == "hung all along"
			switch {
			case two.name == "alive":
				want = round.Won // two deletions
			case two.name == "emptied" && hung:
				want, after = round.Won, timeout // two are free, and the third may have had it
			case two.name == "emptied":
				want = round.Gone // only the first can have had it
			case two.name == "hung" || hung:
				after = timeout
				fallthrough
			default:
				if three.known {
					want = round.Won // deleted on one, and another is free
				}
			}
			t.Run(three.name+"/"+two.name, func(t *testing.T) {
				inWorld(t, 3, func(t *testing.T, w *world) {
					if three.before != nil {
						w.fault[2].Set(three.before)
					}
					a := w.mustAcquire("k")
					synctest.Wait()
					w.fault[1].Set()
					w.fault[2].Set()
					if three.after != nil {
						w.fault[2].Set(three.after)
					}
					if two.fault != nil {
						w.fault[1].Set(two.fault)
					}
					if three.flush {
						w.mem[2].Flush()
					}
					if two.flush {
						w.mem[1].Flush()
					}
					res := a.release()
					expect(t, res, "release", want, after)
					synctest.Wait()
					w.empty(0)
					for _, f := range w.fault {
						f.Clear()
					}
					w.rest(ttl + 3*sender.CallTimeout)
					w.empty()
				})
			})
		}
	}
}

// Unlock without the handle: a node that never granted answers as one that has
// lost the token does, and does not count against us.
func TestAdoptedRelease(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(dead)
		a := w.mustAcquire("k")
		synctest.Wait()
		w.fault[2].Clear()
		expect(t, w.group.Adopt("k", a.token, ttl).release(), "release", round.Won, 0)
		expect(t, w.group.Adopt("k", a.token, ttl).release(), "second release", round.Gone, 0)
		expect(t, w.group.Adopt("k", "not a token", ttl).extend(), "extend", round.Gone, 0)

		a = w.mustAcquire("k")
		synctest.Wait()
		w.fault[0].Set(dead)
		w.mem[2].Flush()
		expect(t, w.group.Adopt("k", a.token, ttl).release(), "release with one dead and one that never granted", round.Won, 0)
	})
}

// The node timeout bounds the wait, while the call goes on, so that a connection
// which takes longer to open than anybody waits for it serves the next call.
func TestCallOutlivesTheWait(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		const dial = time.Second
		w.fault[0].Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			if d, _ := ctx.Deadline(); time.Until(d) < sender.CallTimeout || time.Until(d) > 2*sender.CallTimeout {
				t.Errorf("a call has %v", time.Until(d))
			}
			return faulty.Delay(dial)(ctx, ops, next)
		})
		a, res := w.acquire("k")
		expect(t, res, "acquire", round.Unavailable, timeout)
		w.fault[0].Clear()
		time.Sleep(dial - timeout)
		synctest.Wait()
		if call := w.fault[0].Calls()[0]; call.End.Sub(call.Start) != dial {
			t.Errorf("the call lasted %v", call.End.Sub(call.Start))
		}
		// The late winner was released as soon as it had arrived.
		w.empty()
		if got := w.arrived(0); !slices.Equal(got, []string{"set", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
		_ = a
		w.mustAcquire("k").release()
	})
}

// A node that has not answered when the verdict falls, and grants later, is
// extended and released with the others, in order.
func TestStragglerJoins(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.On(sets, faulty.Delay(100*time.Millisecond)))
		a := w.mustAcquire("k")
		expect(t, a.Extend(context.Background(), 2*ttl, timeout), "extend", round.Won, 0)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		if e, _ := w.mem[2].Inspect(t.Context(), "k"); e.Value != a.token || e.TTL != 2*ttl {
			t.Errorf("the straggler holds %+v", e)
		}
		// It counts for the next extension.
		w.fault[0].Set(dead)
		expect(t, a.extend(), "extend with the straggler", round.Won, 0)
		expect(t, a.release(), "release with the straggler", round.Won, 0)
		if got := w.arrived(2); !slices.Equal(got, []string{"set", "extend", "extend", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
		w.fault[0].Clear()
	})
}

// An extension that waits behind the set when the lock is released is not sent.
func TestExtensionOvertakenByRelease(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.On(sets, faulty.Delay(100*time.Millisecond)))
		a := w.mustAcquire("k")
		synctest.Wait()
		expect(t, a.extend(), "extend", round.Won, 0)
		expect(t, a.release(), "release", round.Won, 0)
		w.rest(time.Second)
		if got := w.arrived(2); !slices.Equal(got, []string{"set", "delete"}) {
			t.Errorf("arrived: %q", got)
		}
	})
}

// An extension that waited behind the set for longer than anybody waits for it is
// not sent any more.
func TestStaleExtensionIsNotSent(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.On(sets, faulty.Delay(2*timeout)))
		a := w.mustAcquire("k")
		expect(t, a.extend(), "extend", round.Won, 0)
		time.Sleep(2 * timeout)
		synctest.Wait()
		if got := w.arrived(2); !slices.Equal(got, []string{"set"}) {
			t.Errorf("arrived: %q", got)
		}
		a.release()
	})
}

// An extension neither brings a key back nor counts a node that has lost it.
func TestExtendNeedsAQuorumThatHolds(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[0].Flush()
		w.mem[1].Flush()
		expect(t, a.extend(), "extend with two emptied", round.Gone, 0)
		synctest.Wait()
		w.empty(0, 1)
		w.mem[0].Set("k", "another", ttl)
		expect(t, a.release(), "release", round.Gone, 0)
		if w.holders("k", "another") != 1 {
			t.Error("the release deleted another's key")
		}
	})
}

// Cancelled at any point, an acquisition leaves nothing on any node that can be
// reached.
func TestCancelledAnywhere(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			inWorld(t, n, func(t *testing.T, w *world) {
				won, cancelled := 0, 0
				for seed := range uint64(150) {
					rng := rand.New(rand.NewPCG(seed, 0))
					for _, f := range w.fault {
						travel, back := draw(rng, 40*time.Millisecond), draw(rng, 40*time.Millisecond)
						f.Set(faulty.Late(travel), faulty.DelayReply(back))
						if rng.IntN(4) == 0 { // a driver that notices a cancellation late
							f.Set(faulty.IgnoreCancel(), faulty.Late(travel), faulty.DelayReply(back))
						}
					}
					if n > 1 && rng.IntN(3) == 0 {
						w.fault[rng.IntN(n)].Set(faulty.Hang())
					}
					ctx, cancel := context.WithCancel(context.Background())
					stop := time.AfterFunc(draw(rng, 90*time.Millisecond), cancel)
					a, res := w.group.acquire(ctx, nil, "k", w.token(), ttl, timeout)
					if res.Verdict == round.Won {
						won++
						a.Abandon()
					} else {
						cancelled++
						if !errors.Is(res.CtxErr, context.Canceled) {
							t.Errorf("seed %d: %v", seed, res)
						}
					}
					stop.Stop()
					cancel()
					time.Sleep(time.Second)
					for i, f := range w.fault {
						if keys := w.mem[i].Keys(); len(keys) > 0 {
							t.Errorf("seed %d: node %d has %q a second later", seed, i, keys)
						}
						f.Clear()
						f.Forget()
					}
					w.rest(ttl + 3*sender.CallTimeout)
					if t.Failed() {
						return
					}
				}
				if won < 10 || cancelled < 10 {
					t.Errorf("%d won, %d cancelled: the schedules show too little", won, cancelled)
				}
			})
		})
	}
}

// A failed acquisition takes back what it was granted, also by those who answer
// when the verdict has fallen.
func TestLateWinnersAreReleased(t *testing.T) {
	inWorld(t, 5, func(t *testing.T, w *world) {
		for i := range 3 {
			w.mem[i].Set("k", "another", ttl)
			w.fault[i].Set(faulty.Delay(time.Millisecond))
		}
		w.fault[3].Set(faulty.Delay(100 * time.Millisecond))
		w.fault[4].Set(faulty.DelayReply(1500 * time.Millisecond))
		_, res := w.acquire("k")
		expect(t, res, "acquire", round.Lost, time.Millisecond)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.group.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Wait did not wait for the late winner: %v", err)
		}
		start := time.Now()
		w.fault[4].Clear()
		if err := w.group.Wait(context.Background()); err != nil || time.Since(start) != 499*time.Millisecond {
			t.Errorf("Wait waited for %v, %v", time.Since(start), err)
		}
		w.empty(3, 4)
		if w.holders("k", "another") != 3 {
			t.Error("another's keys were deleted")
		}
	})
}

// An extension may come between acquisition and release from any goroutine; no
// extension is sent behind a release.
func TestConcurrentUse(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		for i, f := range w.fault {
			f.Set(faulty.Delay(time.Duration(i+1) * time.Millisecond))
		}
		for range 20 {
			a := w.mustAcquire("k")
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 5 {
						if res := a.extend(); res.Verdict != round.Won && res.Verdict != round.Gone {
							t.Errorf("extend: %v", res)
						}
					}
				})
			}
			wg.Go(func() {
				time.Sleep(5 * time.Millisecond)
				if res := a.release(); res.Verdict != round.Won {
					t.Errorf("release: %v", res)
				}
			})
			wg.Wait()
			w.rest(time.Second)
			w.empty()
			for i, f := range w.fault {
				got := w.arrived(i)
				if last := slices.Index(got, "delete"); last != len(got)-1 {
					t.Errorf("arrived at node %d: %q", i, got)
				}
				f.Forget()
			}
		}
	})
}

// Extensions that come faster than a node answers do not pile up at its node state.
func TestExtensionsDoNotPileUp(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		w.fault[2].Set(faulty.Hang())
		for range 1000 {
			expect(t, a.extend(), "extend", round.Won, 0)
		}
		a.mu.Lock()
		if n := len(a.states[2].queue); n > maxRequests {
			t.Errorf("%d requests wait at the node state", n)
		}
		a.mu.Unlock()
		expect(t, a.release(), "release", round.Won, 0)
	})
}

// A node that refuses to delete is told of, and is not asked for ever.
func TestAbandoned(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.fault[1].Set(denied)
		w.fault[2].Set(denied)
		expect(t, a.release(), "release", round.Unavailable, 0)
		w.cleaned(time.Second) // nobody waits for what is repeated
		time.Sleep(2 * ttl)
		w.rest(time.Second)
		_, one := w.group.Node(1)
		_, two := w.group.Node(2)
		if got, want := w.abandoned, []string{one + " k", two + " k"}; !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("abandoned: %q, want %q", got, want)
		}
		want := 2 // a set and a deletion
		if w.group.Members[1].Queueing.Scripts {
			want++ // which was first tried as a release
		}
		repeats := int((ttl + sender.CallTimeout) / (5 * time.Second))
		if got := len(w.fault[1].Calls()); got < want+1 || got > want+repeats {
			t.Errorf("%d calls on a node that refuses to delete, want %d, and up to %d repetitions", got, want, repeats)
		}
	})
}

// Who is told of a node that refuses to delete may use the attempt, as a log
// handler might that knows the lock; and is told before Wait returns.
func TestAbandonedUsesAttempt(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		for _, how := range []string{"by the lane", "by the caller"} {
			a := w.mustAcquire(how)
			w.meanwhile = func() {
				// It would wait for ever if the attempt were locked here. Another goroutine may
				// have it locked for a moment: the one that has submitted the deletion.
				_ = a.MayLeave(0)
				if w.group.Cleanups() == 0 {
					t.Errorf("%s: told when the cleanup was over", how)
				}
			}
			w.fault[0].Set(denied)
			if how == "by the lane" {
				a.Abandon()
			} else {
				expect(t, a.release(), "release", round.Unavailable, 0)
			}
			w.cleaned(time.Second)
			w.fault[0].Clear()
			time.Sleep(time.Minute) // the deletion is repeated, and the next refusal is told again
			w.rest(time.Second)
		}
		if n := len(w.abandoned); n != 2 {
			t.Errorf("told %d times, want 2", n)
		}
	})
}

// A set that was refused is no reason to delete.
func TestRefusedSetIsNotDeleted(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{"refused": denied, "no connection": dead} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				for _, f := range w.fault {
					f.Set(fault)
				}
				_, res := w.acquire("k")
				expect(t, res, "acquire", round.Unavailable, 0)
				if res.Permanent(2) != (name == "refused") {
					t.Errorf("permanent: %v", res.Permanent(2))
				}
				synctest.Wait()
				if n := w.group.Cleanups(); n != 0 {
					t.Errorf("%d cleanups", n)
				}
				sent := 0
				for i, f := range w.fault {
					for _, c := range f.Calls() {
						if word(c.Ops[0]) != "set" {
							t.Errorf("node %d was asked to %s", i, word(c.Ops[0]))
						}
						sent++
					}
				}
				if sent < 2 {
					t.Errorf("%d sets decided", sent)
				}
			})
		})
	}
}

// A node that refuses to delete for some time is asked again, at a low rate, until the key
// must have expired, and is told of once.
func TestRefusedDeletionIsRepeated(t *testing.T) {
	for _, lasts := range []time.Duration{3 * time.Second, time.Hour} {
		inWorld(t, 1, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.fault[0].Set(denied)
			expect(t, a.release(), "release", round.Unavailable, 0)
			w.cleaned(time.Second) // nobody waits for it
			before := len(w.fault[0].Calls())
			if lasts < ttl {
				time.Sleep(lasts)
				w.fault[0].Clear()
				time.Sleep(3 * time.Second)
				w.empty(0) // the key would still live
			} else {
				time.Sleep(4 * ttl)
				if n := len(w.fault[0].Calls()) - before; n < 1 || n > 3 {
					t.Errorf("%d calls, want one every 5 seconds while the key may live", n)
				}
				before = len(w.fault[0].Calls())
				time.Sleep(4 * ttl)
				if n := len(w.fault[0].Calls()) - before; n > 0 {
					t.Errorf("%d calls about a key that has expired", n)
				}
			}
			if n := len(w.abandoned); n != 1 {
				t.Errorf("told %d times, want once", n)
			}
		})
	}
}

// Many refused deletions cost the node a few error replies in a second. They are told once,
// and all are done as soon as the node accepts one.
func TestManyRefusedDeletions(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		const locks = 300
		var held []*Attempt
		for i := range locks {
			held = append(held, w.mustAcquire(fmt.Sprint("k", i)))
		}
		synctest.Wait()
		w.fault[0].Set(denied)
		for _, a := range held {
			a.Abandon()
		}
		time.Sleep(time.Second)
		for range 7 {
			w.fault[0].Forget()
			time.Sleep(time.Second)
			if n := len(w.fault[0].Calls()); n > 10 {
				t.Errorf("%d calls in a second", n)
			}
		}
		if n := len(w.fault[0].Calls()); n == 0 {
			t.Error("no deletion is repeated")
		}
		if n := len(w.abandoned); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
		w.fault[0].Clear()
		time.Sleep(time.Second)
		w.empty(0) // the keys would still live
	})
}
