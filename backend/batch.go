package backend

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Batcher is an optional capability: many independent operations in one round trip.
// Without it each operation takes a round trip of its own.
type Batcher interface {
	// Batch sends ops in one round trip and returns one [Result] for each, in the same
	// order. Operations on the same key run in the given order. Together they are not
	// atomic: other operations may run between them. An empty ops has no result and takes
	// no round trip. The rules of [Node] on deadlines, repetition and errors apply to
	// each operation.
	//
	// Each operation fails alone: an error that the server answers to one of them must
	// not touch the others. If the connection fails, the outcome of every unanswered
	// operation is unknown. A script that the server does not know is sent again as its
	// text, alone, before Batch returns.
	//
	// The caller owns ops, and the Keys and Args in it, and may use these slices again as
	// soon as Batch has returned. So Batch must not read them afterwards, even if ctx
	// ended while they were being written: what outlasts the call needs copies. The
	// caller owns the results.
	Batch(ctx context.Context, ops []Op) []Result
}

// An Op is one operation of a [Batcher]: a call of a method of [Node] or [Scripter], as a
// value.
type Op struct {
	Kind OpKind

	// Key and Token are set for every kind except [OpEval]. TTL is set for OpSetNX and
	// OpExtend.
	Key, Token string
	TTL        time.Duration

	// Script, Keys and Args are set for [OpEval].
	Script     *Script
	Keys, Args []string
}

// An OpKind says which method an [Op] calls.
type OpKind uint8

const (
	OpSetNX      OpKind = iota + 1 // Node.SetNX
	OpEvalDelete                   // Node.EvalDelete
	OpExtend                       // Node.Extend
	OpEval                         // Scripter.Eval
)

// String returns the name of the method.
func (k OpKind) String() string {
	switch k {
	case OpSetNX:
		return "SetNX"
	case OpEvalDelete:
		return "EvalDelete"
	case OpExtend:
		return "Extend"
	case OpEval:
		return "Eval"
	}
	return fmt.Sprintf("OpKind(%d)", uint8(k))
}

// A Result is the outcome of one [Op].
type Result struct {
	OK    bool  // the result of SetNX, EvalDelete or Extend
	Reply Reply // the answer of a script
	Err   error // see [Node]; if it is set, OK and Reply are zero
}

// Do performs op on n by calling its method. An OpEval on a node that is not a [Scripter]
// fails with an error that matches [errors.ErrUnsupported].
func (op Op) Do(ctx context.Context, n Node) Result {
	var r Result
	switch op.Kind {
	case OpSetNX:
		r.OK, r.Err = n.SetNX(ctx, op.Key, op.Token, op.TTL)
	case OpEvalDelete:
		r.OK, r.Err = n.EvalDelete(ctx, op.Key, op.Token)
	case OpExtend:
		r.OK, r.Err = n.Extend(ctx, op.Key, op.Token, op.TTL)
	case OpEval:
		if s, ok := As[Scripter](n); ok {
			r.Reply, r.Err = s.Eval(ctx, op.Script, op.Keys, op.Args)
			break
		}
		r.Err = MarkNotExecuted(fmt.Errorf("script %s: %w", op.Script.Name(), errors.ErrUnsupported))
	default:
		r.Err = MarkNotExecuted(fmt.Errorf("backend: %v is no operation", op.Kind))
	}
	return r
}
