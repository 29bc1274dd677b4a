package sender

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// depth is the maximum number of calls that a sender has under way, and so how many
	// goroutines a node that hangs can hold.
	depth = 4

	// stagger is how long a call must be under way before another one may begin beside
	// it. Operations that come meanwhile are collected. If the node is near, the first
	// call usually ends sooner, and few large calls cost both sides less than many small
	// ones. If the node is far away, calls overlap.
	stagger = time.Millisecond

	// If at least eager operations wait for a group's only node, a second call begins at
	// once, so that the server and the client work at the same time. With several nodes
	// they do so anyway, and more calls only cost time.
	eager = 16

	// bareDepth replaces depth for a node that cannot batch. Each call is then one
	// operation, and with few calls a slow network would leave the node idle.
	bareDepth = 32

	// maxAcquires is how many acquires may wait before another one fails at once.
	// Deletions and extensions are never rejected, because there are only a few for each
	// key.
	maxAcquires = 8192
)

// Shared is what all senders of one group share.
type Shared struct {
	alone  bool        // the group has one node
	calls  callContext // contexts for calls by senders
	inline callContext // contexts for calls that callers make themselves
	rooms  sync.Pool   // of room

	gathering gathering
}

// NewShared returns a Shared for a group with that many nodes.
func NewShared(nodes int) *Shared { return &Shared{alone: nodes == 1} }

// A Sender sends operations to one node, or to one part of a node that is a Cluster. If
// no call is under way, it sends at once. Otherwise it collects operations for the next
// call, as in a group commit. Its methods may be called concurrently.
type Sender struct {
	shared      *Shared
	node        backend.Node
	batcher     backend.Batcher
	reconnecter backend.Reconnecter // nil: not supported
	worker      func()              // the method work, stored to avoid an allocation for each goroutine
	policy      policy

	busy atomic.Bool // a call is under way, for Claim; changed only under mu

	mu            sync.Mutex
	batches       bool // the node can batch; otherwise a call is one operation
	extends       list
	acquires      list
	deletes       list
	doubts        doubts
	deletions     deletions
	brake         brake
	trip          trip
	held          int // holds under way: no call begins
	calls         int // under way, without lost calls
	lost          int // lost calls that have not returned
	flying        int // operations under way, without those in lost calls
	flyingDeletes int
	under         []*room     // calls under way and not lost, the oldest first
	replaced      time.Time   // when connections were last replaced because of a quarantine
	answered      bool        // the last call was answered
	newest        time.Time   // when the last call began
	gathers       atomic.Bool // a goroutine gathers operations for its call
	progress      time.Time   // last end of a call without a time-out, or begin of the first one under way
	timer         *time.Timer // starts what has to wait; nil: not needed yet
	wake          time.Time   // when it fires; zero: not set
}

// New returns the sender for a node, or for one of its parts.
func New(shared *Shared, node backend.Node) *Sender {
	s := &Sender{shared: shared, node: node, policy: standard, brake: brake{window: batchSize}}
	s.worker = s.work
	s.batcher, s.batches = backend.As[backend.Batcher](node)
	s.reconnecter, _ = backend.As[backend.Reconnecter](node)
	return s
}

// Submit accepts an item without blocking. The item comes back through its Complete, on
// another goroutine. If Submit returns an error, it has not accepted the item.
func (s *Sender) Submit(it *Item, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lose(now)
	if it.Class == Acquiring { // a rejected extension may cost a lock, so it goes with the next probe
		switch {
		case s.acquires.n+s.deletions.parks >= maxAcquires:
			return errFull
		case s.calls > 0 && (s.hung() || !s.shared.alone && now.Sub(s.progress) > it.Wait):
			// With one node, callers wait until a call has timed out: the slow one may be
			// connecting, and the next call can use the connection.
			return s.unsent(it.Wait)
		case s.brake.on && !s.brake.hung && !s.shared.alone && (s.calls > 0 || now.Before(s.brake.probe)):
			// The other nodes can decide without this one, and callers must not wait for
			// it. With only one node, they do.
			return s.brake.why
		}
	}
	it.repeats = 0
	s.put(it)
	if it.Class == Extending { // with an extension waiting, more calls can be lost
		s.watch(now)
	}
	s.start(now)
	return nil
}

// hung reports whether the node is known to hang. If it is the group's only node, one
// lost call does not show this. The probe on a new connection will.
func (s *Sender) hung() bool {
	return s.brake.hung && !(s.shared.alone && s.lost > 0 && s.brake.failures == 1)
}

// put queues an item.
func (s *Sender) put(it *Item) {
	switch {
	case it.Class == Acquiring:
		s.acquires.push(it)
	case it.Class == Extending && s.policy.classes:
		s.extends.push(it)
	default:
		s.deletes.push(it)
	}
	if it.Class == Deleting {
		s.deletions.wait(it)
	}
}

// Doubt accepts a deletion that was submitted before and has to be repeated. It repeats
// it after a pause, or when the node answers again. It returns false if there are too
// many.
func (s *Sender) Doubt(it *Item, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.doubts.add(it, now) {
		return false
	}
	s.start(now)
	return true
}

// Accepts says that the node has accepted a deletion that it had refused before. All
// deletions that wait to be repeated become due.
func (s *Sender) Accepts(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubts.revived = now
	s.start(now)
}

