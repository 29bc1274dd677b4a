package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A Harness gives the suite access to a node and to the server behind it. Only New is required.
// If a hook is nil, the checks that need it are skipped, and one line reports this. So the more
// hooks there are, the more is checked. [NewHarness] returns a harness with all of them, for a
// Redis or Valkey server.
//
// The hooks get the node that New or SlowDial returned, because in some harnesses each node has
// its own server. They are never called concurrently, except for Publish.
type Harness struct {
	// New returns a node for one check, with its server up and no fault set, and a function that
	// releases its resources, or nil. It is called once for each check, and once before all of
	// them. It may return the same node each time; see [Reuse]. The suite uses unique keys, so
	// the server need not be empty.
	New func(ctx context.Context) (n backend.Node, release func(), err error)

	// Prefix begins the name of every key and channel that the suite uses, for servers that allow
	// only certain names. The default is "backendtest:".
	Prefix string

	// Advance moves the server's clock forward by d. It is for servers that do not expire keys by
	// themselves. If it is nil, the suite waits for that time instead.
	Advance func(d time.Duration)

	// Set stores value at key for ttl, as another client of the server would. If ttl is
	// [backend.NoExpiry], the key never expires.
	Set func(ctx context.Context, n backend.Node, key, value string, ttl time.Duration) error

	// SetOther stores a value that is not a string at key, such as a list, as another client of
	// the server would.
	SetOther func(ctx context.Context, n backend.Node, key string) error

	// FlushScripts makes the server forget every script (SCRIPT FLUSH).
	FlushScripts func(ctx context.Context, n backend.Node) error

	// HasScript reports whether the server knows the script with that SHA-1 hash, in hexadecimal
	// (SCRIPT EXISTS). It proves that FlushScripts works.
	HasScript func(ctx context.Context, n backend.Node, hash string) (bool, error)

	// Publish publishes payload on channel, as another client of the server would.
	Publish func(ctx context.Context, n backend.Node, channel, payload string) error

	// Disconnect breaks every connection between the node and its server. New ones must be
	// possible at once.
	Disconnect func(ctx context.Context, n backend.Node) error

	// Stall stops the server from answering, without breaking a connection. Examples are SIGSTOP,
	// a paused container, and a proxy that holds all bytes. It returns a function that lets the
	// server go on.
	Stall func(ctx context.Context, n backend.Node) (resume func(), err error)

	// SlowDial is New for a node without a connection, whose connections need setup longer than
	// usual until they are ready. After that they are as fast as usual.
	SlowDial func(ctx context.Context, setup time.Duration) (n backend.Node, release func(), err error)

	// LoseReplies makes the server execute what the node sends from now on, and breaks the
	// connection instead of passing the reply on. The setup of a new connection is not affected.
	// It returns a function that counts the operations that have arrived since: each SET, EVAL
	// and EVALSHA is one. restore ends it.
	LoseReplies func(ctx context.Context, n backend.Node) (arrived func() int, restore func(), err error)

	// Reject makes the server answer each SET, EVAL and EVALSHA that the node sends from now on
	// with an error reply, such as "NOPERM no", without executing it. The setup of a new
	// connection is not affected. restore ends it.
	Reject func(ctx context.Context, n backend.Node, reply string) (restore func(), err error)

	// Slow adds the checks that take longer than a few seconds. Together they take about fifteen
	// seconds.
	Slow bool

	// Log, if not nil, gets a line for each check that Check skips. Run reports these as skipped
	// tests.
	Log func(format string, args ...any)
}

// Reuse returns a New for [Harness] that always returns n.
func Reuse(n backend.Node) func(context.Context) (backend.Node, func(), error) {
	return func(context.Context) (backend.Node, func(), error) { return n, nil, nil }
}
