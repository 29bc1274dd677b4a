package redlock

import (
	"strings"
	"testing"
	"time"
)

// Validity says for how long a lock turns out to be valid.
func TestValidity(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(20 * time.Second))
		for _, opts := range [][]LockOption{nil, {WithTTL(4 * time.Second)}, {WithMinHold(time.Minute)}} {
			validity, err := l.Validity(opts...)
			if err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			lock, err := l.Lock(t.Context(), "k", opts...)
			if err != nil {
				t.Fatal(err)
			}
			if got := lock.Until().Sub(start); got != validity {
				t.Errorf("valid for %v, want %v", got, validity)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
		n := r.calls()
		for want, opts := range map[string][]LockOption{
			"validity: a TTL of -1ns": {WithTTL(-1)},
			"an option that is nil":   {nil},
			"leaves no validity":      {WithTTL(2 * time.Millisecond)},
		} {
			if _, err := l.Validity(opts...); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want %q", err, want)
			}
		}
		if r.calls() != n {
			t.Error("it asked a node")
		}
	})
	if _, err := (*Locker)(nil).Validity(); err != errZero {
		t.Errorf("error %v, want %v", err, errZero)
	}
}
