package waiting

import (
	"cmp"
	"slices"
	"testing"
	"time"
)

// idle returns the times in which fewer than n clients had a permit while a client waited for one.
func idle(h *history, n int) []span {
	type step struct {
		at            time.Time
		held, waiting int
	}
	var steps []step
	for _, c := range changes(h.holds) {
		if c.begins {
			steps = append(steps, step{c.at, 1, 0})
		} else {
			steps = append(steps, step{c.at, -1, 0})
		}
	}
	for _, w := range h.waits {
		steps = append(steps, step{w.from, 0, 1}, step{w.to, 0, -1})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return a.at.Compare(b.at) })
	var (
		list          []span
		since         time.Time
		held, waiting int
	)
	for i, s := range steps {
		held, waiting = held+s.held, waiting+s.waiting
		if i+1 < len(steps) && steps[i+1].at.Equal(s.at) {
			continue // there is more at this moment
		}
		switch free := held < n && waiting > 0; {
		case free && since.IsZero():
			since = s.at
		case !free && !since.IsZero():
			list = append(list, span{since, s.at})
			since = time.Time{}
		}
	}
	return list
}

// The checker finds the times in which a permit is idle.
func TestIdle(t *testing.T) {
	at := time.UnixMilli
	permit := func(from, to int64) hold { return hold{"c", "1", false, at(from), at(to)} }
	for _, tc := range []struct {
		name  string
		holds []hold
		waits []span
		want  []span
	}{
		{"nobody waits", []hold{permit(0, 10), permit(5, 10)}, nil, nil},
		{"a wait while both are held", []hold{permit(0, 10), permit(0, 12)}, []span{{at(3), at(10)}}, nil},
		{"a handover", []hold{permit(0, 30), permit(0, 10), permit(13, 30)}, []span{{at(3), at(13)}}, []span{{at(10), at(13)}}},
		{"a handover at once", []hold{permit(0, 30), permit(0, 10), permit(10, 30)}, []span{{at(3), at(10)}}, nil},
		{"two at a time", []hold{permit(0, 10), permit(0, 11), permit(14, 30), permit(15, 30)}, []span{{at(3), at(14)}, {at(3), at(15)}}, []span{{at(10), at(15)}}},
		{"a waiter that leaves", []hold{permit(0, 30), permit(0, 10)}, []span{{at(3), at(20)}}, []span{{at(10), at(20)}}},
		{"two handovers", []hold{permit(0, 30), permit(0, 10), permit(12, 20), permit(21, 30)}, []span{{at(3), at(12)}, {at(3), at(21)}},
			[]span{{at(10), at(12)}, {at(20), at(21)}}},
	} {
		if got := idle(&history{holds: tc.holds, waits: tc.waits}, 2); !slices.Equal(got, tc.want) {
			t.Errorf("%s: found %v, want %v", tc.name, got, tc.want)
		}
	}
}

// checkIdle looks at the times from start to over in which one of n permits was idle while a client
// waited. 99.9 % of them must not be longer than a grace. Pauses of the machine that the probe has
// seen are subtracted. The probe does not see how much slower the race detector or a busy machine
// makes the servers and the clients. So with either of them, only the median is checked.
func checkIdle(t testing.TB, h *history, n int, p *probe, start, over time.Time) {
	t.Helper()
	var lengths []time.Duration
	for _, s := range idle(h, n) {
		if s.from.After(start) && s.to.Before(over) {
			lengths = append(lengths, max(0, s.to.Sub(s.from)-p.stalled(s.from, s.to)))
		}
	}
	slices.SortFunc(lengths, cmp.Compare)
	percentile := func(p float64) time.Duration {
		return lengths[min(len(lengths)-1, int(float64(len(lengths))*p/100))]
	}
	if len(lengths) < 100 {
		t.Errorf("only %d times in which a permit was idle, so they say little", len(lengths))
		return
	}
	stalled := p.stalled(start, over)
	t.Logf("a permit was idle %d times while somebody waited: median %.1f ms, p99 %.1f ms, p99.9 %.1f ms, longest %.1f ms (the machine stood still for %v)",
		len(lengths), ms(percentile(50)), ms(percentile(99)), ms(percentile(99.9)), ms(percentile(100)), stalled.Round(time.Millisecond))
	part := 99.9
	if raceDetector || stalled > over.Sub(start)/10 {
		t.Logf("only the median is checked, because of the race detector (%v) or a machine that stood still for %v of %v",
			raceDetector, stalled.Round(time.Millisecond), over.Sub(start).Round(time.Millisecond))
		part = 50
	}
	if got := percentile(part); got > grace {
		t.Errorf("a permit was idle for %v (p%v) while somebody waited, want at most %v", got, part, grace)
	}
}
