package measure

import (
	"math"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		want   float64
	}{
		{"odd", []float64{9, 1, 5}, 5},
		{"even", []float64{9, 1, 5, 7}, 6},
		{"one", []float64{3}, 3},
		{"an outlier", []float64{1, 1, 1, 1000, 1}, 1},
	} {
		if got := Median(test.values); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := Median(nil); !math.IsNaN(got) {
		t.Errorf("of nothing: %v, want NaN", got)
	}
}

func TestQuantile(t *testing.T) {
	var hundred []time.Duration
	for i := range 100 {
		hundred = append(hundred, time.Duration(100-i)) // 100 … 1
	}
	for _, test := range []struct {
		q    float64
		want time.Duration
	}{{0, 1}, {0.5, 50}, {0.99, 99}, {0.995, 100}, {1, 100}} {
		if got := Quantile(hundred, test.q); got != test.want {
			t.Errorf("of 1 … 100 at %v: %d, want %d", test.q, got, test.want)
		}
	}
	if got := Quantile(nil, 0.5); got != 0 {
		t.Errorf("of nothing: %v, want 0", got)
	}
}

func TestJain(t *testing.T) {
	for _, test := range []struct {
		name   string
		shares []int
		want   float64
	}{
		{"all the same", []int{7, 7, 7, 7}, 1},
		{"one has it all", []int{9, 0, 0, 0}, 0.25},
		{"half have nothing", []int{5, 5, 0, 0}, 0.5},
	} {
		if got := Jain(test.shares); math.Abs(got-test.want) > 1e-12 {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
	if got := Jain([]int{0, 0}); !math.IsNaN(got) {
		t.Errorf("all have nothing: %v, want NaN", got)
	}
}
