package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Each test of this file shows that a defect of another lock library is not a defect of this one.
// Tests that need a real server or driver are in the module integration.

// redsync: a caller whose ctx ends while a majority hangs leaves its key on the healthy node for
// the whole TTL, because the cleanup uses the ended ctx. In addition, its error does not match
// ctx's.
func TestNoKeyLeftByACancelledCaller(t *testing.T) {
	for _, bare := range []bool{false, true} {
		onRig(t, 3, bare, func(t *testing.T, r *rig) {
			l := r.locker(WithTTL(8 * time.Second))
			stall, resume := faulty.Stall()
			r.set(1, 3, stall)
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			start := time.Now()
			_, err := l.Lock(ctx, "k")
			took(t, start, 150*time.Millisecond, 150*time.Millisecond)
			matches(t, err, context.DeadlineExceeded, ErrUnavailable)
			synctest.Wait()
			if keys := r.mem[0].Keys(); len(keys) > 0 {
				t.Errorf("the healthy node holds %q", keys)
			}
			resume()
			time.Sleep(time.Second)
			r.empty() // the other nodes are empty soon after they answer again
			r.clean(l)
		})
	}
}

// redsync: the late release of a failed attempt deletes the key that the next attempt has won,
// because both use one token.
func TestNoOldReleaseKillsANewLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithRetry(Fixed(50 * time.Millisecond)))
		// Releases are slow, and the first attempt fails.
		slow := faulty.On(releases, faulty.Late(600*time.Millisecond))
		for i, f := range r.fault {
			if i < r.minority() {
				f.Set(slow)
			} else {
				f.Set(slow, faulty.On(faulty.Kind(backend.OpSetNX), faulty.First(1, faulty.Refuse(nil))))
			}
		}
		lock, err := l.Lock(t.Context(), "k", WithTTL(20*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			time.Sleep(100 * time.Millisecond)
			if n := r.holders("k", lock.Token()); n < r.need() {
				t.Fatalf("%d nodes hold a lock that is valid for another %v", n, time.Until(lock.Until()))
			}
		}
	})
}

// redsync: a node that executes a SET late keeps the key for the whole TTL after a successful
// Unlock.
func TestNoLateSetSurvivesUnlock(t *testing.T) {
	for _, late := range []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second} {
		for _, size := range []int{3, 5} {
			for _, bare := range []bool{false, true} {
				onRig(t, size, bare, func(t *testing.T, r *rig) {
					l := r.locker()
					r.set(0, r.minority(), faulty.On(faulty.Kind(backend.OpSetNX), faulty.Late(late)))
					lock := r.lock(l, "k")
					if err := lock.Unlock(t.Context()); err != nil {
						t.Fatal(err)
					}
					time.Sleep(late + 600*time.Millisecond)
					r.empty()
					r.clean(l)
				})
			}
		}
	}
}

// redsync: if one node of three hangs, Extend fails after 6 s, although both others extended at
// once. Unlock takes as long.
func TestNoHungNodeDelaysExtendOrUnlock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(WithTTL(2*time.Second)), "k")
		r.set(0, r.minority(), faulty.Hang())
		start := time.Now()
		if err := lock.Extend(t.Context(), 2*time.Second); err != nil {
			t.Error(err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		took(t, start, 0, 0)
	})
}

// redsync: of five nodes, two hold another's key, one is down and two hang. No quorum is
// possible, but TryLock takes 6 s to say so.
func TestNoWaitOnceAQuorumIsImpossible(t *testing.T) {
	for _, bare := range []bool{false, true} {
		onRig(t, 5, bare, func(t *testing.T, r *rig) {
			l := r.locker()
			r.mem[0].Set("k", "other", time.Minute)
			r.mem[1].Set("k", "other", time.Minute)
			r.fault[2].Set(faulty.Refuse(nil))
			r.set(3, 5, faulty.Hang())
			start := time.Now()
			_, err := l.TryLock(t.Context(), "k")
			took(t, start, 0, 0)
			matches(t, err, ErrTaken)
		})
	}
}