// queued returns how many operations wait for a call.
func (s *Sender) queued() int { return s.extends.n + s.acquires.n + s.deletes.n }

// begin counts a call that begins.
func (s *Sender) begin(now time.Time) {
	s.newest = now
	if s.calls == 0 {
		s.progress = now
	}
	s.calls++
	s.busy.Store(true)
}

// over counts a call that has ended or is lost.
func (s *Sender) over() {
	s.calls--
	s.busy.Store(s.calls > 0)
}

// start begins a call on a new goroutine if one is allowed now, and otherwise sets the
// timer.
func (s *Sender) start(now time.Time) {
	if s.queued()+s.doubts.n+len(s.under) == 0 { // the usual case after a call
		return
	}
	s.lose(now)
	if s.wake.IsZero() { // otherwise begun has set the timer for the calls under way
		s.watch(now)
	}
	at, any := s.opens(now)
	switch {
	case !any || s.held > 0: // the end of the hold starts the call
	case at.After(now):
		s.startAt(at, now)
	default:
		s.begin(now)
		go s.worker()
	}
}

// opens returns when the next call may begin. any is false if there will be none before
// something else happens.
func (s *Sender) opens(now time.Time) (at time.Time, any bool) {
	at, any = s.doubts.due()
	waiting := s.extends.n + s.acquires.n + min(s.deletes.n, s.patient())
	switch {
	case waiting == 0 && (!any || s.calls > 0): // a call under way will take along doubts that are due
		return at, false
	case s.brake.on:
		return s.brake.probe, s.calls == 0
	case s.brake.room(s.flying, 1) == 0:
		return at, false // the end of a call starts the next one
	case waiting == 0:
		return at, true
	case s.calls == 0:
		return now, true
	case !s.batches:
		return now, s.calls < bareDepth
	case s.calls >= depth:
		return at, false
	case s.shared.alone && s.calls == 1 && waiting >= eager:
		return now, true
	}
	return s.newest.Add(stagger), true
}

// startAt makes the timer call start at that time.
func (s *Sender) startAt(at, now time.Time) {
	if !s.wake.IsZero() && !at.Before(s.wake) {
		return
	}
	s.wake = at
	if s.timer == nil {
		s.timer = time.AfterFunc(at.Sub(now), func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.wake = time.Time{}
			s.start(time.Now())
		})
		return
	}
	s.timer.Reset(at.Sub(now))
}

// work makes calls until there is nothing to send. Its caller has already counted the
// first call.
func (s *Sender) work() {
	growStack(-1)
	room := s.shared.room()
	defer s.shared.leave(room)
	for {
		room.clear()
		now := s.gather(time.Now())
		if !s.next(room, now) {
			return
		}
		for _, d := range room.dropped {
			d.item.Owner.Complete(backend.Result{Err: d.why}, false, now)
		}
		if len(room.batch) == 0 { // dropping may have left other operations to send
			continue
		}
		if lost := s.send(room, now); lost { // another goroutine has taken over
			return
		}
	}
}

// growStack makes the stack of a new goroutine as large as most drivers need it. Otherwise it would
// grow step by step, and each step copies a deeper stack: with go-redis that took a tenth of the
// client's time for a pair on three nodes. When a function is called, the runtime makes room for
// all of its variables, even if it returns before it uses them.
//
//go:noinline
func growStack(used int) byte {
	if used < 0 {
		return 0
	}
	var room [4096]byte
	return room[used]
}

// send makes one call, and reports whether it was lost.
func (s *Sender) send(room *room, now time.Time) (lost bool) {
	batch := room.batch
	for _, it := range batch {
		it.Owner.Leave()
	}
	ctx := s.shared.calls.get(CallTimeout+callShare, callShare, now)
	for _, it := range batch {
		room.ops = append(room.ops, it.Op)
	}
	room.written.Store(true) // the call may be lost from here on, so items are no longer read
	if len(batch) == 1 {
		room.results = append(room.results, room.ops[0].Do(ctx, s.node))
	} else {
		room.results = append(room.results, s.batch(ctx, room.ops)...)
		if cannotBatch(room.ops, room.results) && s.again(room, time.Now()) {
			return false
		}
	}
	end := time.Now()
	s.shared.gathering.note(end)
	lost = s.note(room, now, end)
	for i, it := range batch {
		if it != nil {
			it.Owner.Complete(room.results[i], true, end)
		}
	}
	if len(room.failed) > 0 {
		s.settle(room.failed, end)
	}
	return lost
}

// batch sends ops in one call. If an adapter returns the wrong number of results, all of
// them are errors.
func (s *Sender) batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := s.batcher.Batch(ctx, ops)
	if len(results) == len(ops) {
		return results
	}
	results = make([]backend.Result, len(ops))
	for i := range results {
		results[i].Err = errors.New("the node answered a batch with the wrong number of results")
	}
	return results
}

// again has the operations of a batch sent once more, each alone. It returns false if the
// call was lost.
func (s *Sender) again(r *room, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended(r) {
		s.batches = false
		return false
	}
	s.separate(r.batch, now)
	return true
}

// separate queues the operations of a batch again. From now on, each one is a call of its
// own.
func (s *Sender) separate(items []*Item, now time.Time) {
	s.batches = false
	for _, it := range items {
		s.land(it, nil)
		s.put(it)
	}
	s.start(now)
}
