package waiting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A report says how long the lock was free and waited for, and why.
type report struct {
	log     *log
	gaps    []account // the shortest first
	stalled time.Duration
}

// An account is what a gap consists of.
type account struct {
	gap
	taken   time.Duration // clients that something had befallen blocked it with their tokens
	stalled time.Duration // the machine or a server stood still
	grace   time.Duration // the longest reservation in it
	phases  []phase
}

// free is for how long the lock was free on a quorum, or reserved.
func (a account) free() time.Duration { return max(0, a.length()-a.taken-a.stalled) }

func newReport(l *log, p *probe, gaps []gap) *report {
	r := &report{log: l}
	for _, g := range gaps {
		a := account{gap: g, grace: grace, phases: p.phases(g.from, g.to)}
		for _, ph := range a.phases {
			stalled := p.stalled(ph.from, ph.to)
			a.stalled += stalled
			a.grace = max(a.grace, ph.owner.grace)
			if r.blocked(ph, func(o owner) bool { return !o.called }) {
				a.taken += ph.length() - stalled
			}
		}
		r.stalled += a.stalled
		r.gaps = append(r.gaps, a)
	}
	slices.SortFunc(r.gaps, func(a, b account) int { return cmp.Compare(a.free(), b.free()) })
	return r
}

// blocked reports whether clients that something had befallen stood, in one of the ways
// that count, on so many servers that nobody else could win.
func (r *report) blocked(ph phase, counts func(owner) bool) bool {
	blocks := func(o owner) bool {
		return o.label != "" && counts(o) && r.log.faultOf(o.label, ph.from, ph.to) != ""
	}
	if ph.split == nil {
		return blocks(ph.owner)
	}
	by := 0
	for _, o := range ph.split {
		if blocks(o) {
			by++
		}
	}
	return by > len(ph.split)-quorumOf(ph.split)
}

// percentile returns how long p percent of the gaps were at most.
func (r *report) percentile(p float64) time.Duration {
	if len(r.gaps) == 0 {
		return 0
	}
	return r.gaps[r.index(p)].free()
}

// graces returns how many times the grace p percent of the gaps were at most, but
// for the time that a hand-off takes anyway. The grace is the longest of each gap:
// a client that found the servers far away when it began to wait has a longer one.
func (r *report) graces(p float64, handOff time.Duration) float64 {
	if len(r.gaps) == 0 {
		return 0
	}
	var times []float64
	for _, a := range r.gaps {
		times = append(times, float64(a.free()-handOff)/float64(a.grace))
	}
	slices.Sort(times)
	return times[r.index(p)]
}

func (r *report) index(p float64) int {
	return min(len(r.gaps)-1, int(float64(len(r.gaps))*p/100))
}

func (r *report) String() string {
	var parts []string
	for _, p := range []float64{50, 90, 99, 99.9, 100} {
		parts = append(parts, fmt.Sprintf("p%v %.1f ms", p, ms(r.percentile(p))))
	}
	return fmt.Sprintf("%d times, %s (left out: the machine stood still for %v in them)", len(r.gaps), strings.Join(parts, ", "), r.stalled.Round(time.Millisecond))
}

// print logs of each gap longer than most graces and a hand-off what it consists
// of.
func (r *report) print(t testing.TB, most float64, handOff time.Duration) {
	for _, a := range r.gaps {
		if a.length()-a.stalled > a.bound(most, handOff) {
			t.Log(r.explain(a))
		}
	}
}

func (a account) bound(most float64, handOff time.Duration) time.Duration {
	return time.Duration(most*float64(a.grace)) + handOff
}

// explain says what a gap consists of.
func (r *report) explain(a account) string {
	var parts []string
	for _, ph := range a.phases {
		if ph.length() < 500*time.Microsecond {
			continue
		}
		what := r.owner(ph.owner, ph)
		if ph.split != nil {
			var owners []string
			for _, o := range ph.split {
				owners = append(owners, r.owner(o, ph))
			}
			what = "split, " + strings.Join(owners, " / ")
		}
		parts = append(parts, fmt.Sprintf("%s %.1f ms", what, ms(ph.length())))
	}
	return fmt.Sprintf("%.1f ms from %s%s to %s, of which the machine stood still for %.1f: %s", ms(a.length()), a.unlocked, r.suffix(a.unlocked, a), a.locked, ms(a.stalled), strings.Join(parts, "; "))
}

// owner says who had the lock in a phase, and what had befallen it.
func (r *report) owner(o owner, ph phase) string {
	if fault := r.log.faultOf(o.label, ph.from, ph.to); fault != "" {
		return o.String() + " (" + fault + ")"
	}
	return o.String()
}

func (r *report) suffix(label string, a account) string {
	if fault := r.log.faultOf(label, a.from, a.to); fault != "" {
		return " (" + fault + ")"
	}
	return ""
}

// unexplained returns the gaps of which more than most graces and a hand-off is
// not put down to clients that something had befallen: to reservations for them, or
// their tokens.
func (r *report) unexplained(most float64, handOff time.Duration) []string {
	var list []string
	for _, a := range r.gaps {
		rest := a.length() - a.stalled
		for _, ph := range a.phases {
			if r.blocked(ph, func(owner) bool { return true }) {
				rest -= ph.length()
			}
		}
		if rest > a.bound(most, handOff) && r.suffix(a.unlocked, a) == "" {
			list = append(list, r.explain(a))
		}
	}
	return list
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
