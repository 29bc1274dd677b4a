package sender

import "time"

// setUp is how many round trips the first call on a node may take, because it also
// connects.
const setUp = 3

// tripWindow is the length of a window for the shortest call. A shortest call counts in
// its window and in the next one.
const tripWindow = 30 * time.Second

// A trip is how long calls take at present.
type trip struct {
	answers int
	last    time.Duration // the last call
	round   time.Duration // 0: not known

	// The shortest calls of this window and of the previous one. A longer call has waited
	// at the server behind others, which says nothing about the network.
	least, before time.Duration
	began         time.Time // start of this window
}

// shortest returns the duration of the shortest recent call; 0 if there was none.
func (t *trip) shortest() time.Duration { return min(t.least, t.before) }

// answer records a call that was answered now, after took.
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
	case took < t.round: // the longer ones were a pause or a new connection
		t.round -= (t.round - took) / 2
	default:
		t.round += (took - t.round) / 16
	}
}

// Trip returns how long a call takes at present; 0 if that is not known. With bare, the
// extra time of a first call is left out.
func (s *Sender) Trip(bare bool) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if bare && s.trip.answers == 1 {
		return s.trip.round / setUp
	}
	return s.trip.round
}

// Shortest returns the duration of the shortest recent call; 0 if that is not known.
func (s *Sender) Shortest() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trip.answers == 1 {
		return s.trip.round / setUp
	}
	return s.trip.shortest()
}
