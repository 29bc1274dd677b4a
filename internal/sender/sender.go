package sender

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// depth is how many calls a sender has under way at most, so also how many
	// goroutines a node that hangs can hold.
	depth = 4

	// stagger is how long a call has to be under way before another one may begin
	// beside it. What comes meanwhile is gathered: where the node is near, the next call
	// leaves sooner than that anyway, and few calls with many operations cost both sides
	// less than many with few; where it is far, calls overlap.
	stagger = time.Millisecond

	// eager is how many operations have to wait for a group's only node to leave beside
	// a single call at once, however short it has been under way: server and client then
	// work at the same time. With several nodes they do so anyway, and more calls only cost.
	eager = 16

	// bareDepth is depth for a node that cannot batch, where a call is one operation:
	// with few calls a slow network would leave it idle.
	bareDepth = 32

	// maxAcquires is how many acquires may wait before another one fails at once.
	// Deletions and extensions always find a place: there are never more of them than a
	// few for each key.
	maxAcquires = 8192
)

// Shared is what the senders of one group have in common.
type Shared struct {
	alone  bool        // the group has one node
	calls  callContext // of senders
	inline callContext // of callers who make the call themselves
	rooms  sync.Pool   // of room
}

// NewShared returns it for a group of so many nodes.
func NewShared(nodes int) *Shared { return &Shared{alone: nodes == 1} }

// A Sender sends operations to one node, or to one part of a node that is a cluster. It
// sends at once while no call is under way, and gathers what comes meanwhile for the
// next call: group commit. Its methods may be called concurrently.
type Sender struct {
	shared      *Shared
	node        backend.Node
	batcher     backend.Batcher
	reconnecter backend.Reconnecter // nil: the node has no such capability
	worker      func()              // work; a function made once is not allocated for each goroutine
	policy      policy

	mu            sync.Mutex
	batches       bool // the node can batch; else a call is one operation
	extends       list
	acquires      list
	deletes       list
	doubts        doubts
	deletions     deletions
	brake         brake
	trip          trip
	calls         int // under way, without those that are lost
	lost          int // calls that are lost and have not returned
	flying        int // operations under way, without those of lost calls
	flyingDeletes int
	under         []*room       // of the goroutines whose calls are under way and not lost, the oldest first
	replaced      time.Time     // when connections were, because of a quarantine
	wait          time.Duration // for which callers wait, of the last item
	answered      bool          // the last call was
	newest        time.Time     // when the last call began
	progress      time.Time     // when the last call ended otherwise than by a time-out, or the first of those under way began
	timer         *time.Timer   // starts what has to wait; nil: nothing had to so far
	wake          time.Time     // when it goes off; zero: it is not set
}

// New returns the sender for a node, or for one of its parts.
func New(shared *Shared, node backend.Node) *Sender {
	s := &Sender{shared: shared, node: node, policy: standard, brake: brake{window: batchSize}}
	s.worker = s.work
	s.batcher, s.batches = backend.As[backend.Batcher](node)
	s.reconnecter, _ = backend.As[backend.Reconnecter](node)
	return s
}

// Submit takes an item, which comes back through its Complete on another goroutine. It
// does not block. An error says that it did not take it.
func (s *Sender) Submit(it *Item, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wait = it.Wait
	s.lose(now)
	if it.Class == Acquiring { // to refuse an extension may cost a lock: it goes with the next probe
		switch {
		case s.acquires.n+s.deletions.parks >= maxAcquires:
			return errFull
		case s.calls > 0 && (s.hung() || !s.shared.alone && now.Sub(s.progress) > it.Wait):
			// A group's only node is waited for until a call has timed out: the one that is
			// late may be making a connection, and the next has one.
			return s.unsent(it.Wait)
		case s.brake.on && !s.brake.hung && !s.shared.alone && (s.calls > 0 || now.Before(s.brake.probe)):
			// The others can decide without this node, and must not wait for it. A
			// group's only node is waited for.
			return s.brake.why
		}
	}
	it.repeats, it.doubted = 0, false
	s.put(it)
	s.start(now)
	return nil
}

// hung reports whether the node is known to hang. Of a group's only node one lost call does
// not show that: the probe on a new connection will.
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
		s.deletions.add(it)
	}
}

// Doubt takes a deletion that was submitted and has to be repeated, and repeats it after
// a pause, or when the node answers again. It returns false if there are too many.
func (s *Sender) Doubt(it *Item, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.doubts.add(it, now) {
		return false
	}
	s.start(now)
	return true
}