// redsync: two mutexes that were never locked can both extend one key. An extension after the
// expiry succeeds if nobody had the lock in between.
func TestNoExtensionWithoutALock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		_, err := l.Resume(t.Context(), NewHandover("k", "never locked", 0))
		matches(t, err, ErrNotHeld)
		synctest.Wait()
		r.empty()

		lock := r.lock(l, "k")
		time.Sleep(time.Minute) // expired long ago, and nobody had the lock since
		matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
		synctest.Wait()
		r.empty()
	})
}

// redsync: with a constant token, the failed TryLock of one caller deletes the keys of another.
// Here the owner's label, which may be constant, is not the token.
func TestNoConstantTokenBreaksExclusion(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		a, b := r.locker(WithOwner("worker-1")), r.locker(WithOwner("worker-1"))
		lock := r.lock(a, "k")
		synctest.Wait()
		_, err := b.TryLock(t.Context(), "k")
		matches(t, err, ErrTaken)
		time.Sleep(time.Second)
		if n := r.holders("k", lock.Token()); n != len(r.mem) {
			t.Errorf("%d of %d nodes hold the lock", n, len(r.mem))
		}
	})
}

// redsync: Extend on one goroutine and Until on another are a data race. (The race detector
// reports it.)
func TestNoRaceOfExtendAndUntil(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		var wg sync.WaitGroup
		wg.Go(func() {
			for range 100 {
				if err := lock.Extend(t.Context(), time.Minute); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 1000 {
				if lock.Until().IsZero() {
					t.Error("Until is zero")
				}
			}
		})
		wg.Wait()
	})
}

// redsync and rueidislock: the reply to a SET is lost, and nobody else has the key. The caller's
// error is "taken" or "held by others", and the key stays for the TTL. An Unlock that deleted the
// key but lost its reply returns "already expired".
func TestNoLostReplyIsTaken(t *testing.T) {
	for name, replies := range map[string]int{"first reply": 1, "every reply": 1 << 30} {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				lose := func() {
					for _, f := range r.fault {
						f.Set(faulty.First(replies, faulty.LoseReply(nil)))
					}
				}
				lose()
				lock, err := l.TryLock(t.Context(), "k")
				differs(t, err, ErrTaken)
				if err == nil {
					lose()
					differs(t, lock.Unlock(t.Context()), ErrNotHeld)
				} else if replies == 1 && !r.bare {
					t.Errorf("%v; want the result of the node, which has scripts", err)
				}
				r.clear()
				time.Sleep(time.Second)
				r.empty()
				r.clean(l)
			})
		})
	}
}

// redsync: Extend of a missing key returns "lock already taken, locked nodes: [2 1 0]". ErrTaken
// drops every node's error. errors.As finds the type only as a value or only as a pointer,
// contrary to its documentation.
func TestNoMisleadingErrors(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		for _, m := range r.mem {
			m.Flush()
		}
		err := lock.Extend(t.Context(), time.Minute)
		matches(t, err, ErrNotHeld)
		differs(t, err, ErrTaken)
		if strings.Contains(err.Error(), "taken") || !strings.Contains(err.Error(), "not held") {
			t.Errorf("error %q", err)
		}
		var q *QuorumError
		if !errors.As(fmt.Errorf("job: %w", err), &q) || q.Op != "extend" {
			t.Errorf("error %v is not a *QuorumError of the extension", err)
		}

		for i, m := range r.mem {
			r.fault[i].Set(faulty.Delay(time.Duration(i) * time.Millisecond))
			m.Set("k", "other", time.Minute)
		}
		if len(r.mem) > 1 {
			r.fault[0].Set(faulty.Refuse(nil))
		}
		_, err = l.TryLock(t.Context(), "k")
		matches(t, err, ErrTaken)
		if len(r.mem) > 1 && !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("error %q dropped a node's error", err)
		}
	})
}

// redsync: the node timeout is a share of the TTL: 30 minutes for a TTL of 10 hours.
func TestNoNodeTimeoutThatGrowsWithTheTTL(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Hang())
		for ttl, want := range map[time.Duration]time.Duration{
			10 * time.Hour:   DefaultNodeTimeout,
			10 * time.Second: DefaultNodeTimeout,
			time.Second:      time.Second / 8, // at most an eighth of a short TTL
		} {
			l := r.locker() // a new Locker, which does not know yet that the nodes hang
			start := time.Now()
			_, err := l.TryLock(t.Context(), "k", WithTTL(ttl))
			took(t, start, want, want)
			matches(t, err, ErrUnavailable)
		}
	})
}

