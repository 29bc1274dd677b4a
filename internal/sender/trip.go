package sender

import "time"

// setUp is how many round trips the first call on a node may take: it makes a
// connection too.
const setUp = 3

// tripWindow is for how long the shortest call counts, and once more as long as the
// shortest of the window before.
const tripWindow = 30 * time.Second

// A trip is how long a call takes, of late.
type trip struct {
	answers int
	last    time.Duration // the last call
	round   time.Duration // 0: not known

	// The shortest call of this window and of the one before. What is longer has waited
	// at the server for what was sent before, which says nothing about the way to it.
	least, before time.Duration
	began         time.Time // the window
}

// shortest returns how long the shortest call of late has taken; 0 if there was none.
func (t *trip) shortest() time.Duration { return min(t.least, t.before) }

// answer notes that a call was answered now, after it took so long.
func (t *trip) answer(took time.Duration, now time.Time) {
	t.answers++
	t.last = took
	switch {
	case t.answers == 1:
		t.least, t.before, t.began = took, took, now
	case now.Sub(t.began) > tripWindow:
		t.least, t.before, t.began = took, t.least, now
	default:
		t.least = min(t.least, took)
	}
	switch {
	case t.answers == 1:
		t.round = took
	case took < t.round: // what was longer was a pause, or a new connection
		t.round -= (t.round - took) / 2
	default:
		t.round += (took - t.round) / 16
	}
}

// Trip returns how long a call takes, of late; 0 if that is not known. Bare leaves out
// what the first call may have taken longer than others.
func (s *Sender) Trip(bare bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bare && s.trip.answers == 1 {
		return s.trip.round / setUp
	}
	return s.trip.round
}

// Shortest returns how long the shortest call of late has taken; 0 if that is not known.
func (s *Sender) Shortest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trip.answers == 1 {
		return s.trip.round / setUp
	}
	return s.trip.shortest()
}
