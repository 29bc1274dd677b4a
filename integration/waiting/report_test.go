package waiting

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// A report says how long the lock was free while a client waited, and why.
type report struct {
	log     *log
	gaps    []account // the shortest first
	stalled time.Duration
}

// An account divides a gap by causes.
type account struct {
	gap
	taken   time.Duration // tokens of clients with faults blocked the lock, or nobody knew that it was free
	stalled time.Duration // the machine or a server stood still
	grace   time.Duration // the longest reservation in it
	phases  []phase
	heads   []head // of the queues, when the lock was reserved
}

// free is the time for which the lock was free on a quorum, or reserved.
func (a account) free() time.Duration { return max(0, a.length()-a.taken-a.stalled) }

func newReport(l *log, p *probe, gaps []gap) *report {
	r := &report{log: l}
	for _, g := range gaps {
		a := account{gap: g, grace: grace, phases: p.phases(g.from, g.to), heads: p.heads(g.from, g.to)}
		for _, ph := range a.phases {
			stalled := p.stalled(ph.from, ph.to)
			a.stalled += stalled
			a.grace = max(a.grace, ph.owner.grace)
			if r.blocked(ph, func(o owner) bool { return !o.called }) || r.deserted(a, ph) {
				a.taken += ph.length() - stalled
			}
		}
		r.stalled += a.stalled
		r.gaps = append(r.gaps, a)
	}
	slices.SortFunc(r.gaps, func(a, b account) int { return cmp.Compare(a.free(), b.free()) })
	return r
}

// blocked reports whether clients with faults had tokens or reservations, of the kinds that
// count, on so many servers that no other client could win.
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

// percentile returns the length that p percent of the gaps do not exceed.
func (r *report) percentile(p float64) time.Duration {
	if len(r.gaps) == 0 {
		return 0
	}
	return r.gaps[r.index(p)].free()
}

// longer returns how many gaps last longer than most graces and a handover. Each gap uses its
// longest grace, because a client that measured long round trips when it began to wait has a longer
// one.
func (r *report) longer(most float64, handOff time.Duration) int {
	n := 0
	for _, a := range r.gaps {
		if a.free() > a.bound(most, handOff) {
			n++
		}
	}
	return n
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

// print logs the causes of each gap that is longer than most graces and a handover.
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

// explain describes the causes of a gap.
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
	return fmt.Sprintf("%.1f ms from %s%s to %s, of which the machine stood still for %.1f: %s; warned: %s", ms(a.length()), a.unlocked, r.suffix(a.unlocked, a), a.locked, ms(a.stalled), strings.Join(parts, "; "), r.describe(a))
}

// describe names the waiters that were warned in a gap, and their faults.
func (r *report) describe(a account) string {
	var parts []string
	for _, label := range r.warned(a, a.to) {
		what := r.log.absence(label, a.from, a.to)
		if what == "" {
			what = "no fault"
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", label, what))
	}
	if len(parts) == 0 {
		return "nobody"
	}
	return strings.Join(parts, ", ")
}

// warned returns the waiters that were warned in a gap until some time, because the lock was
// reserved for the waiter before them: on each server the first two that are alive.
func (r *report) warned(a account, until time.Time) []string {
	var list []string
	for _, h := range a.heads {
		if h.at.After(until) {
			continue
		}
		alive := slices.DeleteFunc(slices.Clone(h.labels), func(label string) bool {
			return r.log.faultOf(label, a.from, h.at) == "killed"
		})
		list = append(list, alive[:min(2, len(alive))]...)
	}
	return list
}

// deserted reports whether the lock was free in a phase of a gap, and nobody knew, because everybody
// who was warned before it had a fault or had given up.
func (r *report) deserted(a account, ph phase) bool {
	if ph.split != nil || ph.owner.label != "" {
		return false
	}
	list := r.warned(a, ph.from)
	return len(list) > 0 && !slices.ContainsFunc(list, func(label string) bool {
		return r.log.absence(label, a.from, ph.from) == ""
	})
}

// owner describes who had the lock in a phase, and that client's fault.
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

// unexplained returns the gaps in which more than most graces and a handover are not caused by
// clients with faults: by reservations for them, by their tokens, or because all who were warned
// have faults too.
func (r *report) unexplained(most float64, handOff time.Duration) []string {
	var list []string
	for _, a := range r.gaps {
		rest := a.length() - a.stalled
		for _, ph := range a.phases {
			if r.blocked(ph, func(owner) bool { return true }) || r.deserted(a, ph) {
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
