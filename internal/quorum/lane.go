package quorum

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// laneDepth is how many calls a lane has under way at most, so also how many
	// goroutines a node that hangs can hold.
	laneDepth = 4

	// laneStagger is how long a call has to be under way before another one may
	// begin beside it. What comes meanwhile is gathered: where the node is near, the
	// next call leaves sooner than that anyway, and few calls with many operations
	// cost both sides less than many with few; where it is far, calls overlap.
	laneStagger = time.Millisecond

	// laneEager is how many operations have to wait for a group's only node to leave beside
	// a single call at once, however short it has been under way: server and client then
	// work at the same time. With several nodes they do so anyway, and more calls only cost.
	laneEager = 16

	// bareDepth is laneDepth for a node that cannot batch, where a call is one
	// operation: with few calls a slow network would leave it idle.
	bareDepth = 32

	// laneBatch is how many operations go in one call at most. More would
	// overrun their deadline while most of them had been executed.
	laneBatch = 512

	// laneQueue is how much may wait in a lane before an acquire fails at once.
	// Deletions and extensions always find a place: there are never more of them
	// than a few for each key.
	laneQueue = 8192
)

// Why an operation was not sent.
var (
	errLate     = backend.MarkNotExecuted(timeoutError("not sent: the node did not take it in time"))
	errHung     = backend.MarkNotExecuted(errors.New("not sent: the node does not answer"))
	errFull     = backend.MarkNotExecuted(errors.New("not sent: too many operations wait for the node"))
	errReleased = backend.MarkNotExecuted(errors.New("not sent: the lock was released before"))
)

// timeoutError is a text that matches context.DeadlineExceeded.
type timeoutError string

