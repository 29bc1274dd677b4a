package sender

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/internal/mono"
)

const (
	// slowGather is how long gathering may take. It may take as long again for each further
	// eager operations that it finds. Their callers run in less time.
	slowGather = time.Millisecond

	// longestHaste limits how long calls do not gather after a slow one.
	longestHaste = 10 * time.Second

	// lately is how long ago callers were answered at most, if they may still be about to
	// submit more.
	lately = 10 * time.Millisecond
)

// A gathering is when the senders of a group gather operations for a call. Both times may be
// read and set at any time.
type gathering struct {
	answered atomic.Int64 // a mono.Time: when a call to one of the nodes last ended
	hasty    atomic.Int64 // a mono.Time: no call gathers until then
}

// note notes that a call has ended.
func (g *gathering) note(now time.Time) { g.answered.Store(int64(mono.Of(now))) }

// worthwhile reports whether gathering may find something, and is not likely to take long.
func (g *gathering) worthwhile(now time.Time) bool {
	at := mono.Of(now)
	return at >= mono.Time(g.hasty.Load()) && at.Sub(mono.Time(g.answered.Load())) < lately
}

// gather prepares for a call: if few operations wait, it first lets other goroutines run. Those
// of callers that have just been answered, by this node or another, then submit what they
// want next, and all of it leaves in one call. It returns the time after that.
//
// In a process whose goroutines keep all cores busy with other work, that takes long and finds
// little. The next calls of the group then do without, so that gathering takes a fiftieth of the
// time at most. If no call has ended lately, nobody has just been answered, so rare calls do not gather.
func (s *Sender) gather(now time.Time) time.Time {
	if !s.few(now) {
		return now
	}
	runtime.Gosched()
	after := time.Now()
	s.gathers.Store(false)
	if took := after.Sub(now); took > slowGather && took > s.worth() {
		s.shared.gathering.hasty.Store(int64(mono.Of(after).Add(min(50*took, longestHaste))))
	}
	return after
}

// worth returns how long gathering what waits now may have taken.
func (s *Sender) worth() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Duration(s.queued()) * slowGather / eager
}

// few reports whether so few operations wait that others are worth gathering. Waiting extensions
// are sent at once. One goroutine at a time gathers, so that another one can send an
// extension that comes meanwhile.
func (s *Sender) few(now time.Time) bool {
	if !s.shared.gathering.worthwhile(now) {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.batches && s.extends.n == 0 && s.queued() < eager && s.gathers.CompareAndSwap(false, true)
}
