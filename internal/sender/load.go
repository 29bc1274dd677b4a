package sender

// A Load is the work that a sender has.
type Load struct {
	Calls                      int  // under way
	Extends, Acquires, Deletes int  // waiting for a call
	Parked                     int  // acquires that wait for deletions of their keys
	Deleting                   int  // deletions that wait or are under way, and keys for which acquires may wait
	Doubts                     int  // deletions that wait to be repeated
	Away                       bool // the node does not answer
}

// Waiting returns how many operations wait for a call.
func (l Load) Waiting() int { return l.Extends + l.Acquires + l.Deletes + l.Parked }

// Away returns why nothing is sent to the node, because it does not answer, or nil.
func (s *Sender) Away() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.brake.why
}

func (s *Sender) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{
		Calls: s.calls, Extends: s.extends.n, Acquires: s.acquires.n, Deletes: s.deletes.n,
		Parked: s.deletions.parks, Deleting: s.deletions.n + len(s.deletions.parkings), Doubts: s.doubts.n, Away: s.brake.on,
	}
}
