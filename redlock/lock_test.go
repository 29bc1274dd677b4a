package redlock

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// An extension moves Until to the time of its sending plus its TTL. One that would end earlier
// changes nothing, neither here nor on the servers.
func TestExtend(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		time.Sleep(5 * time.Second)
		start := time.Now()
		if err := lock.Extend(t.Context(), 20*time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		want := start.Add(19798 * time.Millisecond)
		if !lock.Until().Equal(want) {
			t.Errorf("Until %v after the extension, want 19.798s", lock.Until().Sub(start))
		}
		if got := r.expiry("k", lock.Token()); !got.Equal(start.Add(20 * time.Second)) {
			t.Errorf("the servers let it expire after %v, want 20s", got.Sub(start))
		}
		if err := lock.Extend(t.Context(), time.Second); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !lock.Until().Equal(want) {
			t.Errorf("Until %v after a shorter extension, want 19.798s as before", lock.Until().Sub(start))
		}
		if got := r.expiry("k", lock.Token()); !got.Equal(start.Add(20 * time.Second)) {
			t.Errorf("the servers let it expire after %v, want 20s as before", got.Sub(start))
		}
		r.setAll(faulty.Delay(7 * time.Millisecond))
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := lock.Report().Count(Granted); n < r.need() {
			t.Errorf("the report %v names %d nodes that extended", lock.Report(), n)
		}
		slowest := time.Duration(0)
		for _, n := range lock.Report() {
			slowest = max(slowest, n.Latency)
		}
		if slowest != 7*time.Millisecond {
			t.Errorf("the report %v is not that of the last extension", lock.Report())
		}
	})
}

// An extension that too few nodes answer leaves the lock and Until unchanged.
func TestExtendUnavailable(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		until, report := lock.Until(), lock.Report().String()
		r.set(r.minority(), len(r.mem), faulty.Hang())
		start := time.Now()
		err := lock.Extend(t.Context(), time.Minute)
		took(t, start, DefaultNodeTimeout, DefaultNodeTimeout)
		matches(t, err, ErrUnavailable)
		differs(t, err, ErrNotHeld, context.DeadlineExceeded)
		if !lock.Until().Equal(until) || lock.Err() != nil || ctx.Err() != nil || lock.Report().String() != report {
			t.Error("a failed extension changed the lock")
		}
		r.clear()
		time.Sleep(3 * time.Second)
		if err := lock.Extend(t.Context(), time.Minute); err != nil {
			t.Errorf("the next extension: %v", err)
		}
	})
}

// The caller's ctx bounds the wait for an extension.
func TestExtendContextEnds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		r.setAll(faulty.Hang())
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := lock.Extend(ctx, time.Minute)
		took(t, start, 100*time.Millisecond, 100*time.Millisecond)
		matches(t, err, ErrUnavailable, context.DeadlineExceeded)
		if lock.Err() != nil {
			t.Error("the lock ended with the ctx of Extend")
		}
	})
}

// An extension that finds the lock gone ends it, whether it expired, was deleted or belongs to
// another holder now. It never restores a key.
func TestExtendNotHeld(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var lost []Event
		l := r.locker(WithHooks(Hooks{Lost: func(_ context.Context, e Event) { lost = append(lost, e) }}))
		for _, value := range []string{"", "other"} {
			lock := r.lock(l, "k")
			synctest.Wait()
			ctx := lock.Context(t.Context())
			for _, m := range r.mem[r.minority():] { // one more than a quorum allows
				m.Flush()
				if value != "" {
					m.Set("k", value, time.Minute)
				}
			}
			err := lock.Extend(t.Context(), time.Minute)
			matches(t, err, ErrNotHeld)
			differs(t, err, ErrTaken, ErrUnavailable)
			matches(t, lock.Err(), ErrNotHeld)
			<-ctx.Done()
			matches(t, context.Cause(ctx), ErrNotHeld)
			if q := (*QuorumError)(nil); !errors.As(context.Cause(ctx), &q) || q.Rounds[0].Count(NotHeld) == 0 {
				t.Errorf("the cause %v does not show which nodes lost the lock", context.Cause(ctx))
			}
			synctest.Wait()
			for _, m := range r.mem[r.minority():] {
				if e, _ := m.Inspect(t.Context(), "k"); e.Found != (value != "") || e.Value != value {
					t.Errorf("the extension left %+v", e)
				}
			}
			n := r.calls()
			matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
			if r.calls() != n {
				t.Error("a lost lock was extended with I/O")
			}
			_ = lock.Unlock(t.Context())
			synctest.Wait()
			for _, m := range r.mem {
				m.Flush()
			}
		}
		if len(lost) != 2 {
			t.Errorf("Lost ran for %d locks, want 2", len(lost))
		}
	})
}

