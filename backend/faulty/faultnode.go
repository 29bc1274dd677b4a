package faulty

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A FaultNode is a node that passes what it is asked on to another node, and
// lets a test decide what goes wrong on the way: each call goes through the
// [Fault] that is set at that moment, none at first. It also keeps a record of
// what it was asked and of what arrived at the node behind it, which are not
// the same once requests get lost, late or doubled.
//
// It is always a [backend.Batcher], [backend.Scripter], [backend.Subscriber],
// [backend.Partitioner] and [backend.Namer]. If the node behind it cannot run a
// batch or a script, or subscribe, the call fails with an error that matches
// [errors.ErrUnsupported]. [backend.As] also finds a [backend.Reconnecter],
// [backend.Explainer] and [backend.Addresser] if the node behind has one. Their
// methods pass no fault, and no operation goes past the faults. [Bare] around the
// FaultNode hides all capabilities.
//
// Its methods, and those that set faults, may be called concurrently, also from
// a fault. It works in a bubble of testing/synctest.
type FaultNode struct {
	inner  backend.Node
	name   string
	passed backend.Node // see there; nil if there is none

	mu      sync.Mutex
	fault   Fault // nil if none
	calls   []*Call
	arrived []backend.Op
	subs    map[*context.CancelCauseFunc]struct{}
}

var (
	_ backend.Node        = (*FaultNode)(nil)
	_ backend.Batcher     = (*FaultNode)(nil)
	_ backend.Scripter    = (*FaultNode)(nil)
	_ backend.Namer       = (*FaultNode)(nil)
	_ backend.Partitioner = (*FaultNode)(nil)
	_ backend.Subscriber  = (*FaultNode)(nil)
)

// NewFaultNode returns a node without faults in front of inner.
func NewFaultNode(inner backend.Node) *FaultNode {
	f := &FaultNode{inner: inner, subs: make(map[*context.CancelCauseFunc]struct{})}
	if n, ok := backend.As[backend.Namer](inner); ok {
		f.name = n.Name()
	} else {
		f.name = fmt.Sprintf("fault-%p", f)
	}
	f.passed = passed(f, inner)
	return f
}

// Unwrap is for [backend.As]. It returns a node whose operations go through the
// faults too, or nil.
func (f *FaultNode) Unwrap() backend.Node { return f.passed }

// OpSubscribe is Subscriber.Subscribe to Op.Key, as a [Fault] and the records of a
// [FaultNode] see it. No [backend.Batcher] takes it.
const OpSubscribe backend.OpKind = 128

// Set puts faults in place of those that were set before, the first outermost:
// Set(LoseReply(nil), Delay(d)) loses a reply to a request that was delayed.
// Calls under way go on as they began.
func (f *FaultNode) Set(faults ...Fault) {
	var fault Fault
	if len(faults) > 0 {
		fault = Chain(faults...)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Clear removes the faults. Calls under way go on as they began.
func (f *FaultNode) Clear() { f.Set() }

// Disconnect breaks the subscriptions that run, with an error that matches
// [ErrDisconnected].
func (f *FaultNode) Disconnect() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for cancel := range f.subs {
		(*cancel)(ErrDisconnected)
	}
}

// ErrDisconnected is the error of a subscription that [FaultNode.Disconnect]
// broke.
var ErrDisconnected = errors.New("faulty: the subscription was disconnected")

// A Call is one call of a method of a [FaultNode].
type Call struct {
	// Ops are the operations that it stands for: one, or those of a batch.
	Ops   []backend.Op
	Batch bool

	Start time.Time

	// Results and End are set once the call has returned.
	Results []backend.Result
	End     time.Time
}

// Calls returns the calls so far, in the order in which they began, those under
// way too.
func (f *FaultNode) Calls() []Call {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls := make([]Call, len(f.calls))
	for i, c := range f.calls {
		calls[i] = *c
	}
	return calls
}

// Arrived returns the operations that have arrived at the node behind this one,
// in order, each as often as it arrived.
func (f *FaultNode) Arrived() []backend.Op {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.arrived)
}

// Forget empties the record. Without it the record grows with each call.
func (f *FaultNode) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls, f.arrived = nil, nil
}

