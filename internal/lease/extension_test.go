package lease

import (
	"testing"
	"time"
)

// Locks that were acquired together are not extended together.
func TestAutoExtendJitter(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 1000 {
		d := extendAfter(9 * time.Second)
		if d < 2700*time.Millisecond || d > 3*time.Second {
			t.Fatalf("%v of a TTL of 9s, want from 2.7s to 3s", d)
		}
		seen[d] = true
	}
	if len(seen) < 900 {
		t.Errorf("%d different intervals of 1000", len(seen))
	}
	if d := extendAfter(3 * time.Millisecond); d <= 0 {
		t.Errorf("%v of a TTL of 3ms", d)
	}
}
