package adapterkit_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

func TestMilliseconds(t *testing.T) {
	for _, tc := range []struct {
		d    time.Duration
		want int64
	}{
		{0, 0},
		{1, 1},
		{time.Millisecond - 1, 1},
		{time.Millisecond, 1},
		{time.Millisecond + 1, 2},
		{1500 * time.Microsecond, 2},
		{time.Second, 1000},
		{time.Second + 1, 1001},
		{-1, 0},
		{-1500 * time.Microsecond, -1},
		{-time.Second, -1000},
		{math.MaxInt64, math.MaxInt64/1_000_000 + 1},
		{math.MinInt64, math.MinInt64 / 1_000_000},
	} {
		if got := adapterkit.Milliseconds(tc.d); got != tc.want {
			t.Errorf("Milliseconds(%d) = %d, want %d", tc.d, got, tc.want)
		}
	}
}

// The server's time to live is never shorter than the requested one, and less than a millisecond
// longer.
func FuzzMilliseconds(f *testing.F) {
	for _, d := range []int64{0, 1, 999_999, 1_000_000, 1_000_001, -1, math.MaxInt64, math.MinInt64} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, d int64) {
		ms := adapterkit.Milliseconds(time.Duration(d))
		// The difference is small, so it is correct even if the product overflows.
		if missing := ms*1_000_000 - d; missing < 0 || missing >= 1_000_000 {
			t.Errorf("Milliseconds(%d) = %d", d, ms)
		}
	})
}

func ExampleMilliseconds() {
	fmt.Println(adapterkit.Milliseconds(1500 * time.Microsecond))
	// Output: 2
}
