package clock

import (
	"testing"
	"time"
)

// The closest look at a clock counts, until it is old, or the clock was set.
func TestOffset(t *testing.T) {
	const ms = time.Millisecond
	now := time.Now()
	var k Offset
	if _, known := k.Get(); known {
		t.Error("something is known in the beginning")
	}
	for _, step := range []struct {
		what        string
		after       time.Duration // the step before
		ahead, took time.Duration // of the node's clock at the end of the call; how long that took
		want        time.Duration
	}{
		{"the first look", 0, 1000 * ms, 100 * ms, 1050 * ms},
		{"one that is closer", ms, 1000 * ms, 10 * ms, 1005 * ms},
		{"one as close", ms, 1001 * ms, 10 * ms, 1006 * ms},
		{"one from further away", ms, 960 * ms, 100 * ms, 1006 * ms},
		{"one that just agrees", ms, 1011*ms + ms/2, 100 * ms, 1006 * ms},
		{"one that says that the clock was set", ms, 60 * 1000 * ms, 200 * ms, 60*1000*ms + 100*ms},
		{"a closer one", ms, 60 * 1000 * ms, 2 * ms, 60*1000*ms + ms},
		{"one from further away, later", offsetAge + 1, 60 * 1000 * ms, 20 * ms, 60*1000*ms + 10*ms},
	} {
		now = now.Add(step.after)
		k.Learn(now.Add(step.ahead), now, step.took, now)
		if got, known := k.Get(); got != step.want || !known {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
}

// A part of a node goes by what another one has said until it has been asked itself, and then
// by nothing else.
func TestOffsetOfParts(t *testing.T) {
	const ms = time.Millisecond
	now := time.Now()
	whole := new(Offset)
	a, b := whole.Part(), whole.Part()
	want := func(what string, a, b *Offset, aheadA, aheadB time.Duration) {
		t.Helper()
		gotA, knownA := a.Get()
		gotB, knownB := b.Get()
		if gotA != aheadA || gotB != aheadB || !knownA || !knownB {
			t.Errorf("%s: %v ahead (%v) and %v (%v), want %v and %v", what, gotA, knownA, gotB, knownB, aheadA, aheadB)
		}
	}
	if _, known := a.Get(); known {
		t.Error("something is known in the beginning")
	}
	a.Learn(now.Add(1000*ms), now, 10*ms, now)
	want("one was asked", a, b, 1005*ms, 1005*ms)
	b.Learn(now.Add(2000*ms), now, 100*ms, now)
	want("the other too, from further away", a, b, 1005*ms, 2050*ms)
	b.Learn(now.Add(2000*ms), now, 2*ms, now)
	want("and from close by", a, b, 1005*ms, 2001*ms)
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		offsets []time.Duration
		want    time.Duration
	}{
		{nil, 0}, {[]time.Duration{5}, 5}, {[]time.Duration{7, 1}, 4}, {[]time.Duration{2, 100, 3}, 3}, {[]time.Duration{-9, 4, 6, 100}, 5},
	} {
		if got := Median(tc.offsets); got != tc.want {
			t.Errorf("the median of %v is %v, want %v", tc.offsets, got, tc.want)
		}
	}
}
