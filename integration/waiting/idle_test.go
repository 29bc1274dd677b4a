package waiting

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
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

// processors reads how long all processors together have been idle since the machine started, and
// how long they have been there, in ticks. Where there is no /proc/stat, both are 0.
func processors(t testing.TB) (idle, all float64) {
	t.Helper()
	text, err := os.ReadFile("/proc/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0
	}
	if err != nil {
		t.Fatal(err)
	}
	// cpu  user nice system idle iowait irq softirq steal ... (proc(5))
	line, _, _ := strings.Cut(string(text), "\n")
	for i, field := range strings.Fields(line)[1:9] {
		ticks, err := strconv.ParseFloat(field, 64)
		if err != nil {
			t.Fatalf("/proc/stat begins with %q: %v", line, err)
		}
		if all += ticks; i == 3 || i == 4 {
			idle += ticks
		}
	}
	return idle, all
}

// watchProcessors returns a function that tells in which part of the time since then the
// processors had nothing to do. Where the system does not tell, that is 0.
func watchProcessors(t testing.TB) (unused func() float64) {
	t.Helper()
	idle, all := processors(t)
	return func() float64 {
		idleNow, allNow := processors(t)
		return (idleNow - idle) / max(1, allNow-all)
	}
}

// checkIdle looks at the times from start to over in which one of n permits was idle while a client
// waited. 99.9 % of them must not be longer than a grace. Pauses of the machine that the probe has
// seen are subtracted. The probe does not see how much slower the race detector or a busy machine
// makes the servers and the clients. So with either of them, only the median is checked. The part
// of the time from start to over in which the processors had nothing to do is unused.
func checkIdle(t testing.TB, h *history, n int, p *probe, start, over time.Time, unused float64) {
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
	t.Logf("a permit was idle %d times while somebody waited: median %.1f ms, p99 %.1f ms, p99.9 %.1f ms, longest %.1f ms",
		len(lengths), ms(percentile(50)), ms(percentile(99)), ms(percentile(99.9)), ms(percentile(100)))
	part := 99.9
	switch {
	case raceDetector:
		t.Log("only the median is checked, because the race detector is on")
		part = 50
	case unused < 0.5:
		t.Logf("only the median is checked, because the machine was busy: its processors were idle for %.0f %% of the time", 100*unused)
		part = 50
	}
	if got := percentile(part); got > grace {
		t.Errorf("a permit was idle for %v (p%v) while somebody waited, want at most %v", got, part, grace)
	}
}
