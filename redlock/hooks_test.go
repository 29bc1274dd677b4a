package redlock

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// told records the events that hooks got, in order.
type told struct {
	mu     sync.Mutex
	kinds  []string
	events []Event
}

func (h *told) hooks() Hooks {
	note := func(kind string) func(context.Context, Event) {
		return func(_ context.Context, e Event) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.kinds, h.events = append(h.kinds, kind), append(h.events, e)
		}
	}
	return Hooks{Locked: note("locked"), Extended: note("extended"), Unlocked: note("unlocked"), Lost: note("lost")}
}

// take returns the events since the last call.
func (h *told) take() ([]string, []Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	kinds, events := h.kinds, h.events
	h.kinds, h.events = nil, nil
	return kinds, events
}

// Each hook runs once per operation. It gets the key as it is on the servers, the number of
// attempts, the time taken, what the nodes did, and the error.
func TestHooks(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var h told
		l := r.locker(WithHooks(h.hooks()), WithKeyPrefix("app:"), WithRetry(Fixed(time.Second).Limit(3)))
		check := func(what string, want ...string) []Event {
			t.Helper()
			synctest.Wait()
			kinds, events := h.take()
			if !slices.Equal(kinds, want) {
				t.Fatalf("%s: hooks %v, want %v", what, kinds, want)
			}
			for _, e := range events {
				if e.Key != "app:k" || len(e.Report) != len(r.mem) {
					t.Errorf("%s: event %+v", what, e)
				}
			}
			return events
		}
		r.setAll(faulty.Delay(5 * time.Millisecond))

		lock := r.lock(l, "k")
		e := check("Lock", "locked")[0]
		if e.Err != nil || e.Tries != 1 || e.Elapsed != 5*time.Millisecond || e.Report.Count(Granted) < r.need() {
			t.Errorf("Lock: event %+v", e)
		}
		_, err := l.Lock(t.Context(), "k")
		e = check("Lock, taken", "locked")[0]
		if e.Err != err || !errors.Is(err, ErrTaken) || e.Tries != 3 || e.Elapsed != 2015*time.Millisecond || e.Report.Count(Taken) < r.need() {
			t.Errorf("Lock, taken: event %+v", e)
		}
		err = lock.Extend(t.Context(), time.Minute)
		if e = check("Extend", "extended")[0]; e.Err != err || err != nil {
			t.Errorf("Extend: event %+v", e)
		}
		err = lock.Unlock(t.Context())
		if e = check("Unlock", "unlocked")[0]; e.Err != err || err != nil {
			t.Errorf("Unlock: event %+v", e)
		}
		_ = lock.Unlock(t.Context())
		check("Unlock again")
		err = l.Release(t.Context(), lock.Handover())
		if e = check("Release", "unlocked")[0]; e.Err != err || !errors.Is(err, ErrNotHeld) {
			t.Errorf("Release: event %+v", e)
		}
		_, err = l.Resume(t.Context(), lock.Handover())
		if e = check("Resume", "locked")[0]; e.Err != err || !errors.Is(err, ErrNotHeld) {
			t.Errorf("Resume: event %+v", e)
		}
		_, _ = l.Lock(t.Context(), "")
		check("bad input")

		lost := r.lock(l, "k")
		synctest.Wait()
		for _, m := range r.mem {
			m.Flush()
		}
		time.Sleep(time.Second)
		err = lost.Extend(t.Context(), time.Minute)
		events := check("lost", "locked", "lost", "extended")
		if e := events[1]; e.Err != err || !errors.Is(err, ErrNotHeld) || e.Held != 1005*time.Millisecond || e.Elapsed != 0 {
			t.Errorf("lost: event %+v", e)
		}
		_ = lost.Unlock(t.Context())
		check("Unlock of a lost lock", "unlocked")

		late := r.lock(l, "k")
		time.Sleep(time.Minute)
		_ = late.Unlock(t.Context())
		check("Unlock past the validity", "locked", "lost", "unlocked")

		_ = l.Do(t.Context(), "k", func(context.Context) error { time.Sleep(4 * time.Second); return nil })
		check("Do", "locked", "extended", "unlocked")
	})
}

// Any hook may be nil.
func TestHooksNil(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithHooks(Hooks{}))
		lock := r.lock(l, "k")
		ctx := lock.Context(t.Context())
		<-ctx.Done()
		_ = lock.Unlock(t.Context())
	})
}

// The logger gets what no error reports. The log never contains a token.
func TestLogger(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log logText
		l := r.locker(WithLogger(log.logger()), WithOwner("host-1"), WithMaxHold(15*time.Second))
		var tokens []string
		hold := func() *Lock {
			lock := r.lock(l, "k", WithAutoExtend())
			tokens = append(tokens, lock.Token())
			return lock
		}
		expect := func(what string, wants ...string) {
			t.Helper()
			synctest.Wait()
			for _, want := range wants {
				if !strings.Contains(log.String(), want) {
					t.Errorf("%s: the log does not contain %q:\n%s", what, want, log.String())
				}
			}
		}
		lock := hold()
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, _ = l.TryLock(t.Context(), "k")
		synctest.Wait()
		if log.String() != "" {
			t.Errorf("a success, or a failure that an error reports, was logged: %s", log.String())
		}
		for _, m := range r.mem {
			m.Flush()
		}
		lock = hold()
		for _, m := range r.mem {
			m.Flush()
		}
		<-lock.Context(t.Context()).Done()
		expect("lost", "level=ERROR", "lock lost", "key=k", "not held")

		lock = hold()
		r.setAll(faulty.Refuse(nil))
		<-lock.Context(t.Context()).Done()
		expect("cut off", "level=WARN", "not extended, trying again", "connection refused")
		_ = lock.Unlock(t.Context())
		r.clear()
		time.Sleep(time.Minute)

		lock = hold()
		<-lock.Context(t.Context()).Done()
		expect("held for too long", "longest time allowed", "limit=15s")
		time.Sleep(time.Second)

		lock = hold()
		r.setAll(faulty.Refuse(backend.MarkReply(errors.New("NOPERM no"))))
		_ = lock.Unlock(t.Context())
		expect("refused", "refuses to unlock", "NOPERM")

		for _, token := range tokens {
			secret := strings.TrimPrefix(token, "host-1:")
			if strings.Contains(log.String(), secret) {
				t.Error("a token was logged")
			}
		}
	})
}