// rueidislock: a holder whose extensions get lost goes on for half a validity after its last
// confirmed one has run out, next to another holder.
func TestNoHolderOutlivesItsLease(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		a := r.locker(WithTTL(5 * time.Second))
		var ways []backend.Node // b's own connections to the same servers
		for _, m := range r.mem {
			ways = append(ways, faulty.NewFaultNode(m))
		}
		b, err := New(ways)
		if err != nil {
			t.Fatal(err)
		}
		lock := r.lock(a, "k", WithAutoExtend())
		ctx := lock.Context(t.Context())
		time.Sleep(2400 * time.Millisecond)
		r.setAll(faulty.Hang()) // the network between a and the servers drops everything
		second, err := b.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if ctx.Err() == nil || lock.Err() == nil {
			t.Error("the first holder goes on next to the second")
		}
		if !lock.Until().Before(time.Now()) {
			t.Errorf("the first holder's Until is %v after the second one's lock", time.Until(lock.Until()))
		}
		_ = second.Unlock(t.Context())
	})
}

// rueidislock: expiry is an absolute time of the client's clock. A client that is 5 s behind
// "acquires" keys that do not exist, and a client that is ahead holds for longer.
func TestNoClientClockReachesTheServers(t *testing.T) {
	for _, skew := range []time.Duration{-24 * time.Hour, -5 * time.Second, 5 * time.Second, 24 * time.Hour} {
		eachRig(t, func(t *testing.T, r *rig) {
			l := r.locker()
			suspend(l)(skew) // the client's clock is wrong from the beginning
			lock := r.lock(l, "k")
			synctest.Wait()
			if d := time.Until(r.expiry("k", lock.Token())); d != DefaultTTL {
				t.Errorf("clock offset %v: the servers let it expire in %v, want %v", skew, d, DefaultTTL)
			}
			if d := time.Until(lock.Until()); d != 9898*time.Millisecond {
				t.Errorf("clock offset %v: the validity is %v, want 9.898s", skew, d)
			}
			if err := lock.Extend(t.Context(), time.Minute); err != nil {
				t.Errorf("clock offset %v: %v", skew, err)
			}
			if d := time.Until(r.expiry("k", lock.Token())); d != time.Minute {
				t.Errorf("clock offset %v: after the extension the servers let it expire in %v, want 1m", skew, d)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("clock offset %v: %v", skew, err)
			}
		})
	}
}

// rueidislock: one stale key, on the first or on the second node, blocks the majority.
func TestNoStaleKeyBlocksTheMajority(t *testing.T) {
	for _, bare := range []bool{false, true} {
		for stale := range 3 {
			onRig(t, 3, bare, func(t *testing.T, r *rig) {
				r.mem[stale].Set("k", "stale", backend.NoExpiry)
				lock := r.lock(r.locker(), "k")
				if err := lock.Unlock(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// rueidislock: a user without permission waits until the deadline, and the error says only that
// it has passed.
func TestNoRefusalIsHidden(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions to run the 'evalsha' command"))))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err := r.locker().Lock(ctx, "k")
		took(t, start, 0, 0)
		matches(t, err, ErrUnavailable)
		differs(t, err, context.DeadlineExceeded)
		if !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("error %q hides the refusal", err)
		}
	})
}

// rueidislock: a release blocks for as long as a server hangs, up to 5 s, and returns nothing.
func TestNoUnlockBlocksOnHungServers(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		stall, resume := faulty.Stall()
		r.setAll(stall)
		start := time.Now()
		matches(t, lock.Unlock(t.Context()), ErrUnavailable)
		took(t, start, DefaultNodeTimeout, DefaultNodeTimeout)
		resume()
		r.clean(l)
	})
}

// rueidislock: its client cannot be shared with the rest of the program, and without its tracking
// option it polls every 20 ms. Here any node works. The only operations on it are those of the
// lock, and they are rare: a waiter does not poll a node that can notify it.
func TestNoDemandsOnTheClient(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		held := r.lock(l, "k")
		synctest.Wait()
		for _, f := range r.fault {
			f.Forget()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		_, err := l.Lock(ctx, "k")
		matches(t, err, ErrTaken)
		most := 10 // two attempts, and one check every 2 s or so
		if r.bare {
			most = 200 // polling every 20 ms would make 450
		}
		for _, f := range r.fault {
			tries := 0
			for _, op := range f.Arrived() {
				switch {
				case op.Kind == backend.OpSetNX, op.Kind == backend.OpEval && op.Script == lua.Acquire:
					tries++
				case op.Kind == backend.OpEvalDelete, op.Kind == backend.OpEval, op.Kind == faulty.OpSubscribe:
				default:
					t.Errorf("a waiter asked the node for %v", op.Kind)
				}
			}
			if tries > most {
				t.Errorf("%d attempts in 9 s, want %d at most", tries, most)
			}
		}
		_ = held.Unlock(t.Context())
	})
}

