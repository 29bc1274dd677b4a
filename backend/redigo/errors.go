package redigo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

// failure turns an error that redigo returned for a command into one that a
// Node may return: marked as [backend.MarkReply] says if the server answered
// it, else such that it matches what ended ctx, if ctx has ended. The driver's
// error stays in its chain.
func failure(ctx context.Context, err error) error {
	var reply redis.Error
	if errors.As(err, &reply) {
		return backend.MarkReply(err)
	}
	err = backend.MarkTimeout(err)
	if cause := ended(ctx); cause != nil && !errors.Is(err, cause) {
		// The connection was closed under the call, which is all that the
		// driver knows about it.
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// notSent is failure for a call that got no connection to send on.
func notSent(ctx context.Context, err error) error {
	return backend.MarkNotExecuted(failure(ctx, err))
}

// unsupported returns err so that it matches [errors.ErrUnsupported] if it
// says that the server has no such command, or forbids it to this user
// whatever the keys.
func unsupported(err error) error {
	var reply redis.Error
	if !errors.As(err, &reply) || !errors.Is(err, backend.ErrRefused) {
		return err
	}
	text := string(reply)
	if strings.HasPrefix(text, "ERR unknown command") ||
		strings.HasPrefix(text, "NOPERM ") && (strings.Contains(text, "to run the '") || strings.Contains(text, "channel")) {
		return fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return err
}

// unknownScript reports whether err is the server's answer to a hash that it
// does not know.
func unknownScript(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasPrefix(string(reply), "NOSCRIPT")
}
