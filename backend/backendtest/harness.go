package backendtest

import (
	"context"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A Harness tells the suite how to get at a node and at the server behind it.
// Only New is required. Checks that need a hook which is nil are skipped, and one line
// says so; the more hooks there are, the more is checked. [NewHarness] has them all, for
// a Redis or Valkey server.
//
// The hooks get the node that New, or SlowDial, returned, for harnesses in which
// each has a server of its own. They are never called concurrently, except for
// Publish.
type Harness struct {
	// New returns a node for one check, with its server up and no fault set,
	// and a function that releases what it holds, or nil. It is called once for
	// each check, and once before, and may return the same node each time; see [Reuse]. The suite
	// invents the keys that it uses, so the server need not be empty.
	New func(ctx context.Context) (n backend.Node, release func(), err error)

	// Prefix begins the name of every key and channel that the suite uses, for
	// servers that allow only some. The default is "backendtest:".
	Prefix string

	// Advance moves the server's clock forward by d. If it is nil, the suite
	// waits for as long. It is for servers that do not expire keys by
	// themselves.
	Advance func(d time.Duration)

	// Set stores value at key for ttl, for ever if it is [backend.NoExpiry], as
	// another client of the server would.
	Set func(ctx context.Context, n backend.Node, key, value string, ttl time.Duration) error

	// SetOther stores a value that is no string at key, such as a list, as
	// another client of the server would.
	SetOther func(ctx context.Context, n backend.Node, key string) error

	// FlushScripts has the server forget every script (SCRIPT FLUSH).
	FlushScripts func(ctx context.Context, n backend.Node) error

	// Publish publishes payload on channel, as another client of the server
	// would.
	Publish func(ctx context.Context, n backend.Node, channel, payload string) error

	// Disconnect breaks every connection between the node and its server, and
	// lets new ones be made at once.
	Disconnect func(ctx context.Context, n backend.Node) error

	// Stall stops the server from answering, without breaking a connection
	// (SIGSTOP, a paused container, a proxy that holds on to all it gets), and
	// returns a function that lets it go on.
	Stall func(ctx context.Context, n backend.Node) (resume func(), err error)

	// SlowDial is New for a node that has no connection yet, and for which
	// setting one up takes setup longer than usual. What a connection carries
	// afterwards is not slowed.
	SlowDial func(ctx context.Context, setup time.Duration) (n backend.Node, release func(), err error)

	// LoseReplies has the server execute what the node sends from now on, and
	// breaks the connection instead of passing the answer on. What sets up a
	// new connection goes through. It returns a count of the operations that
	// have arrived since: each SET, EVAL and EVALSHA is one. Restore ends it.
	LoseReplies func(ctx context.Context, n backend.Node) (arrived func() int, restore func(), err error)

	// Reject has the server answer the operations that the node sends from now on with
	// an error reply, such as "NOPERM no", and execute none of them: each SET, EVAL and
	// EVALSHA. What sets up a new connection goes through. Restore ends it.
	Reject func(ctx context.Context, n backend.Node, reply string) (restore func(), err error)

	// Slow has the suite make the checks that take longer than a few seconds
	// too, some fifteen seconds together.
	Slow bool

	// Log, if not nil, gets a line for each check that Check skips. Run reports
	// them as skipped tests.
	Log func(format string, args ...any)
}

// Reuse returns a New for [Harness] that returns n each time.
func Reuse(n backend.Node) func(context.Context) (backend.Node, func(), error) {
	return func(context.Context) (backend.Node, func(), error) { return n, nil, nil }
}
