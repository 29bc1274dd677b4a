package testnodes

import (
	"runtime"
	"testing"
	"time"
)

// GrowsLinearly reports an error if four times as many callers take more than eight times as
// long in every one of many measurements. A linear algorithm takes four times as long, and a
// quadratic one sixteen times. Other work on the machine, and caches, may spoil most of the
// measurements. took measures with [Took].
func GrowsLinearly(t *testing.T, took func(n int) time.Duration) {
	t.Helper()
	var ratios []float64
	for range 25 {
		few, many := took(5_000), took(20_000)
		ratio := float64(many) / float64(few)
		if ratio < 8 {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("four times as many took %.1f times as long", ratios)
}

// Took returns how much time of a processor f takes. On a busy machine that says more than the
// time that passes: what takes longer is interrupted more often. It is the time that passes on
// systems other than Linux, which do not tell the time of a thread.
func Took(f func()) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start := threadTime()
	f()
	return threadTime() - start
}
