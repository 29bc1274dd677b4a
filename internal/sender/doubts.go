package sender

import "time"

const (
	// A doubt is repeated at intervals that double from the first to the longest.
	firstRepeat   = 10 * time.Millisecond
	longestRepeat = 250 * time.Millisecond

	// repeatSteps is how many of these intervals there are.
	repeatSteps = 6

	// refusedRepeat is the interval for what the node refuses: a password or a right may be
	// set right, but not within a moment.
	refusedRepeat = 5 * time.Second

	// refusedPace is how far apart two such repetitions are, of any keys: there may be
	// thousands, and the first that the node accepts makes all others due.
	refusedPace = 250 * time.Millisecond

	// maxDoubts is how many doubts a sender keeps. A node that is away gathers one for
	// each lock that was held when it left and is released meanwhile.
	maxDoubts = 1 << 18

	// expiryPace is how often the doubts of a node that does not answer are searched for
	// those that are no longer worth sending.
	expiryPace = time.Second
)

// doubts is the deletions that did not succeed so far: the node did not answer, or has
// found nothing, which proves nothing while the set may still arrive. They are repeated
// when their time has come, and all of them as soon as a node answers that did not before.
//
// There is a list for each interval. What waits in one is in the order of its time, so
// that the first of each list says all about it.
type doubts struct {
	steps   [repeatSteps + 1]list // the last one is for what the node refuses
	n       int
	revived time.Time // what came before is due
	refused time.Time // until then nothing is repeated that the node refuses
	search  time.Time // when to search for what has expired
}

// interval returns how long a doubt waits in a list.
func interval(step int) time.Duration {
	if step == repeatSteps {
		return refusedRepeat
	}
	return min(firstRepeat<<step, longestRepeat)
}

// add takes a doubt, or returns false if there are too many.
func (d *doubts) add(it *Item, now time.Time) bool {
	if d.n >= maxDoubts {
		return false
	}
	it.since, it.doubted = now, true
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

// due returns when the next doubt is to be repeated, and whether there is any.
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

// time returns when the first doubt of a list is to be repeated.
func (d *doubts) time(step int, first *Item) time.Time {
	due := first.since.Add(interval(step))
	switch {
	case first.since.Before(d.revived):
		return d.revived
	case step == repeatSteps && due.Before(d.refused):
		return d.refused
	}
	return due
}

// pop returns a doubt that is due, or any if it need not be; nil if there is none.
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

// expired moves what is no longer worth sending to the list, now and then.
func (d *doubts) expired(now time.Time, to *list) {
	if d.n == 0 || now.Before(d.search) {
		return
	}
	d.search = now.Add(expiryPace)
	for i := range d.steps {
		for it := d.steps[i].first; it != nil; {
			next := it.next
			if now.After(it.Expires) {
				d.steps[i].remove(it)
				d.n--
				to.push(it)
			}
			it = next
		}
	}
}
