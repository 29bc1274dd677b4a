package quorum

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// laneDepth is how many calls a lane has under way at most, so also how many
	// goroutines a node that hangs can hold.
	laneDepth = 4

	// bareDepth is laneDepth for a node that cannot batch, where a call is one
	// operation: with few calls a slow network would leave it idle.
	bareDepth = 32

	// laneBatch is how many operations go in one call at most. More would
	// overrun their deadline while most of them had been executed.
	laneBatch = 512

	// laneQueue is how many acquires and extensions wait in a lane at most. Those
	// that come on top fail at once. Deletions always find a place: there are
	// never more of them than there were keys.
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
// a cluster. It sends at once while few
// calls are under way, and gathers what comes meanwhile for the next call.
//
// A node that hangs holds at most the lane's depth of calls, each for the call
// timeout. After one that timed out the lane probes with one operation at a
// time until the node answers again; acquires and extensions that come while a
// probe is under way fail at once, so that nobody waits for this node to decide
// a vote that the others have split. So do those that find a call under way for
// longer than they would wait themselves, with no answer meanwhile.
type lane struct {
	group   *Group
	node    backend.Node
	batcher backend.Batcher
	scripts bool // the node runs scripts
	name    string
	parts   []*lane // for the parts of a node that is several servers, l first

	mu       sync.Mutex
	batches  bool  // the node can batch; else a call is one operation
	urgent   queue // deletions and extensions, which go first
	acquires queue
	calls    int // under way
	last     callEnd
	progress time.Time // when the last call ended otherwise than by a time-out, or the first of those under way began
}

// callEnd is how the last call on a node ended.
type callEnd uint8

const (
	callNone     callEnd = iota // there was none
	callAnswered                // the node answered, be it with an error
	callBroken                  // the connection failed
	callTimedOut                // the node did not answer in time
)

// newLane returns the lane of a node, or of the first of its parts with lanes for
// all of them.
func newLane(g *Group, n backend.Node, name string) *lane {
	l := &lane{group: g, node: n, name: name}
	l.batcher, l.batches = backend.As[backend.Batcher](n)
	_, l.scripts = backend.As[backend.Scripter](n)
	p, ok := backend.As[backend.Partitioner](n)
	if !ok {
		return l
	}
	l.parts = []*lane{l}
	for _, parts := p.Partition(""); len(l.parts) < parts; {
		part := &lane{group: g, node: n, name: name, batcher: l.batcher, batches: l.batches, scripts: l.scripts}
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
func (l *lane) submit(s *seat) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.current.kind != releasing {
		switch {
		case l.urgent.len()+l.acquires.len() >= laneQueue:
			return errFull
		case l.calls > 0 && (l.last == callTimedOut || time.Since(l.progress) > s.current.timeout):
			return errHung
		}
	}
	l.put(s)
	return nil
}

// put queues s, and starts a call for it if one may begin.
func (l *lane) put(s *seat) {
	if s.current.kind == acquiring {
		l.acquires.push(s)
	} else {
		l.urgent.push(s)
	}
	l.start()
}

// begin counts a call.
func (l *lane) begin() {
	if l.calls == 0 {
		l.progress = time.Now()
	}
	l.calls++
}

// start begins a call on a goroutine of its own if one may begin.
func (l *lane) start() {
	if calls, _ := l.limit(); l.calls < calls && l.urgent.len()+l.acquires.len() > 0 {
		l.begin()
		go l.work()
	}
}

// work makes calls until nothing waits, and then ends. Its caller has counted
// the call.
func (l *lane) work() {
	var (
		few     [8]*seat // most batches are small
		batch   = few[:0]
		ops     []backend.Op
		dropped []drop
	)
	for {
		batch, dropped = l.next(batch[:0])
		for _, d := range dropped {
			d.seat.complete(backend.Result{Err: d.why}, false)
		}
		if len(batch) == 0 {
			if len(dropped) > 0 {
				continue // they may have left something to send
			}
			return
		}
		ctx := l.group.calls.get()
		if len(batch) == 1 {
			r := batch[0].op.Do(ctx, l.node)
			l.note(r.Err)
			batch[0].complete(r, true)
			continue
		}
		ops = slices.Grow(ops[:0], len(batch))
		for _, s := range batch {
			ops = append(ops, s.op)
		}
		results := l.batch(ctx, ops)
		if cannotBatch(ops, results) {
			l.separate(batch)
			continue
		}
		l.note(worst(results))
		for i, s := range batch {
			s.complete(results[i], true)
		}
	}
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
func (l *lane) separate(batch []*seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.batches = false
	for _, s := range batch {
		l.put(s)
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
// what is not to be sent any more. With neither it has taken the call off the
// count.
func (l *lane) next(batch []*seat) (_ []*seat, dropped []drop) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	calls, ops := l.limit()
	if l.calls > calls { // the node hangs, and others are probing it
		ops = 0
	}
	for _, q := range []*queue{&l.urgent, &l.acquires} {
		for q.len() > 0 && len(batch) < ops {
			s := q.pop()
			if why := s.unwanted(now); why != nil {
				dropped = append(dropped, drop{s, why})
				continue
			}
			batch = append(batch, s)
		}
	}
	if len(batch) == 0 && len(dropped) == 0 {
		l.calls--
	}
	return batch, dropped
}

// note records how a call ended. If it timed out, whatever has not been sent
// fails, except deletions.
func (l *lane) note(err error) {
	l.mu.Lock()
	var dropped []*seat
	switch {
	case answered(err):
		l.last, l.progress = callAnswered, time.Now()
	case errors.Is(err, context.DeadlineExceeded):
		l.last = callTimedOut
		dropped = l.acquires.drain(nil)
		dropped = append(dropped, l.urgent.drain(func(s *seat) bool { return s.current.kind == releasing })...)
	default:
		l.last, l.progress = callBroken, time.Now()
	}
	l.mu.Unlock()
	for _, s := range dropped {
		s.complete(backend.Result{Err: errHung}, false)
	}
}

// claim begins a call of the caller's own if the lane is idle and the node
// answered last time. Whoever got true makes the call and then calls yield.
func (l *lane) claim() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls > 0 || l.last != callAnswered || l.urgent.len()+l.acquires.len() > 0 {
		return false
	}
	l.begin()
	return true
}

// yield ends the call that claim began. That it timed out says little, for its
// deadline was the caller's: the lane's next call will tell.
func (l *lane) yield(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	if answered(err) {
		l.progress = time.Now()
	} else if l.last == callAnswered {
		l.last = callBroken
	}
	l.start()
}
