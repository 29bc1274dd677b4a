package fence_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

var errOwn = errors.New("fn's own error")

// The replies of a Guard to a series of tokens. A resource of a Guards replies in the same way.
func TestGuardTokens(t *testing.T) {
	const stale, zero = "stale", "zero"
	tests := []struct {
		name   string
		tokens []uint64
		want   []string
	}{
		{"a first token of any value", []uint64{math.MaxUint64}, []string{""}},
		{"rising", []uint64{1, 2, 3}, []string{"", "", ""}},
		{"the same holder again", []uint64{7, 7, 7}, []string{"", "", ""}},
		{"lower than seen", []uint64{7, 6, 7, 8, 7}, []string{"", stale, "", "", stale}},
		{"zero", []uint64{0, 1, 0}, []string{zero, "", zero}},
	}
	shapes := map[string]func() (do func(uint64, func() error) error, announce func(uint64) error){
		"Guard": func() (func(uint64, func() error) error, func(uint64) error) {
			var g fence.Guard
			return g.Do, g.Announce
		},
		"Guards": func() (func(uint64, func() error) error, func(uint64) error) {
			var g fence.Guards
			if err := g.Announce("other", math.MaxUint64); err != nil { // does not affect r
				panic(err)
			}
			return func(token uint64, fn func() error) error { return g.Do("r", token, fn) },
				func(token uint64) error { return g.Announce("r", token) }
		},
	}
	for shape, make := range shapes {
		for _, tt := range tests {
			t.Run(shape+"/"+tt.name, func(t *testing.T) {
				do, announce := make()
				for i, token := range tt.tokens {
					ran := false
					err := do(token, func() error { ran = true; return errOwn })
					got := ""
					switch {
					case errors.Is(err, fence.ErrStale):
						got = stale
					case !errors.Is(err, errOwn):
						got = zero
					}
					if got != tt.want[i] || ran != (got == "") {
						t.Errorf("Do with token %d, number %d: %v, fn ran: %v; want %q", token, i+1, err, ran, tt.want[i])
					}
					if err := announce(token); (err == nil) != (tt.want[i] == "") {
						t.Errorf("Announce of %d afterwards: %v, want %q", token, err, tt.want[i])
					}
				}
			})
		}
	}
}

func TestStaleError(t *testing.T) {
	var guard fence.Guard
	var guards fence.Guards
	tests := []struct {
		name string
		err  error
		want fence.StaleError
		text string
	}{
		{"Guard", errors.Join(guard.Announce(8), guard.Announce(7)), fence.StaleError{Token: 7, Highest: 8},
			`fence: stale token 7: 8 was seen`},
		{"Guards", errors.Join(guards.Announce("orders/42", 8), guards.Announce("orders/42", 7)),
			fence.StaleError{Resource: "orders/42", Token: 7, Highest: 8}, `fence: "orders/42": stale token 7: 8 was seen`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stale *fence.StaleError
			if !errors.As(tt.err, &stale) || *stale != tt.want || !errors.Is(tt.err, fence.ErrStale) {
				t.Errorf("%#v, want %#v", tt.err, tt.want)
			}
			if got := tt.err.Error(); got != tt.text {
				t.Errorf("%s, want %s", got, tt.text)
			}
		})
	}
}

// If fn fails in any way, its token stays announced, and the Guard is free.
func TestGuardAfterFailure(t *testing.T) {
	tests := []struct {
		name string
		fn   func() error
	}{
		{"error", func() error { return errOwn }},
		{"panic", func() error { panic(errOwn) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var g fence.Guards
			func() {
				defer func() { _ = recover() }()
				_ = g.Do("r", 5, tt.fn)
			}()
			if err := g.Announce("r", 4); !errors.Is(err, fence.ErrStale) {
				t.Errorf("a lower token: %v, want ErrStale", err)
			}
			if n := g.Forget(0); n != 1 {
				t.Errorf("Forget dropped %d, want 1: the Guard is still in use", n)
			}
		})
	}
}

// Announce returns only when a write with a lower token has ended. Otherwise the race detector
// reports it.
func TestAnnounceWaitsForWrites(t *testing.T) {
	var g fence.Guard
	var data string
	writing := make(chan struct{})
	announced := make(chan string)
	go func() {
		<-writing
		if err := g.Announce(6); err != nil {
			t.Error(err)
		}
		announced <- data
	}()
	err := g.Do(5, func() error {
		close(writing)
		for range 1000 {
			data += "x"
		}
		return nil
	})
	// In either order, no write follows the announcement.
	read := <-announced
	if errors.Is(err, fence.ErrStale) != (read == "") || read != data {
		t.Errorf("the write returned %v and left %d bytes, but the new holder has read %d", err, len(data), len(read))
	}
}

// Goroutines use tokens concurrently. They are accepted only in rising order, one at a time.
func TestGuardConcurrently(t *testing.T) {
	var g fence.Guards
	type resource struct{ seen []uint64 } // protected by the guard, not by a mutex
	resources := [3]resource{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 2000 {
				i := rand.IntN(len(resources))
				token := 1 + rand.Uint64N(1000)
				err := g.Do(fmt.Sprint("r", i), token, func() error {
					resources[i].seen = append(resources[i].seen, token)
					return nil
				})
				if err != nil && !errors.Is(err, fence.ErrStale) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for i := range resources {
		seen := resources[i].seen
		if len(seen) < 2 {
			t.Fatalf("resource %d accepted only %d of thousands of tokens", i, len(seen))
		}
		for j := 1; j < len(seen); j++ {
			if seen[j] < seen[j-1] {
				t.Fatalf("resource %d accepted token %d after %d", i, seen[j], seen[j-1])
			}
		}
	}
}
