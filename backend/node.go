package backend

import (
	"context"
	"time"
)

// A Node is one lock server, independent of the others in its quorum: a Redis or Valkey
// master, or a whole Sentinel set or Cluster behind one client.
//
// # What the core may assume
//
// Methods may be called concurrently. Each returns by the deadline of ctx, and then with
// an error that matches [context.DeadlineExceeded]. It need not notice a cancellation
// before that. The core always sets a deadline.
//
// (false, nil) means that the node answered and that the key is not ours. An error means
// that the outcome is unknown: the operation may have run, may yet run, or may never run.
// If [NotExecuted] is true for the error, the operation had no effect.
//
// # What a node must do
//
// It must send each operation at most once: a write that is sent again can apply twice,
// and the core repeats what is safe to repeat. Following a redirection, or sending a
// script's text after NOSCRIPT, is not a repetition, because nothing had run. Where ctx
// has ended already it must send nothing, and return ctx's error marked with
// [ErrNotExecuted]. After a connection was lost, or a call timed out, it must connect
// again by itself.
//
// Keys and tokens are arbitrary bytes, compared as bytes. A ttl is at least a
// millisecond; a node must not let the key live for less than it, so it rounds a fraction
// up to what its server counts in.
//
// The interface is frozen: it will not get another method. Everything else that a node
// can do is an optional capability, found by [As].
type Node interface {
	// SetNX stores token at key for ttl if key is free, and reports whether it did. If
	// key is already held, even by this token, the result is (false, nil).
	SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error)

	// EvalDelete deletes key if it holds token, in one atomic step, and reports whether
	// it did. A key that is missing, or that holds anything else, of any type, stays as
	// it is, and the result is (false, nil).
	EvalDelete(ctx context.Context, key, token string) (bool, error)

	// Extend lets key live for at least ttl from now if it holds token, in one atomic
	// step, and reports whether key holds token. It must neither create the key nor
	// shorten its life: where more than ttl remains, or no expiry is set, it changes
	// nothing and reports true.
	Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
}

// As returns the first value in n's chain of wrappers that is a T, usually an optional
// capability such as [Batcher].
//
// It follows the chain through methods Unwrap() Node. Only a transparent wrapper may have
// that method. A wrapper that renames keys, or counts or delays operations, would be
// bypassed. So it has no such method, and implements the capabilities that it forwards.
func As[T any](n Node) (T, bool) {
	for n != nil {
		if t, ok := n.(T); ok {
			return t, true
		}
		w, ok := n.(interface{ Unwrap() Node })
		if !ok {
			break
		}
		n = w.Unwrap()
	}
	var none T
	return none, false
}

// NoExpiry is the TTL of a key that does not expire.
const NoExpiry time.Duration = -1
