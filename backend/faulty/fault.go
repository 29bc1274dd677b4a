package faulty

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A Fault decides what becomes of the operations of one call: a single
// operation, or those of a batch, which travel together. It may wait, call next
// or not, with all of ops or some of them, now or later, and answers one result
// for each of ops. It is called concurrently. When ctx ends it must return, with
// ctx's error, unless to break that rule is its purpose.
//
// [Each] makes one of a function that looks at a single operation.
type Fault func(ctx context.Context, ops []backend.Op, next Send) []backend.Result

// Send takes operations further, and returns one result for each.
type Send func(ctx context.Context, ops []backend.Op) []backend.Result

// Delay has each request travel for d. If ctx ends before it has arrived, it
// never does, but the caller is not told so: the error is ctx's own.
func Delay(d time.Duration) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if err := sleep(ctx, d); err != nil {
			return failed(ops, err)
		}
		return next(ctx, ops)
	}
}

// DelayReply has each reply travel for d. If ctx ends meanwhile, the operation
// was executed and the caller does not know it.
func DelayReply(d time.Duration) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if subscribes(ops) {
			return Delay(d)(ctx, ops, next)
		}
		results := next(ctx, ops)
		if err := sleep(ctx, d); err != nil {
			return failed(ops, err)
		}
		return results
	}
}

// Late has each request travel for d and arrive whatever becomes of the caller
// meanwhile: if ctx has ended, the operation is executed all the same, later
// than anybody expects it. It runs on a timer, which nothing stops.
func Late(d time.Duration) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if subscribes(ops) {
			return Delay(d)(ctx, ops, next)
		}
		answer := make(chan []backend.Result, 1)
		time.AfterFunc(d, func() { answer <- next(context.WithoutCancel(ctx), ops) })
		return await(ctx, ops, answer)
	}
}

// Hang has no request arrive: each call lasts until ctx ends, for ever if it
// never does.
func Hang() Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		<-ctx.Done()
		return failed(ops, ctx.Err())
	}
}

// Stall returns a fault that plays a server which has stopped but still has its
// connections (SIGSTOP, a paused container): calls last until their ctx ends,
// and what was sent lies in the server's socket. Resume has the server go on: it
// executes, in order, all that was sent, the calls that gave up too, and what
// comes then goes through at once. A subscription that was running before goes
// on; a new one is acknowledged once the server goes on, unless its caller has
// gone.
func Stall() (fault Fault, resume func()) {
	s := &stall{over: make(chan struct{})}
	return s.fault, s.resume
}

type stall struct {
	mu    sync.Mutex
	queue []func()
	done  bool
	over  chan struct{} // closed when done
}

func (s *stall) fault(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
	if subscribes(ops) {
		select {
		case <-ctx.Done():
			return failed(ops, ctx.Err())
		case <-s.over:
			return next(ctx, ops)
		}
	}
	answer := make(chan []backend.Result, 1)
	s.mu.Lock()
	done := s.done
	if !done {
		s.queue = append(s.queue, func() { answer <- next(context.WithoutCancel(ctx), ops) })
	}
	s.mu.Unlock()
	if done {
		return next(ctx, ops)
	}
	return await(ctx, ops, answer)
}

func (s *stall) resume() {
	for {
		s.mu.Lock()
		if len(s.queue) == 0 {
			if !s.done {
				s.done = true
				close(s.over)
			}
			s.mu.Unlock()
			return
		}
		execute := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock() // what executes may wait, and others come meanwhile
		execute()
	}
}

// Refuse fails each operation before it is sent, with err, marked as not
// executed. If err is nil, it is the refusal of a connection. For the answer of
// a server that will not, pass it through [backend.MarkReply].
func Refuse(err error) Fault {
	if err == nil {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	err = backend.MarkNotExecuted(err)
	return func(_ context.Context, ops []backend.Op, _ Send) []backend.Result {
		return failed(ops, err)
	}
}

// LoseRequest fails each operation with err and does not execute it, which err
// does not say: the connection broke before the request had arrived. If err is
// nil, it is the end of the connection, [io.EOF].
func LoseRequest(err error) Fault {
	if err == nil {
		err = io.EOF
	}
	return func(_ context.Context, ops []backend.Op, _ Send) []backend.Result {
		return failed(ops, err)
	}
}

// LoseReply executes each operation and fails it with err: the connection broke
// before the reply had arrived. If err is nil, it is the end of the connection,
// [io.EOF]. A subscription is not executed.
func LoseReply(err error) Fault {
	if err == nil {
		err = io.EOF
	}
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if !subscribes(ops) {
			next(ctx, ops)
		}
		return failed(ops, err)
	}
}