func (e timeoutError) Error() string        { return string(e) }
func (e timeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// A lane is where operations leave for one node, or for one part of a node that is
// a cluster. It sends at once while no call is under way, and gathers what comes
// meanwhile for the next call: group commit.
//
// A node that hangs holds at most the lane's depth of calls, each for the call
// timeout. After one that timed out the lane probes with one operation at a
// time until the node answers again; acquires and extensions that come while a
// probe is under way fail at once, so that nobody waits for this node to decide
// a vote that the others have split. So do those that find a call under way for
// longer than they would wait themselves, with no answer meanwhile.
//
// Calls of one lane overtake each other. What must not is an acquire and the
// deletions of its key that were asked for before it: it would meet our own older
// token, or be undone. So an acquire waits until no deletion of its key is under
// way; in one call the deletions come first.
type lane struct {
	group   *Group
	node    backend.Node
	batcher backend.Batcher
	name    string
	parts   []*lane // for the parts of a node that is several servers, l first

	queueing *queueing
	skew     *skew

	worker func() // work; a function made once is not allocated for each goroutine

	mu       sync.Mutex
	batches  bool  // the node can batch; else a call is one operation
	urgent   queue // deletions and extensions, which go first
	acquires queue
	deleting map[string]int     // deletions under way, by key
	parked   map[string][]*seat // acquires that wait for them
	waiting  int                // seats queued or parked
	calls    int                // under way
	newest   time.Time          // when the last of them began
	opener   *time.Timer        // begins a call beside others; nil: none was needed so far
	opening  bool               // it is set
	last     callEnd
	answers  int           // to calls
	round    time.Duration // how long a call takes, of late; 0: not known
	progress time.Time     // when the last call ended otherwise than by a time-out, or the first of those under way began
}

// callEnd is how the last call on a node ended.
type callEnd uint8

const (
	callNone     callEnd = iota // there was none so far
	callAnswered                // the node answered, be it with an error
	callBroken                  // the connection failed
	callTimedOut                // the node did not answer in time
)

// newLane returns the lane of a node, or of the first of its parts with lanes for
// all of them.
func newLane(g *Group, n backend.Node, name string) *lane {
	l := &lane{group: g, node: n, name: name, queueing: newQueueing(g, n, name), skew: new(skew)}
	l.worker = l.work
	l.batcher, l.batches = backend.As[backend.Batcher](n)
	p, ok := backend.As[backend.Partitioner](n)
	if !ok {
		return l
	}
	_, parts := p.Partition("")
	if parts < 2 {
		return l
	}
	l.parts, l.skew = []*lane{l}, &skew{whole: l.skew}
	for len(l.parts) < parts {
		part := &lane{group: g, node: n, name: name, batcher: l.batcher, batches: l.batches, queueing: l.queueing, skew: &skew{whole: l.skew.whole}}
		part.worker = part.work
		l.parts = append(l.parts, part)
	}
	return l
}

// of returns the lane for the operations on key.
func (l *lane) of(key string) *lane {
	if len(l.parts) < 2 {
		return l
	}
	p, _ := backend.As[backend.Partitioner](l.node)
	part, _ := p.Partition(key)
	return l.parts[part]
}

// limit returns how many calls may be under way, and with how many operations
// each.
func (l *lane) limit() (calls, ops int) {
	switch {
	case l.last == callTimedOut:
		return 1, 1
	case !l.batches:
		return bareDepth, 1
	}
	return laneDepth, laneBatch
}

// submit takes the operation of s, which comes back through s.complete on
// another goroutine. It does not block. An error says that it did not take it.
func (l *lane) submit(s *seat, now time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.current.kind != releasing {
		switch {
		case s.current.kind == acquiring && l.waiting >= laneQueue:
			return errFull
		case l.calls > 0 && (l.last == callTimedOut || now.Sub(l.progress) > s.current.timeout):
			return errHung
		}
	}
	l.put(s, now)
	return nil
}

// put queues s, and starts a call for it if one may begin.
func (l *lane) put(s *seat, now time.Time) {
	l.waiting++
	if s.current.kind == acquiring {
		l.acquires.push(s)
	} else {
		l.urgent.push(s)
	}
	l.start(now)
}

// begin counts a call.
func (l *lane) begin(now time.Time) {
	l.newest = now
	if l.calls == 0 {
		l.progress = l.newest
	}
	l.calls++
}

// start begins a call on a goroutine of its own if one may begin, at once or as
// soon as those under way have been so for long enough.
func (l *lane) start(now time.Time) {
	if calls, _ := l.limit(); l.calls >= calls || l.urgent.len()+l.acquires.len() == 0 {
		return
	}
	if l.calls > 0 && l.batches && !l.eager() {
		if early := laneStagger - now.Sub(l.newest); early > 0 {
			l.open(early)
			return
		}
	}
	l.begin(now)
	go l.worker()
}

// eager reports whether so much waits that a second call is worth its cost at once.
func (l *lane) eager() bool {
	return len(l.group.lanes) == 1 && l.calls == 1 && l.urgent.len()+l.acquires.len() >= laneEager
}

// open has start look again in d.
func (l *lane) open(d time.Duration) {
	switch {
	case l.opening:
	case l.opener == nil:
		l.opener = time.AfterFunc(d, func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			l.opening = false
			l.start(time.Now())
		})
	default:
		l.opener.Reset(d)
	}
	l.opening = true
}

