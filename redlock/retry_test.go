package redlock

import (
	"errors"
	"math"
	"reflect"
	"sync"
	"testing"
	"time"
)

func TestRetryPolicies(t *testing.T) {
	const never = -1
	tests := []struct {
		name   string
		policy RetryPolicy
		want   []time.Duration // after 1, 2, 3 … attempts
	}{
		{"fixed", Fixed(time.Second), []time.Duration{time.Second, time.Second, time.Second}},
		{"at once", Fixed(0), []time.Duration{0, 0, 0}},
		{"exponential", Exponential(time.Second, 5*time.Second), []time.Duration{1e9, 2e9, 4e9, 5e9, 5e9}},
		{"exponential without growth", Exponential(time.Second, time.Second), []time.Duration{1e9, 1e9}},
		{"function", RetryFunc(func(tries int) time.Duration { return time.Duration(tries * tries) }), []time.Duration{1, 4, 9, 16}},
		{"negative function", RetryFunc(func(int) time.Duration { return -time.Hour }), []time.Duration{0, 0}},
		{"limit 1", Fixed(time.Second).Limit(1), []time.Duration{never, never}},
		{"limit 3", Fixed(time.Second).Limit(3), []time.Duration{1e9, 1e9, never, never}},
		{"limit of exponential", Exponential(1, 8).Limit(4), []time.Duration{1, 2, 4, never}},
		{"the last limit counts", Fixed(1).Limit(1).Limit(2), []time.Duration{1, never}},
		{"jitter of 0", Fixed(0).Jitter(), []time.Duration{0, 0}},
		{"jitter of 1", Fixed(1).Jitter(), []time.Duration{1, 1}},
		{"jitter of a negative", RetryFunc(func(int) time.Duration { return -5 }).Jitter(), []time.Duration{0}},
		{"jitter keeps the limit", Fixed(1).Limit(2).Jitter(), []time.Duration{1, never}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.policy.err != nil {
				t.Fatal(tt.policy.err)
			}
			for range 2 { // the second pass must be like the first, because a policy has no state
				var got []time.Duration
				for i := range tt.want {
					d, again := tt.policy.pause(i + 1)
					if !again {
						d = never
					}
					got = append(got, d)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("pauses %v, want %v", got, tt.want)
				}
			}
		})
	}
}

// An exponential pause never overflows, whatever the number of attempts.
func TestExponentialIsBounded(t *testing.T) {
	longest := time.Duration(1 << 62)
	p := Exponential(3, longest)
	for _, tries := range []int{1, 10, 62, 63, 64, 1000, math.MaxInt} {
		if d, _ := p.pause(tries); d <= 0 || d > longest {
			t.Errorf("pause %v after %d attempts", d, tries)
		}
	}
	if p := Exponential(1, longest+1); p.err == nil {
		t.Error("a pause that would overflow was accepted")
	}
}

// Full jitter gives any value from just above 0 to the pause of the policy.
func TestJitter(t *testing.T) {
	const top = 1000
	p := Fixed(top).Jitter()
	least, most, sum := time.Duration(top), time.Duration(0), time.Duration(0)
	const n = 20000
	for range n {
		d, again := p.pause(1)
		if d < 1 || d > top || !again {
			t.Fatalf("pause %d, want from 1 to %d", d, top)
		}
		least, most, sum = min(least, d), max(most, d), sum+d
	}
	if least > top/100 || most < top-top/100 || sum/n < top*45/100 || sum/n > top*55/100 {
		t.Errorf("pauses from %d to %d with a mean of %d, want them spread over 1 to %d", least, most, sum/n, top)
	}
}

// Callers can share a policy, at the same time and one after another, because each call counts
// its own attempts.
func TestPolicyIsShared(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithRetry(Fixed(100 * time.Millisecond).Limit(3)))
		r.lock(l, "k", WithTTL(time.Hour))
		var wg sync.WaitGroup
		for range 3 {
			for range 4 {
				wg.Go(func() {
					start := time.Now()
					_, err := l.Lock(t.Context(), "k")
					var q *QuorumError
					if !errors.As(err, &q) || q.Tries != 3 {
						t.Errorf("error %v, want 3 attempts", err)
					}
					// There is no pause after the last attempt.
					took(t, start, 200*time.Millisecond, 200*time.Millisecond)
				})
			}
			wg.Wait()
		}
	})
}

// Without a policy, pauses are random, from a few milliseconds to a quarter of a second, until
// ctx ends.
func TestDefaultPauses(t *testing.T) {
	for tries := 1; tries < 100; tries++ {
		if d, again := defaultRetry.pause(tries); d > 250*time.Millisecond || d <= 0 || !again {
			t.Errorf("pause %v after %d attempts", d, tries)
		}
	}
	// A policy with only a limit keeps these pauses.
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k", WithTTL(time.Hour))
		start := time.Now()
		_, err := l.Lock(t.Context(), "k", WithRetry(RetryPolicy{}.Limit(20)))
		if q := err.(*QuorumError); q.Tries != 20 {
			t.Errorf("%d attempts, want 20", q.Tries)
		}
		took(t, start, 500*time.Millisecond, 20*250*time.Millisecond)
	})
}
