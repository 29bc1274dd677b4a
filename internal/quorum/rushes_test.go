package quorum

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// rushes runs so many schedules, and returns what has happened in them, and the gaps of those
// without faults.
func rushes(t *testing.T, n int, simulate func(seed uint64) *rush) (total rushStats, calm []time.Duration) {
	t.Helper()
	var (
		rough   []time.Duration
		reasons = map[string]int{}
	)
	eachSchedule(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulate(seed)
		return testnodes.Over{Problems: s.problems, What: s, Note: func() {
			total.add(s.stats)
			if s.rough || s.restarts {
				rough = append(rough, s.gaps...)
			} else {
				calm = append(calm, s.gaps...)
			}
			for reason, times := range s.reasons {
				reasons[reason] += times
			}
		}}
	})
	t.Logf("%d schedules: %+v", n, total)
	for _, kind := range []struct {
		name string
		gaps []time.Duration
	}{{"calm", calm}, {"rough", rough}} {
		t.Logf("%d gaps in %s schedules: median %v, p99 %v, p99.9 %v, longest %v", len(kind.gaps), kind.name,
			quantile(kind.gaps, 0.5), quantile(kind.gaps, 0.99), quantile(kind.gaps, 0.999), quantile(kind.gaps, 1))
	}
	t.Logf("faults near gaps of more than %v: %v", oddGap, reasons)
	return total, calm
}

// quantile returns what a share of the gaps does not exceed, and sorts them.
func quantile(gaps []time.Duration, share float64) time.Duration {
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[int(share*float64(len(gaps)-1))]
}

// gapsOf says what is wrong with the gaps of calm schedules, as a whole. One in so many
// may be longer than usual.
func gapsOf(calm []time.Duration, unusual int) string {
	for _, want := range []struct {
		most time.Duration
		few  int // one in so many, and two by chance, may be longer
	}{{usualGap, unusual}, {longGap, 1000}} {
		longer := 0
		for _, gap := range calm {
			if gap > want.most {
				longer++
			}
		}
		if longer > 2+len(calm)/want.few {
			return fmt.Sprintf("of %d gaps without faults %d are longer than %v", len(calm), longer, want.most)
		}
	}
	return ""
}

// rushesNotice fails the test unless the schedules notice each of these mistakes, by one gap or by
// many, within so many schedules, and nothing where there is none. One gap in so many may be
// longer than usual.
func rushesNotice(t *testing.T, most uint64, unusual int, simulate func(t *testing.T, seed uint64, b rushBug) *rush, bugs ...rushBug) {
	for _, b := range append([]rushBug{noRushBug}, bugs...) {
		name, most := string(b), most
		if b == noRushBug {
			name, most = "none", 100
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var gaps []time.Duration
			noticed, seed := "", uint64(1)
			for ; seed <= most && noticed == ""; seed++ {
				s := simulate(t, seed, b)
				if !s.rough && !s.restarts {
					gaps = append(gaps, s.gaps...)
				}
				for _, problem := range s.problems { // with nodes that count, one holder too many
					if noticed == "" && (b != countsOnNodes || strings.Contains(problem, "others hold it")) {
						noticed = problem
					}
				}
				if noticed == "" && seed%100 == 0 && b != countsOnNodes {
					noticed = gapsOf(gaps, unusual)
				}
			}
			t.Logf("after %d schedules: %s", seed-1, noticed)
			if (noticed == "") != (b == noRushBug) {
				t.Errorf("the schedules have noticed %q, with the bug %q", noticed, b)
			}
		})
	}
}
