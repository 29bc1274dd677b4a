package rueidis

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// failure returns the error of one result of the driver, marked, or nil. A nil reply is
// an error for the driver, but not here.
func failure(ctx context.Context, r rueidis.RedisResult) error {
	if err := r.NonRedisError(); err != nil {
		return lost(ctx, err)
	}
	err := r.Error()
	if err == nil || rueidis.IsRedisNil(err) {
		return nil
	}
	return refused(err)
}

// lost marks an error that is not an answer to the command, because the connection failed
// or could not be opened.
func lost(ctx context.Context, err error) error {
	// A server that refuses the connection (HELLO, AUTH, SELECT) answers too, but nothing
	// else was sent.
	if _, ok := err.(*rueidis.RedisError); ok {
		return backend.MarkNotExecuted(refused(err))
	}
	err = backend.HideAddress(err)
	for _, unsent := range []error{rueidis.ErrNoSlot, rueidis.ErrNoAddr, rueidis.ErrNoCache} {
		if errors.Is(err, unsent) {
			return backend.MarkNotExecuted(err)
		}
	}
	if ended(ctx) {
		return backend.MarkTimeout(err)
	}
	// Calls share a connection. If the time of one call is over, on the connection or while
	// it opens it, the other calls get the same error. So they do if the driver's limit on
	// connecting is over. But their own time is not over.
	if err == context.DeadlineExceeded || err == context.Canceled {
		return fmt.Errorf("rueidis: connection given up: %v", err)
	}
	return err
}

// ended reports whether ctx has ended, or is about to end, because the driver's timers
// and those of ctx do not fire at the same instant.
func ended(ctx context.Context) bool {
	if ctx.Err() != nil {
		return true
	}
	deadline, ok := ctx.Deadline()
	return ok && time.Until(deadline) < 5*time.Millisecond
}

// refused marks an error reply.
func refused(err error) error {
	marked := backend.MarkReply(err)
	if backend.NotExecuted(marked) {
		return marked
	}
	// The driver removes the code "ERR", which MarkReply needs.
	if full := backend.MarkReply(&errReply{err}); backend.NotExecuted(full) {
		return full
	}
	return marked
}

// errReply is an error reply with the code "ERR", as the server sent it.
type errReply struct{ err error }

func (e *errReply) Error() string { return "ERR " + e.err.Error() }
func (e *errReply) Unwrap() error { return e.err }

// redisError returns the driver's error reply in the chain of err.
func redisError(err error) (*rueidis.RedisError, bool) {
	var e *rueidis.RedisError
	ok := errors.As(err, &e)
	return e, ok
}