// redislock: a token that is the beginning of another token opens that token's lock: "worker-1"
// opens the locks of "worker-10".
func TestNoPrefixOfATokenOpensTheLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithOwner("worker-10"))
		lock := r.lock(l, "k")
		synctest.Wait()
		for _, part := range []string{"worker-1", "worker-10", lock.Token()[:len(lock.Token())-1], lock.Token() + "x"} {
			_, err := l.Resume(t.Context(), NewHandover("k", part, 0))
			matches(t, err, ErrNotHeld)
			matches(t, l.Release(t.Context(), NewHandover("k", part, 0)), ErrNotHeld)
		}
		_, err := l.TryLock(t.Context(), "k", WithOwner("worker-1"))
		matches(t, err, ErrTaken)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// redislock: a policy counts its attempts over its whole life, so the second call that uses it
// has none left.
func TestNoPolicyRemembers(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k", WithTTL(time.Hour))
		policy := WithRetry(Exponential(100*time.Millisecond, time.Second).Limit(3))
		for range 3 {
			start := time.Now()
			_, err := l.Lock(t.Context(), "k", policy)
			matches(t, err, ErrTaken)
			took(t, start, 300*time.Millisecond, 300*time.Millisecond)
		}
	})
}

// redislock: if one of several keys is gone, none of the others is released. Here the nodes that
// hold the lock release it, whatever the others answer.
func TestNoVanishedKeyKeepsTheOthers(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		r.mem[0].Flush()
		_ = lock.Unlock(t.Context())
		synctest.Wait()
		r.empty()
	})
}

// redislock: Release with a cancelled ctx leaves the key for its TTL.
func TestNoUnlockIsLostToACancelledContext(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		ctx, cancel := context.WithCancel(t.Context())
		lock, err := l.Lock(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := lock.Unlock(ctx); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		r.empty()
	})
}

// etcd: a repeated Unlock can delete a newer lock of the same session.
func TestNoRepeatedUnlockDeletesANewerLock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		first := r.lock(l, "k")
		synctest.Wait()
		// The servers execute the deletions, and execute them again later.
		r.setAll(faulty.On(releases, faulty.Duplicate(5*time.Second)))
		if err := first.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		second := r.lock(l, "k")
		synctest.Wait()
		_ = first.Unlock(t.Context())
		_ = l.Release(t.Context(), first.Handover())
		time.Sleep(6 * time.Second)
		if n := r.holders("k", second.Token()); n != len(r.mem) {
			t.Errorf("%d of %d nodes hold the newer lock", n, len(r.mem))
		}
	})
}

// etcd: after a lease was lost, there are two holders, because nobody informed the first one.
// Here it is informed before the servers let its lock expire.
func TestNoTwoConcurrentHolders(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		a, b := r.locker(WithTTL(2*time.Second)), r.locker(WithTTL(2*time.Second))
		var mu sync.Mutex
		believe := 0
		done := make(chan error)
		for _, l := range []*Locker{a, b} {
			go func() {
				var errs []error
				for range 20 {
					lock, err := l.Lock(t.Context(), "k")
					if err != nil {
						errs = append(errs, err)
						continue
					}
					ctx := lock.Context(t.Context())
					mu.Lock()
					if believe++; believe != 1 {
						errs = append(errs, fmt.Errorf("%d holders at once", believe))
					}
					mu.Unlock()
					<-ctx.Done() // never unlocked, so it expires
					mu.Lock()
					believe--
					mu.Unlock()
				}
				done <- errors.Join(errs...)
			}()
		}
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