// call takes ops through the faults to send.
func (f *FaultNode) call(ctx context.Context, batch bool, ops []backend.Op, send Send) []backend.Result {
	c := &Call{Ops: ops, Batch: batch, Start: time.Now()}
	f.mu.Lock()
	f.calls = append(f.calls, c)
	fault := f.fault
	f.mu.Unlock()

	var results []backend.Result
	switch err := ctx.Err(); {
	case err != nil:
		results = failed(ops, backend.MarkNotExecuted(err))
	case fault != nil:
		results = fault(ctx, ops, f.note(send))
	default:
		results = f.note(send)(ctx, ops)
	}
	if len(results) != len(ops) {
		panic(fmt.Sprintf("faulty: a fault answered %d operations with %d results", len(ops), len(results)))
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	c.Results, c.End = slices.Clone(results), time.Now()
	return results
}

// note returns send with a record of what arrives.
func (f *FaultNode) note(send Send) Send {
	return func(ctx context.Context, ops []backend.Op) []backend.Result {
		f.mu.Lock()
		f.arrived = append(f.arrived, ops...)
		f.mu.Unlock()
		return send(ctx, ops)
	}
}

// one performs a single operation.
func (f *FaultNode) one(ctx context.Context, op backend.Op, do func(context.Context) backend.Result) backend.Result {
	return f.call(ctx, false, []backend.Op{op}, func(ctx context.Context, ops []backend.Op) []backend.Result {
		results := make([]backend.Result, len(ops))
		for i := range ops {
			results[i] = do(ctx)
		}
		return results
	})[0]
}

// do performs a single operation that a Batcher could take.
func (f *FaultNode) do(ctx context.Context, op backend.Op) backend.Result {
	return f.one(ctx, op, func(ctx context.Context) backend.Result { return op.Do(ctx, f.inner) })
}

// SetNX is [backend.Node]'s.
func (f *FaultNode) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := f.do(ctx, backend.Op{Kind: backend.OpSetNX, Key: key, Token: token, TTL: ttl})
	return r.OK, r.Err
}

// EvalDelete is [backend.Node]'s.
func (f *FaultNode) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	r := f.do(ctx, backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: token})
	return r.OK, r.Err
}

// Extend is [backend.Node]'s.
func (f *FaultNode) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := f.do(ctx, backend.Op{Kind: backend.OpExtend, Key: key, Token: token, TTL: ttl})
	return r.OK, r.Err
}

// Eval is [backend.Scripter]'s.
func (f *FaultNode) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	if _, ok := backend.As[backend.Scripter](f.inner); !ok {
		return nil, unsupported("Scripter")
	}
	r := f.do(ctx, clone(backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}))
	return r.Reply, r.Err
}

// Batch is [backend.Batcher]'s. A fault sees the operations of a batch
// together, as one message on one connection; see [Each] and [On] for one that
// fails alone.
func (f *FaultNode) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	b, ok := backend.As[backend.Batcher](f.inner)
	if !ok {
		return failed(ops, unsupported("Batcher"))
	}
	if len(ops) == 0 {
		return nil
	}
	own := make([]backend.Op, len(ops)) // a fault may keep them
	for i, op := range ops {
		own[i] = clone(op)
	}
	return f.call(ctx, true, own, b.Batch)
}

// Partition is [backend.Partitioner]'s, without a fault. A node behind this one that
// has no parts is one part.
func (f *FaultNode) Partition(key string) (part, parts int) {
	if p, ok := backend.As[backend.Partitioner](f.inner); ok {
		return p.Partition(key)
	}
	return 0, 1
}

// Name is [backend.Namer]'s: the name of the node behind this one, or one of
// its own where that has none.
func (f *FaultNode) Name() string { return f.name }

// Subscribe is [backend.Subscriber]'s. A fault sees it as an [OpSubscribe],
// which lasts as long as the subscription. Messages pass no fault; see
// [FaultNode.Disconnect].
func (f *FaultNode) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	s, ok := backend.As[backend.Subscriber](f.inner)
	if !ok {
		return unsupported("Subscriber")
	}
	own, cancel := context.WithCancelCause(ctx)
	f.mu.Lock()
	f.subs[&cancel] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.subs, &cancel)
		f.mu.Unlock()
		cancel(nil)
	}()
	err := f.one(own, backend.Op{Kind: OpSubscribe, Key: channel}, func(sent context.Context) backend.Result {
		// A fault may send it under a ctx of its own, but not for longer than
		// the caller is there.
		sent, stop := context.WithCancel(sent)
		defer stop()
		defer context.AfterFunc(own, stop)()
		return backend.Result{Err: s.Subscribe(sent, channel, events)}
	}).Err
	if cause := context.Cause(own); errors.Is(cause, ErrDisconnected) && ctx.Err() == nil {
		return cause
	}
	if errors.Is(err, context.Canceled) && ctx.Err() != nil { // stop may come before the end of ctx itself
		return ctx.Err()
	}
	return err
}

// clone returns op with copies of its slices, for a caller who reuses them.
func clone(op backend.Op) backend.Op {
	op.Keys, op.Args = slices.Clone(op.Keys), slices.Clone(op.Args)
	return op
}

func unsupported(capability string) error {
	return backend.MarkNotExecuted(fmt.Errorf("faulty: the node behind the fault node is no %s: %w", capability, errors.ErrUnsupported))
}
