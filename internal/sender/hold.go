package sender

import "time"

// Hold keeps the sender from beginning a call until Resume, so that all operations that are
// submitted in between share one. The caller must not block in between. Several holds may
// be under way.
func (s *Sender) Hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held++
}

// Resume ends a hold.
func (s *Sender) Resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.start(time.Now())
}
