package redlock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// One goroutine after another locks and unlocks a Mutex.
func TestMutex(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		m := r.locker().Mutex("k", WithAutoExtend())
		counter, done := 0, make(chan error)
		for range 5 {
			go func() {
				err := m.Lock(t.Context())
				n := counter
				time.Sleep(15 * time.Second)
				counter = n + 1
				done <- errors.Join(err, m.Unlock(t.Context()))
			}()
		}
		for range 5 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if counter != 5 {
			t.Errorf("%d of 5 updates, the others were lost", counter)
		}
		synctest.Wait()
		r.empty()
	})
}

// While another caller holds the Mutex, TryLock returns at once and Lock waits until ctx ends.
// Neither asks a node. Unlock lets the next caller in.
func TestMutexBusy(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		m := r.locker().Mutex("k")
		if err := m.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		n := r.calls()
		err := m.TryLock(t.Context())
		matches(t, err, ErrTaken)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err = m.Lock(ctx)
		took(t, start, time.Second, time.Second)
		matches(t, err, ErrTaken, context.DeadlineExceeded)
		var q *QuorumError
		if !errors.As(err, &q) || q.Tries != 0 || q.Elapsed != time.Second {
			t.Errorf("error %#v", err)
		}
		if r.calls() != n {
			t.Error("waiting for a caller of the same process asked the nodes")
		}
		if err := m.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.TryLock(t.Context()); err != nil {
			t.Error(err)
		}
		if err := m.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Mutexes of two processes exclude each other on the servers.
func TestMutexExcludes(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		a, b := r.locker().Mutex("k"), r.locker().Mutex("k")
		if err := a.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		matches(t, b.TryLock(t.Context()), ErrTaken)
		if err := a.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.Lock(t.Context()); err != nil { // the earlier failure has no effect
			t.Fatal(err)
		}
	})
}

// The first holder's lock has expired when it unlocks. That does not release the second holder's
// lock, whether it was acquired before or after the expiry.
func TestMutexLateUnlock(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		m := r.locker(WithTTL(time.Second)).Mutex("k")
		if err := m.Lock(t.Context()); err != nil {
			t.Fatal(err)
		}
		locked := make(chan error)
		go func() { locked <- m.Lock(t.Context()) }()
		time.Sleep(time.Minute)
		matches(t, m.Unlock(t.Context()), ErrNotHeld)
		if err := <-locked; err != nil {
			t.Fatal(err)
		}
		if n := r.holders("k", ""); n < r.need() {
			t.Errorf("%d nodes hold the second lock", n)
		}
		if err := m.Unlock(t.Context()); err != nil {
			t.Errorf("the second Unlock: %v", err)
		}
	})
}

// Unlock without Lock returns an error and does nothing.
func TestMutexUnlockedTwice(t *testing.T) {
	r := newRig(t, 1, false)
	m := r.locker().Mutex("k")
	matches(t, m.Unlock(t.Context()), ErrNotHeld)
	if err := m.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	n := r.calls()
	matches(t, m.Unlock(t.Context()), ErrNotHeld)
	matches(t, new(Mutex).Unlock(t.Context()), ErrNotHeld)
	if r.calls() != n {
		t.Error("the Mutex made calls")
	}
}
