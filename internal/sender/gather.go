package sender

import (
	"runtime"
	"time"
)

// slowGather is how long gathering may take. The callers of a full call run in less time.
const slowGather = time.Millisecond

// gather prepares for a call: if few operations wait, it first lets other goroutines run. Those
// of callers that have just been answered, by this node or another, then submit what they
// want next, and all of it leaves in one call. It returns the time after that.
//
// In a process whose goroutines keep all cores busy with other work, that takes long. The
// next calls then do without, so that gathering delays them by a fiftieth at most.
func (s *Sender) gather(now time.Time) time.Time {
	if !s.few(now) {
		return now
	}
	runtime.Gosched()
	after := time.Now()
	if took := after.Sub(now); took > slowGather {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.hasty = after.Add(50 * took)
	}
	return after
}

// few reports whether so few operations wait that others are worth gathering. Extensions are
// not kept waiting.
func (s *Sender) few(now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches && s.extends.n == 0 && s.queued() < eager && !now.Before(s.hasty)
}
