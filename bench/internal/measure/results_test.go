package measure

import (
	"math"
	"slices"
	"testing"
)

func fill(r *Results, implementation string, values ...float64) Key {
	cell := Cell{"idle", 1, 1, implementation}
	for _, v := range values {
		r.Add(cell, Time, v)
	}
	return Key{cell, Time}
}

func TestRatioUsesSameRounds(t *testing.T) {
	var r Results
	// A slow moment in the second round of both, and one only in the third round of ours.
	ours := fill(&r, "ours", 10, 1000, 90, 10, 10)
	theirs := fill(&r, "theirs", 20, 2000, 20, 20, 20)
	if got, ok := r.Ratio(ours, theirs); !ok || got != 0.5 {
		t.Errorf("Ratio = %v, %v, want 0.5, true", got, ok)
	}
	fewer := fill(&r, "fewer", 40, 40)
	if got, ok := r.Ratio(ours, fewer); !ok || got != 0.25 {
		t.Errorf("Ratio with fewer rounds = %v, %v, want that of the medians, 0.25, true", got, ok)
	}
}

func TestRatioWithoutMeasurement(t *testing.T) {
	var r Results
	ours, zero, alsoZero := fill(&r, "ours", 1), fill(&r, "zero", 0), fill(&r, "also zero", 0)
	if _, ok := r.Ratio(ours, Key{Metric: Time}); ok {
		t.Error("want no ratio to a missing measurement")
	}
	if got, ok := r.Ratio(zero, alsoZero); ok {
		t.Errorf("0/0 is %v, want no ratio", got)
	}
	if got, ok := r.Ratio(ours, zero); !ok || !math.IsInf(got, 1) {
		t.Errorf("1/0 is %v, %v, want infinity: a bar on it is to be missed", got, ok)
	}
}

func TestKeysKeepTheirOrder(t *testing.T) {
	var r Results
	b, a := fill(&r, "b", 1, 3), fill(&r, "a", 2)
	if got, want := r.Keys(), []Key{b, a}; !slices.Equal(got, want) {
		t.Errorf("Keys = %v, want %v", got, want)
	}
	if got, ok := r.Value(b); !ok || got != 2 {
		t.Errorf("Value = %v, %v, want the median, 2, true", got, ok)
	}
	if got, ok := r.Value(Key{Metric: Time}); ok {
		t.Errorf("Value of a missing measurement = %v", got)
	}
	for _, failed := range []float64{0, 0, 4, 0} {
		r.Add(b.Cell, Errors, failed)
	}
	if got, _ := r.Value(Key{b.Cell, Errors}); got != 4 {
		t.Errorf("Value of errors = %v, want those of the worst round, 4", got)
	}
	if least, most, ok := r.Range(b); !ok || least != 1 || most != 3 {
		t.Errorf("Range = %v, %v, %v, want 1, 3, true", least, most, ok)
	}
}
