package sender

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/mono"
)

const (
	// Repetitions of a doubt come at intervals that double from firstRepeat to
	// longestRepeat.
	firstRepeat   = 10 * time.Millisecond
	longestRepeat = 250 * time.Millisecond

	// repeatSteps is the number of these intervals.
	repeatSteps = 6

	// refusedRepeat is the interval for deletions that the node refuses. A password or a
	// right may be corrected, but not within a moment.
	refusedRepeat = 5 * time.Second

	// refusedPace is the minimum time between two such repetitions, whatever their keys.
	// There may be thousands, and the first one that the node accepts makes all others
	// due.
	refusedPace = 250 * time.Millisecond

	// maxDoubts is the maximum number of doubts of a sender. While a node is down, each
	// lock that was held at the start and is released meanwhile adds one.
	maxDoubts = 1 << 18

	// expiryPace is how often the doubts of a node that does not answer are searched for
	// expired ones.
	expiryPace = time.Second
)

// doubts holds deletions that have not succeeded so far. Either the node did not answer,
// or it found nothing, which proves nothing while the set may still arrive. Each is
// repeated after its interval. All are repeated as soon as a node answers that did not
// before.
//
// Each interval has a list. The deletions in one list are in the order of their times, so
// only the first one of each list needs to be looked at.
type doubts struct {
	steps   [repeatSteps + 1]list // the last one is for what the node refuses
	n       int
	revived time.Time // doubts added before then are due
	refused time.Time // no refused deletion is repeated before then
	search  time.Time // the next search for expired doubts
}

// interval returns how long a doubt waits in the list for step.
func interval(step int) time.Duration {
	if step == repeatSteps {
		return refusedRepeat
	}
	return min(firstRepeat<<step, longestRepeat)
}

// add adds a doubt. It returns false if there are too many.
func (d *doubts) add(it *Item, now time.Time) bool {
	if d.n >= maxDoubts {
		return false
	}
	it.since = mono.Of(now)
	step := min(int(it.repeats), repeatSteps-1)
	if it.Refused {
		step = repeatSteps
	}
	d.steps[step].push(it)
	if it.repeats < repeatSteps {
		it.repeats++
	}
	d.n++
	return true
}

// due returns when the next doubt should be repeated, and whether there is one.
func (d *doubts) due() (at time.Time, ok bool) {
	if d.n == 0 {
		return at, false
	}
	for i := range d.steps {
		first := d.steps[i].first
		if first == nil {
			continue
		}
		due := d.time(i, first)
		if !ok || due.Before(at) {
			at, ok = due, true
		}
	}
	return at, ok
}

// time returns when the first doubt of a list should be repeated.
func (d *doubts) time(step int, first *Item) time.Time {
	since := first.since.Time()
	due := since.Add(interval(step))
	switch {
	case since.Before(d.revived):
		return d.revived
	case step == repeatSteps && due.Before(d.refused):
		return d.refused
	}
	return due
}

// pop removes and returns a doubt that is due, or with any one that is not due yet, or
// nil if there is none.
func (d *doubts) pop(now time.Time, any bool) *Item {
	if d.n == 0 {
		return nil
	}
	for i := range d.steps {
		first := d.steps[i].first
		if first == nil || !any && d.time(i, first).After(now) {
			continue
		}
		if i == repeatSteps {
			d.refused = now.Add(refusedPace)
		}
		d.n--
		return d.steps[i].pop()
	}
	return nil
}

// expired moves expired doubts to a list. Most calls do nothing, because it searches only
// once every expiryPace.
func (d *doubts) expired(now time.Time, to *list) {
	if d.n == 0 || now.Before(d.search) {
		return
	}
	d.search = now.Add(expiryPace)
	for i := range d.steps {
		for it := d.steps[i].first; it != nil; {
			next := it.next
			if mono.Of(now) > it.Expires {
				d.steps[i].remove(it)
				d.n--
				to.push(it)
			}
			it = next
		}
	}
}
