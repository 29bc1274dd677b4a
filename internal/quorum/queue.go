package quorum

// A queue is seats in the order in which they came.
type queue struct {
	seats []*seat
	head  int
}

func (q *queue) len() int { return len(q.seats) - q.head }

func (q *queue) push(s *seat) { q.seats = append(q.seats, s) }

func (q *queue) pop() *seat {
	s := q.seats[q.head]
	q.seats[q.head] = nil
	q.head++
	if q.head*2 >= len(q.seats) { // at most half of it is spent, in constant time a seat
		n := copy(q.seats, q.seats[q.head:])
		clear(q.seats[n:])
		q.seats, q.head = q.seats[:n], 0
	}
	return s
}

// drain takes out all seats but those that keep, if given, says to keep.
func (q *queue) drain(keep func(*seat) bool) []*seat {
	var out, kept []*seat
	for _, s := range q.seats[q.head:] {
		if keep != nil && keep(s) {
			kept = append(kept, s)
		} else {
			out = append(out, s)
		}
	}
	q.seats, q.head = kept, 0
	return out
}