// work makes calls until nothing waits, and then ends. Its caller has counted
// the call.
func (l *lane) work() {
	room := l.group.room()
	defer l.group.leave(room)
	alone := len(l.group.lanes) == 1 // then callers make the call themselves if nobody is here
	for {
		room.clear()
		now := time.Now()
		batch, dropped := l.next(room.batch, now, alone)
		if len(batch)+len(dropped) == 0 && !alone {
			// Those who have just been told may ask for more as soon as they run, and
			// a new goroutine for that would have to grow its stack again.
			runtime.Gosched()
			now = time.Now()
			batch, dropped = l.next(room.batch, now, true)
		}
		if len(batch)+len(dropped) == 0 {
			return
		}
		room.batch = batch
		for _, d := range dropped {
			d.seat.complete(backend.Result{Err: d.why}, false, now)
		}
		if len(batch) == 0 {
			continue // what was dropped may have left something to send
		}
		for _, s := range batch {
			s.leave()
		}
		ctx := l.group.calls.get(CallTimeout+callShare, callShare, now)
		if len(batch) == 1 {
			r := batch[0].op.Do(ctx, l.node)
			end := time.Now()
			l.note(r.Err, end.Sub(now), end, batch...)
			batch[0].complete(r, true, end)
			continue
		}
		for _, s := range batch {
			room.ops = append(room.ops, s.op)
		}
		ops := room.ops
		results := l.batch(ctx, ops)
		end := time.Now()
		if cannotBatch(ops, results) {
			l.separate(batch, end)
			continue
		}
		l.note(worst(results), end.Sub(now), end, batch...)
		for i, s := range batch {
			s.complete(results[i], true, end)
		}
	}
}

// A room is where a lane puts together what a call sends. It is used again and again.
type room struct {
	batch []*seat
	ops   []backend.Op
}

// clear forgets what was sent, and keeps nothing of it alive.
func (r *room) clear() {
	clear(r.batch)
	clear(r.ops)
	r.batch, r.ops = r.batch[:0], r.ops[:0]
}

// room returns an empty one.
func (g *Group) room() *room {
	if r, ok := g.rooms.Get().(*room); ok {
		return r
	}
	return new(room)
}

// leave takes r back.
func (g *Group) leave(r *room) {
	r.clear()
	g.rooms.Put(r)
}

// batch sends ops in one call, and stands in for an adapter that answers with
// too few or too many results.
func (l *lane) batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := l.batcher.Batch(ctx, ops)
	if len(results) == len(ops) {
		return results
	}
	results = make([]backend.Result, len(ops))
	for i := range results {
		results[i].Err = errors.New("the node answered a batch with the wrong number of results")
	}
	return results
}

// cannotBatch reports whether the node has answered that it cannot batch, after
// all. Of a script it may say that alone.
func cannotBatch(ops []backend.Op, results []backend.Result) bool {
	for i, r := range results {
		if ops[i].Kind != backend.OpEval {
			return errors.Is(r.Err, errors.ErrUnsupported)
		}
	}
	return false
}

// separate queues the operations of a batch again, and lets each be a call of
// its own from now on.
func (l *lane) separate(batch []*seat, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = false
	l.done(batch...)
	for _, s := range batch {
		l.put(s, now)
	}
}

// worst returns nil if the node answered any of the batch, else the first error.
func worst(results []backend.Result) error {
	for _, r := range results {
		if answered(r.Err) {
			return nil
		}
	}
	return results[0].Err
}

// answered reports whether err, if any, is an answer of the node.
func answered(err error) bool {
	return err == nil || errors.Is(err, backend.ErrRefused)
}

// drop is an operation that is not sent, and why.
type drop struct {
	seat *seat
	why  error
}

// next takes from the queues what the next call sends, appended to batch, and
// what is not to be sent any more. With neither, and if the caller is to leave then, it
// has taken the call off the count.
func (l *lane) next(batch []*seat, now time.Time, leave bool) (_ []*seat, dropped []drop) {
	l.mu.Lock()
	defer l.mu.Unlock()
	calls, ops := l.limit()
	if l.calls > calls { // the node hangs, and others are probing it
		ops = 0
	}
	for _, q := range []*queue{&l.urgent, &l.acquires} {
		for q.len() > 0 && len(batch) < ops {
			s := q.pop()
			l.waiting--
			switch why := s.unwanted(now); {
			case why != nil:
				dropped = append(dropped, drop{s, why})
			case q == &l.acquires && l.deleting[s.attempt.key] > 0:
				l.park(s)
			default:
				batch = append(batch, s)
			}
		}
	}
	if leave && len(batch)+len(dropped) == 0 {
		l.calls--
	}
	if len(batch) > 0 {
		l.newest = now
	}
	for _, s := range batch {
		l.sends(s)
	}
	return batch, dropped
}

