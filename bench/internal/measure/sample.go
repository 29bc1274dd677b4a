// Package measure stores measurements and computes statistics.
package measure

import (
	"math"
	"slices"
	"time"
)

// Median returns the median of values, and NaN if there are none. It sorts values.
func Median(values []float64) float64 {
	n := len(values)
	if n == 0 {
		return math.NaN()
	}
	slices.Sort(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// Quantile returns the least of durations that is at least as long as the share q of them, and 0
// if there are none. It sorts durations.
func Quantile(durations []time.Duration, q float64) time.Duration {
	n := len(durations)
	if n == 0 {
		return 0
	}
	slices.Sort(durations)
	i := int(math.Ceil(q*float64(n))) - 1
	return durations[min(max(i, 0), n-1)]
}

// Jain returns Jain's fairness index of several shares: 1 if all are equal, and 1/n if one of n
// has everything. If all are 0, it is NaN.
func Jain(shares []int) float64 {
	var sum, squares float64
	for _, s := range shares {
		sum += float64(s)
		squares += float64(s) * float64(s)
	}
	return sum * sum / (float64(len(shares)) * squares)
}
