package quorum

import (
	"testing"
	"time"
)

// The closest look at a clock counts, until it is old, or the clock was set.
func TestSkew(t *testing.T) {
	const ms = time.Millisecond
	now := time.Now()
	var k skew
	if _, known := k.get(); known {
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
		{"one that says that the clock was set", ms, 60 * 1000 * ms, 200 * ms, 60*1000*ms + 100*ms},
		{"a closer one", ms, 60 * 1000 * ms, 2 * ms, 60*1000*ms + ms},
		{"one from further away, later", skewAge + 1, 60 * 1000 * ms, 20 * ms, 60*1000*ms + 10*ms},
	} {
		now = now.Add(step.after)
		k.learn(now.Add(step.ahead), now, step.took, now)
		if got, known := k.get(); got != step.want || !known {
			t.Errorf("%s: %v, want %v", step.what, got, step.want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, tc := range []struct {
		offsets []time.Duration
		want    time.Duration
	}{
		{nil, 0}, {[]time.Duration{5}, 5}, {[]time.Duration{7, 1}, 4}, {[]time.Duration{100, 3, 2}, 3}, {[]time.Duration{-9, 4, 6, 100}, 5},
	} {
		if got := median(tc.offsets); got != tc.want {
			t.Errorf("the median of %v is %v, want %v", tc.offsets, got, tc.want)
		}
	}
}
