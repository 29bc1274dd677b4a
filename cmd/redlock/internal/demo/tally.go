package demo

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// tally counts what the workers did.
type tally struct {
	mu      sync.Mutex
	phases  []*phase
	last    time.Time // when the lock was taken last
	nodes   []nodeTally
	failed  int
	added   int64
	skipped int
}

// phase is a time in which the servers are in one state.
type phase struct {
	title      string
	start, end time.Time
	waits      []time.Duration
	stall      time.Duration // the longest time in which nobody took the lock
}

// nodeTally counts how one server answered the workers.
type nodeTally struct{ inTime, late, failed int }

func newTally(nodes int) *tally { return &tally{nodes: make([]nodeTally, nodes)} }

// begin begins a phase and ends the one before.
func (t *tally) begin(title string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	t.finish(now)
	t.phases = append(t.phases, &phase{title: title, start: now})
	if t.last.IsZero() {
		t.last = now
	}
}

// end ends the last phase.
func (t *tally) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.finish(time.Now())
}

func (t *tally) finish(now time.Time) {
	if p := t.current(); p != nil {
		p.end = now
		p.stall = max(p.stall, now.Sub(t.last))
	}
}

func (t *tally) current() *phase {
	if len(t.phases) == 0 {
		return nil
	}
	return t.phases[len(t.phases)-1]
}

// taken counts an acquisition.
func (t *tally) taken(waited time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	p := t.current()
	p.waits = append(p.waits, waited)
	p.stall = max(p.stall, now.Sub(t.last))
	t.last = now
}

func (t *tally) addition() { t.mu.Lock(); t.added++; t.mu.Unlock() }
func (t *tally) skip()     { t.mu.Lock(); t.skipped++; t.mu.Unlock() }
func (t *tally) failure()  { t.mu.Lock(); t.failed++; t.mu.Unlock() }

// outcomes counts how the servers answered in one round.
func (t *tally) outcomes(of []redlock.Outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, o := range of {
		switch n := &t.nodes[i]; o {
		case redlock.Granted, redlock.Taken, redlock.NotHeld:
			n.inTime++
		case redlock.Pending:
			n.late++
		case redlock.Failed, redlock.TimedOut:
			n.failed++
		}
	}
}

// total returns all phases as one.
func (t *tally) total() *phase {
	all := &phase{title: "total", start: t.phases[0].start, end: t.phases[len(t.phases)-1].end}
	for _, p := range t.phases {
		all.waits = append(all.waits, p.waits...)
		all.stall = max(all.stall, p.stall)
	}
	return all
}

// wait returns the time that the given share of the acquisitions waited at most.
func (p *phase) wait(share float64) time.Duration {
	if len(p.waits) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(p.waits))
	return sorted[int(share*float64(len(sorted)-1))]
}

func milliseconds(d time.Duration) string {
	if d < 10*time.Millisecond {
		return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%d ms", d.Milliseconds())
}