// Accepts says that the node has done what it refused before: all deletions that wait to be
// repeated are due.
func (s *Sender) Accepts(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubts.revived = now
	s.start(now)
}

// queued returns how many operations wait for a call.
func (s *Sender) queued() int { return s.extends.n + s.acquires.n + s.deletes.n }

// begin counts a call.
func (s *Sender) begin(now time.Time) {
	s.newest = now
	if s.calls == 0 {
		s.progress = now
	}
	s.calls++
}

// start begins a call on a goroutine of its own, at once or when one may begin.
func (s *Sender) start(now time.Time) {
	s.lose(now)
	s.watch(now)
	at, any := s.opens(now)
	switch {
	case !any:
	case at.After(now):
		s.startAt(at, now)
	default:
		s.begin(now)
		go s.worker()
	}
}

// opens returns when the next call may begin, and whether there is to be one at all
// before something else happens.
func (s *Sender) opens(now time.Time) (at time.Time, any bool) {
	at, any = s.doubts.due()
	waiting := s.extends.n + s.acquires.n + min(s.deletes.n, s.patient())
	switch {
	case waiting == 0 && (!any || s.calls > 0): // a call takes along what is due
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

// startAt has start look again then.
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

// work makes calls until there is nothing to send, and then ends. Its caller has counted
// the call.
func (s *Sender) work() {
	room := s.shared.room()
	defer s.shared.leave(room)
	for {
		room.clear()
		now := time.Now()
		some := s.next(room, now, s.shared.alone) // then callers make the call themselves if nobody is here
		if !some && !s.shared.alone {
			// Those who have just been told may ask for more as soon as they run, and
			// a new goroutine for that would have to grow its stack again.
			runtime.Gosched()
			now = time.Now()
			some = s.next(room, now, true)
		}
		if !some {
			return
		}
		for _, d := range room.dropped {
			d.item.Owner.Complete(backend.Result{Err: d.why}, false, now)
		}
		if len(room.batch) == 0 { // what was dropped may have left something to send
			continue
		}
		if lost := s.send(room, now); lost { // others have taken this goroutine's place
			return
		}
	}
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
	room.written.Store(true) // from here on the items are not looked at: the call may be lost
	if len(batch) == 1 {
		room.results = append(room.results, room.ops[0].Do(ctx, s.node))
	} else {
		room.results = append(room.results, s.batch(ctx, room.ops)...)
		if cannotBatch(room.ops, room.results) && s.separate(room, time.Now()) {
			return false
		}
	}
	end := time.Now()
	lost = s.note(room, now, end)
	for i, it := range batch {
		if it != nil {
			it.Owner.Complete(room.results[i], true, end)
		}
	}
	if len(room.failed) > 0 {
		s.settle(room, end)
	}
	return lost
}

// batch sends ops in one call, and stands in for an adapter that answers with
// too few or too many results.
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

// separate queues the operations of a batch again, and lets each be a call of
// its own from now on. It returns false if the call was lost.
func (s *Sender) separate(r *room, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches = false
	if s.ended(r) {
		return false
	}
	for _, it := range r.batch {
		s.land(it, nil)
		s.put(it)
	}
	s.start(now)
	return true
}

// land notes that an operation is not under way any more. The acquires that wait for a
// deletion that failed wait on, until its owner has had the chance to have it sent again
// before them: then land returns what they wait for.
func (s *Sender) land(it *Item, err error) *keyDeletions {
	s.flying--
	if it.Class != Deleting {
		return nil
	}
	s.flyingDeletes--
	k := s.deletions.lift(it)
	if err != nil {
		return k
	}
	s.deletions.land(k, &s.acquires)
	return nil
}

// settle lets the acquires go that waited for deletions that failed, behind whatever
// the owners of those have submitted meanwhile.
func (s *Sender) settle(r *room, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, k := range r.failed {
		s.deletions.land(k, &s.acquires)
		r.failed[i] = nil
	}
	r.failed = r.failed[:0]
	s.start(now)
}

// note records how a call that began then ended now. If the node is not to be sent
// anything for now, the acquires that have not been sent fail. It reports whether the call
// was lost.
func (s *Sender) note(r *room, began, now time.Time) (lost bool) {
	err := worst(r.results)
	s.mu.Lock()
	if s.ended(r) {
		s.lost--
		if answered(err) {
			s.answered = true
			s.answer(began, now, false)
		}
		s.start(now)
		s.mu.Unlock()
		return true
	}
	filled := s.flying >= s.brake.window
	for i, it := range r.batch {
		if k := s.land(it, r.results[i].Err); k != nil {
			r.failed = append(r.failed, k)
		}
	}
	for i, it := range r.batch {
		s.moved(it.Key, r.results[i].Err, now)
	}
	var dropped list
	s.answered = answered(err)
	if s.answered {
		s.answer(began, now, filled)
	} else {
		s.failed(err, began, now)
		if s.brake.on {
			dropped = s.drain()
		}
		if !s.brake.hung {
			s.progress = now
		}
	}
	if filled || !s.batches { // what waits may need more than this goroutine
		s.start(now)
	}
	why := s.brake.why
	s.mu.Unlock()
	for dropped.n > 0 {
		dropped.pop().Owner.Complete(backend.Result{Err: why}, false, now)
	}
	return false
}

// answer notes that the call that began then was answered now. Filled says that it left
// no room for another operation.
func (s *Sender) answer(began, now time.Time, filled bool) {
	s.progress = now
	took := now.Sub(began)
	slow := s.policy.window && s.trip.answers > 0 && took > slowCall+2*s.trip.shortest()
	s.trip.answer(took, now)
	if s.brake.answer(began, now, filled, slow, s.full()) {
		s.doubts.revived = now
	}
}

// failed notes that the call that began then was not answered.
func (s *Sender) failed(err error, began, now time.Time) {
	if s.policy.brake || errors.Is(err, context.DeadlineExceeded) {
		s.brake.fail(err, began, now)
	} else {
		s.brake = brake{window: s.full()}
	}
}

// full returns how many operations may be under way at most.
func (s *Sender) full() int {
	if !s.batches {
		return bareDepth
	}
	return depth * batchSize
}

// drain takes out the acquires. Extensions go with the next probe.
func (s *Sender) drain() list {
	var out list
	s.deletions.unparkAll(&s.acquires)
	for s.acquires.n > 0 {
		out.push(s.acquires.pop())
	}
	return out
}

// Claim begins a call of the caller's own for an item, if nothing is under way or waits
// and the node has answered last time. If it returns true, the caller makes the call
// under the context of [Shared.Context] or its own, and then calls Yield.
func (s *Sender) Claim(it *Item, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls > 0 || !s.answered || s.brake.failures > 0 || s.queued()+s.deletions.parks > 0 {
		return false
	}
	s.begin(now)
	s.fly(it)
	return true
}

// Yield ends the call that Claim began then, and completes the item. That it timed out
// says little, because its deadline was the caller's: the sender's own next call will tell.
func (s *Sender) Yield(it *Item, r backend.Result, began, now time.Time) {
	failed := s.yield(it, r.Err, began, now)
	it.Owner.Complete(r, true, now)
	if failed != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.deletions.land(failed, &s.acquires)
		s.start(now)
	}
}

func (s *Sender) yield(it *Item, err error, began, now time.Time) (failed *keyDeletions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	failed = s.land(it, err)
	s.moved(it.Key, err, now)
	s.answered = answered(err)
	switch {
	case s.answered:
		s.answer(began, now, false)
	case !errors.Is(err, context.DeadlineExceeded):
		s.failed(err, began, now)
	case s.reconnecter != nil && s.trip.answers > 0 && now.Sub(began) >= s.patience():
		s.reconnecter.Reconnect(it.Key)
	}
	s.start(now)
	return failed
}

// Context returns one under which a caller may make a call of its own that takes no longer
// than most.
func (g *Shared) Context(most time.Duration, now time.Time) context.Context {
	return g.inline.get(most, most/64, now)
}

// A Load is what a sender has to do.
type Load struct {
	Calls                      int  // under way
	Extends, Acquires, Deletes int  // that wait for a call
	Parked                     int  // acquires that wait for deletions of their keys
	Deleting                   int  // keys that have deletions, waiting or under way
	Doubts                     int  // deletions that wait to be repeated
	Away                       bool // the node does not answer
}

// Waiting returns how many operations wait for a call.
func (l Load) Waiting() int { return l.Extends + l.Acquires + l.Deletes + l.Parked }

// Load returns what the sender has to do.
func (s *Sender) Load() Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Load{
		Calls: s.calls, Extends: s.extends.n, Acquires: s.acquires.n, Deletes: s.deletes.n,
		Parked: s.deletions.parks, Deleting: len(s.deletions.byKey), Doubts: s.doubts.n, Away: s.brake.on,
	}
}