// A lock past its validity stays lost, even if the servers still hold it.
func TestExtendPastValidity(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		time.Sleep(9898 * time.Millisecond)
		if n := r.holders("k", lock.Token()); n < r.need() {
			t.Fatalf("%d nodes hold the lock, want a quorum at the end of the validity", n)
		}
		n := r.calls()
		matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
		matches(t, lock.Err(), ErrNotHeld)
		if r.calls() != n {
			t.Error("a lock past its validity was extended with I/O")
		}
		// Unlock still deletes it, and the servers' answers decide the result.
		if err := lock.Unlock(t.Context()); err != nil {
			t.Errorf("Unlock: %v, want nil: a quorum deleted it", err)
		}
		synctest.Wait()
		r.empty()
	})
}

// Until is never later than the moment at which the servers let the lock expire, whatever happens
// to extensions: short ones with a lost reply, late and repeated ones, and extensions that race
// each other and an automatic one.
func TestUntilIsNeverLaterThanTheServers(t *testing.T) {
	check := func(t *testing.T, r *rig, lock *Lock) {
		t.Helper()
		if lock.Err() != nil {
			return
		}
		if until, expiry := lock.Until(), r.expiry("k", lock.Token()); until.After(expiry) {
			t.Fatalf("Until is %v after the servers' expiry", until.Sub(expiry))
		}
	}
	t.Run("short extension with a lost reply", func(t *testing.T) {
		eachRig(t, func(t *testing.T, r *rig) {
			lock := r.lock(r.locker(), "k")
			r.setAll(faulty.On(faulty.Kind(backend.OpExtend), faulty.LoseReply(nil)))
			matches(t, lock.Extend(t.Context(), 3*time.Second), ErrUnavailable)
			check(t, r, lock)
			time.Sleep(5 * time.Second)
			check(t, r, lock)
			if n := r.holders("k", lock.Token()); n < r.need() {
				t.Errorf("%d nodes hold the lock, want a quorum: a short extension must not shorten it", n)
			}
		})
	})
	t.Run("at random", func(t *testing.T) {
		eachRig(t, func(t *testing.T, r *rig) {
			for seed := range uint64(20) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				for _, f := range r.fault {
					f.Set(randomFault(rnd.Uint64()))
				}
				l := r.locker(WithTTL(6 * time.Second))
				lock, err := l.Lock(t.Context(), "k", WithAutoExtend())
				if err != nil {
					t.Fatalf("seed %d: %v", seed, err)
				}
				var wg sync.WaitGroup
				for range 4 {
					pause, ttl := time.Duration(rnd.Int64N(8e9)), time.Duration(rnd.Int64N(15e9)+5e6)
					wg.Go(func() {
						time.Sleep(pause)
						_ = lock.Extend(t.Context(), ttl)
						check(t, r, lock)
					})
				}
				for range 100 {
					time.Sleep(97 * time.Millisecond)
					check(t, r, lock)
				}
				wg.Wait()
				_ = lock.Unlock(t.Context())
				r.clean(l)
			}
		})
	})
}

