package redigo

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

// failure turns an error of redigo for a command into one that a Node may return. If the
// server answered it, it is marked according to [backend.MarkReply]. Otherwise it matches
// the error of ctx, if ctx has ended. The driver's error stays in its chain.
func failure(ctx context.Context, err error) error {
	var reply redis.Error
	if errors.As(err, &reply) {
		return backend.MarkReply(err)
	}
	err = backend.MarkTimeout(hideURL(err))
	if cause := ended(ctx); cause != nil && !errors.Is(err, cause) {
		// The driver only knows that the connection was closed during the call.
		return fmt.Errorf("%w: %w", cause, err)
	}
	return err
}

// hideURL is [backend.HideAddress], and also hides what [redis.DialURL] quotes.
func hideURL(err error) error {
	if err == nil {
		return nil
	}
	for _, quoting := range []string{"invalid redis URL", "invalid database: "} {
		if strings.HasPrefix(err.Error(), quoting) {
			return &badURL{err}
		}
	}
	return backend.HideAddress(err)
}

// badURL is an error of the driver about a URL. Its text does not show the URL.
type badURL struct{ err error }

func (*badURL) Error() string {
	return "redigo: the URL that the pool dials (not shown, because it may contain a password) is malformed: " +
		"write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25 in a user name or password"
}

func (e *badURL) Unwrap() error { return e.err }

// failure is the function failure, and also learns the server's address.
func (n *Node) failure(ctx context.Context, err error) error {
	n.conns.address.learn(err)
	return failure(ctx, err)
}

// notSent is failure for a call that got no connection.
func (n *Node) notSent(ctx context.Context, err error) error {
	return backend.MarkNotExecuted(n.failure(ctx, err))
}

// unsupported returns err so that it matches [errors.ErrUnsupported] if it says that the
// server does not have the command, or forbids it to this user for all keys.
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

// unknownScript reports whether err is the server's answer to a hash that it does not
// know.
func unknownScript(err error) bool {
	var reply redis.Error
	return errors.As(err, &reply) && strings.HasPrefix(string(reply), "NOSCRIPT")
}