// park lets an acquire wait until no deletion of its key is under way.
func (l *lane) park(s *seat) {
	if l.parked == nil {
		l.parked = make(map[string][]*seat)
	}
	l.waiting++
	l.parked[s.attempt.key] = append(l.parked[s.attempt.key], s)
}

// sends notes that the operation of s is about to be under way.
func (l *lane) sends(s *seat) {
	if s.current.kind != releasing {
		return
	}
	if l.deleting == nil {
		l.deleting = make(map[string]int)
	}
	l.deleting[s.attempt.key]++
}

// done notes that the operations of batch are not under way any more, and queues
// the acquires that waited for that.
func (l *lane) done(batch ...*seat) {
	for _, s := range batch {
		if s.current.kind != releasing {
			continue
		}
		key := s.attempt.key
		if l.deleting[key]--; l.deleting[key] > 0 {
			continue
		}
		delete(l.deleting, key)
		for _, waiter := range l.parked[key] {
			l.acquires.push(waiter)
		}
		delete(l.parked, key)
	}
}

// note records how the call that sent batch ended now, after it took so long. If it
// timed out, whatever has not been sent fails, except deletions.
func (l *lane) note(err error, took time.Duration, now time.Time, batch ...*seat) {
	l.mu.Lock()
	l.done(batch...)
	var dropped []*seat
	switch {
	case answered(err):
		l.last = callAnswered
		l.answer(took, now)
	case errors.Is(err, context.DeadlineExceeded):
		l.last = callTimedOut
		dropped = l.acquires.drain(nil)
		dropped = append(dropped, l.urgent.drain(func(s *seat) bool { return s.current.kind == releasing })...)
		for _, parked := range l.parked {
			dropped = append(dropped, parked...)
		}
		clear(l.parked)
		l.waiting -= len(dropped)
	default:
		l.last, l.progress = callBroken, now
	}
	l.mu.Unlock()
	for _, s := range dropped {
		s.complete(backend.Result{Err: errHung}, false, now)
	}
}

// answer notes that a call was answered now, after it took so long.
func (l *lane) answer(took time.Duration, now time.Time) {
	l.progress = now
	l.answers++
	switch {
	case l.answers == 1:
		l.round = took
	case took < l.round: // what was longer was a pause, or a new connection
		l.round -= (l.round - took) / 2
	default:
		l.round += (took - l.round) / 16
	}
}

// setUp is how many round trips the first call on a node may take: it makes a
// connection too.
const setUp = 3

// trip returns how long a call takes, of late, to the farthest part of the node. To
// bare is to leave out what the first call may have taken longer than others.
func (l *lane) trip(bare bool) time.Duration {
	l.mu.Lock()
	trip := l.round
	if bare && l.answers == 1 {
		trip /= setUp
	}
	l.mu.Unlock()
	for _, part := range l.parts[min(1, len(l.parts)):] {
		trip = max(trip, part.trip(bare))
	}
	return trip
}

// claim begins a call of the caller's own, for s, if the lane is idle and the node
// answered last time. Whoever got true makes the call and then calls yield.
func (l *lane) claim(s *seat, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls > 0 || l.last != callAnswered || l.waiting > 0 {
		return false
	}
	l.begin(now)
	l.sends(s)
	return true
}

// yield ends the call that claim began. That it timed out says little, for its
// deadline was the caller's: the lane's next call will tell.
func (l *lane) yield(s *seat, err error, took time.Duration, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	l.done(s)
	if answered(err) {
		l.answer(took, now)
	} else if l.last == callAnswered {
		l.last = callBroken
	}
	l.start(now)
}