// randomFault is a network that usually works, and sometimes shows any fault a network can have.
func randomFault(seed uint64) faulty.Fault {
	rnd := rand.New(rand.NewPCG(seed, 2))
	var mu sync.Mutex
	return func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
		mu.Lock()
		what, d := rnd.IntN(10), time.Duration(rnd.Int64N(int64(60*time.Millisecond)))
		mu.Unlock()
		switch what {
		case 0:
			return faulty.LoseReply(nil)(ctx, ops, next)
		case 1:
			return faulty.LoseRequest(nil)(ctx, ops, next)
		case 2:
			return faulty.Late(20*d)(ctx, ops, next)
		case 3:
			return faulty.DelayReply(5*d)(ctx, ops, next)
		}
		return faulty.Delay(d)(ctx, ops, next)
	}
}

// The first Unlock deletes the lock and gets the answers. The others wait for it and return the
// same result, without I/O.
func TestUnlock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.Delay(10 * time.Millisecond))
		answers := make(chan error)
		for range 5 {
			go func() { answers <- lock.Unlock(t.Context()) }()
		}
		for range 5 {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
		matches(t, lock.Err(), ErrReleased)
		time.Sleep(time.Second)
		r.empty()
		if n := r.arrived(releases); n != len(r.mem) {
			t.Errorf("%d deletions, want %d", n, len(r.mem))
		}
		n := r.calls()
		if err := lock.Unlock(t.Context()); err != nil {
			t.Errorf("a later Unlock: %v", err)
		}
		matches(t, lock.Extend(t.Context(), time.Minute), ErrNotHeld)
		if r.calls() != n {
			t.Error("an unlocked lock made calls")
		}
	})
}

// The servers' answers decide the result of Unlock.
func TestUnlockAnswers(t *testing.T) {
	tests := []struct {
		name string
		do   func(r *rig)
		want error
	}{
		{"held", func(r *rig) {}, nil},
		{"a minority flushed", func(r *rig) {
			for _, m := range r.mem[:r.minority()] {
				m.Flush()
			}
		}, nil},
		{"a minority hung", func(r *rig) { r.set(0, r.minority(), faulty.Hang()) }, nil},
		{"lost replies", func(r *rig) { r.setAll(faulty.First(1, faulty.LoseReply(nil))) }, nil},
		{"a majority flushed", func(r *rig) {
			for _, m := range r.mem[r.minority():] {
				m.Flush()
			}
		}, ErrNotHeld},
		{"expired", func(r *rig) { time.Sleep(time.Minute) }, ErrNotHeld},
		{"replaced", func(r *rig) {
			for _, m := range r.mem {
				m.Set("k", "other", time.Hour)
			}
		}, ErrNotHeld},
		{"a majority down", func(r *rig) { r.set(r.minority(), len(r.mem), faulty.Refuse(nil)) }, ErrUnavailable},
		{"a majority hung", func(r *rig) { r.set(r.minority(), len(r.mem), faulty.Hang()) }, ErrUnavailable},
		{"a majority refuses", func(r *rig) {
			r.set(r.minority(), len(r.mem), faulty.Refuse(backend.MarkReply(errors.New("NOPERM no"))))
		}, ErrUnavailable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				l := r.locker()
				lock := r.lock(l, "k")
				synctest.Wait()
				tt.do(r)
				start := time.Now()
				err := lock.Unlock(t.Context())
				took(t, start, 0, DefaultNodeTimeout)
				if !errors.Is(err, tt.want) {
					t.Errorf("Unlock: %v, want %v", err, tt.want)
				}
				differs(t, err, context.DeadlineExceeded, context.Canceled, ErrTaken)
				if again := lock.Unlock(t.Context()); again != err {
					t.Errorf("a second Unlock: %v, want the first one's answer", again)
				}
				if tt.name == "replaced" && r.holders("k", "other") != len(r.mem) {
					t.Error("another holder's key was deleted")
				}
				r.clear()
				if err := l.Close(t.Context()); err != nil {
					t.Error(err)
				}
				if n := r.holders("k", lock.Token()); n > 0 && tt.name != "a majority refuses" {
					t.Errorf("%d nodes hold the token in the end", n)
				}
			})
		})
	}
}