// Duplicate executes each operation and answers, and executes it again when d
// has passed, whatever has happened meanwhile; if d is 0, before it answers.
// The second time runs on a timer, which nothing stops. A subscription is not
// doubled.
func Duplicate(d time.Duration) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		results := next(ctx, ops)
		if subscribes(ops) {
			return results
		}
		again := func() { next(context.WithoutCancel(ctx), ops) }
		if d == 0 {
			again()
		} else {
			time.AfterFunc(d, again)
		}
		return results
	}
}

// IgnoreCancel plays a client that does not notice a cancellation, only the
// deadline, as [backend.Node] allows. The faults behind it, and the node, see no
// cancellation. Subscriptions, which must notice it, do.
func IgnoreCancel() Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if subscribes(ops) {
			return next(ctx, ops)
		}
		own := context.WithoutCancel(ctx)
		if deadline, ok := ctx.Deadline(); ok {
			var cancel context.CancelFunc
			own, cancel = context.WithDeadline(own, deadline)
			defer cancel()
		}
		return next(own, ops)
	}
}

// IgnoreContext plays a client that does not keep to a deadline, as
// [backend.Node] forbids and some drivers do while they dial. The faults behind
// it, and the node, see a ctx that does not end. Subscriptions see theirs.
func IgnoreContext() Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if subscribes(ops) {
			return next(ctx, ops)
		}
		return next(context.WithoutCancel(ctx), ops)
	}
}

// Chain is several faults in one, the first outermost.
func Chain(faults ...Fault) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		for i := len(faults) - 1; i >= 0; i-- {
			fault, inner := faults[i], next
			next = func(ctx context.Context, ops []backend.Op) []backend.Result {
				return fault(ctx, ops, inner)
			}
		}
		return next(ctx, ops)
	}
}

// Each is a fault that looks at one operation at a time, also in a batch, and
// sends it alone by calling next. The operations of a batch come one after
// another, so that what holds one up holds up those behind it, and what fails
// one leaves the others alone.
func Each(f func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		results := make([]backend.Result, len(ops))
		for i := range ops {
			results[i] = f(ctx, ops[i], func(ctx context.Context) backend.Result {
				return next(ctx, ops[i:i+1:i+1])[0]
			})
		}
		return results
	}
}

// On is fault for the operations that match, and nothing for the others. A
// batch is cut where the one meets the other, and its parts are sent one after
// another, so that the order is kept.
func On(match func(backend.Op) bool, fault Fault) Fault {
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		results := make([]backend.Result, 0, len(ops))
		for len(ops) > 0 {
			hit, n := match(ops[0]), 1
			for n < len(ops) && match(ops[n]) == hit {
				n++
			}
			part := ops[:n:n]
			if hit {
				results = append(results, fault(ctx, part, next)...)
			} else {
				results = append(results, next(ctx, part)...)
			}
			ops = ops[n:]
		}
		return results
	}
}

// Kind matches the operations of the given kinds, for [On].
func Kind(kinds ...backend.OpKind) func(backend.Op) bool {
	return func(op backend.Op) bool {
		for _, k := range kinds {
			if op.Kind == k {
				return true
			}
		}
		return false
	}
}

// First is fault for the first n calls that come to it, and nothing from then
// on.
func First(n int, fault Fault) Fault {
	var seen atomic.Int64
	return func(ctx context.Context, ops []backend.Op, next Send) []backend.Result {
		if seen.Add(1) <= int64(n) {
			return fault(ctx, ops, next)
		}
		return next(ctx, ops)
	}
}

// failed answers err to each of ops.
func failed(ops []backend.Op, err error) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i := range results {
		results[i].Err = err
	}
	return results
}

// subscribes reports whether ops is a subscription, which is no request with a
// reply.
func subscribes(ops []backend.Op) bool {
	return len(ops) == 1 && ops[0].Kind == OpSubscribe
}

// await returns the answer, or ctx's error if ctx ends first.
func await(ctx context.Context, ops []backend.Op, answer <-chan []backend.Result) []backend.Result {
	select {
	case results := <-answer:
		return results
	case <-ctx.Done():
		return failed(ops, ctx.Err())
	}
}

// sleep waits for d. If ctx ends first, it returns ctx's error. It makes no timer that has
// expired already: in a synctest bubble, with the race detector, waiting for one has crashed
// the runtime (SIGSEGV in maybeRunChan, go1.26.8).
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
