package testnodes

import (
	"testing"
	"time"
)

// GrowsLinearly reports an error if four times as many callers take more than eight times as
// long in every one of several measurements. A linear algorithm takes four times as long, and
// a quadratic one sixteen times. Other work on the machine may spoil some measurements.
func GrowsLinearly(t *testing.T, took func(n int) time.Duration) {
	t.Helper()
	var ratios []float64
	for range 5 {
		few, many := took(5_000), took(20_000)
		ratio := float64(many) / float64(few)
		if ratio < 8 {
			return
		}
		ratios = append(ratios, ratio)
	}
	t.Errorf("four times as many took %.1f times as long", ratios)
}