// The ctx of Unlock bounds the wait, not the deletions.
func TestUnlockContextEnds(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		stall, resume := faulty.Stall()
		r.setAll(stall)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		err := lock.Unlock(ctx)
		took(t, start, 50*time.Millisecond, 50*time.Millisecond)
		matches(t, err, ErrUnavailable, context.DeadlineExceeded)
		resume()
		r.clean(l)
	})
}

// The report of a lock is that of the round which acquired it. Nodes are in the order of New,
// each with its name and the time it took.
func TestReport(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		r.fault[0].Set(faulty.Delay(3 * time.Millisecond))
		r.fault[1].Set(faulty.Refuse(nil))
		r.fault[2].Set(faulty.Delay(5 * time.Millisecond))
		lock := r.lock(r.locker(), "k")
		report := lock.Report()
		if len(report) != 3 || report.Count(Granted) != 2 || report.Count(Failed) != 1 || report.Count(Pending) != 0 {
			t.Fatalf("report %v", report)
		}
		if report[0].Node != "a" || report[0].Latency != 3*time.Millisecond || report[2].Latency != 5*time.Millisecond {
			t.Errorf("report %+v", report)
		}
		if report[1].Err == nil || !backend.NotExecuted(report[1].Err) {
			t.Errorf("node b: error %v, want the driver's own", report[1].Err)
		}
		report[0].Node = "changed"
		if lock.Report()[0].Node != "a" {
			t.Error("a caller changed the lock's own report")
		}
		if got, want := lock.Report().String(), "a: granted; b: failed: dial tcp: connection refused; c: granted"; got != want {
			t.Errorf("report %q, want %q", got, want)
		}
	})
}

// A late grant becomes part of the lock, and is extended and released.
func TestLateGrantJoins(t *testing.T) {
	for _, bare := range []bool{false, true} {
		onRig(t, 3, bare, func(t *testing.T, r *rig) {
			l := r.locker()
			r.fault[0].Set(faulty.Delay(100 * time.Millisecond))
			lock := r.lock(l, "k")
			if n := lock.Report().Count(Pending); n != 1 {
				t.Fatalf("report %v, want one pending", lock.Report())
			}
			time.Sleep(time.Second)
			if err := lock.Extend(t.Context(), time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			r.mem[1].Flush() // without the late grant, the lock would be lost now
			if err := lock.Extend(t.Context(), 2*time.Minute); err != nil {
				t.Fatal(err)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.clean(l)
		})
	}
}

// Goroutines may use all methods of a handle at the same time.
func TestLockConcurrentUse(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(300 * time.Millisecond))
		lock := r.lock(l, "k", WithAutoExtend())
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for range 50 {
					time.Sleep(time.Duration(i+1) * time.Millisecond)
					_ = lock.Extend(t.Context(), time.Second)
					ctx, cancel := context.WithCancel(lock.Context(t.Context()))
					_, _, _, _ = lock.Until(), lock.Report().String(), lock.Err(), ctx.Err()
					cancel()
					_, _ = lock.Key(), lock.Token()
				}
				_ = lock.Unlock(t.Context())
			})
		}
		wg.Wait()
		r.clean(l)
	})
}

// The token is a secret, so nothing that the handle and its errors print contains it.
func TestTokenIsNotPrinted(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithOwner("me"))
		lock := r.lock(l, "k")
		_, err := l.TryLock(t.Context(), "k")
		status, _ := l.Inspect(t.Context(), "k")
		secret := strings.TrimPrefix(lock.Token(), "me:")
		for _, text := range []string{err.Error(), status.String(), lock.Report().String()} {
			if strings.Contains(text, secret) {
				t.Errorf("the token is in %q", text)
			}
		}
	})
}
