package goredis

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// A command is one command that the driver sends at most once. It records whether it was
// handed to a connection.
type command struct {
	redis.Cmd

	// key says which master of a cluster the command belongs to.
	key string

	// written is set before the first byte of the command can be sent. While it is not set,
	// any error proves that the command was not executed.
	written atomic.Bool

	// err is the driver's error for the command, in a pipeline or on the route to one server.
	err error

	// Room for the arguments of most commands. Arguments other than names are passed as
	// pointers, because an interface holds a pointer without another allocation, and a hook
	// that logs arguments then does not show a token.
	//
	// The pointers to a script's arguments lead into the caller's slices, which the caller
	// may use again when the call has returned. The driver reads and writes a command on
	// the goroutine of the call, so it has ended by then. A call that may be abandoned owns
	// its arguments: see [guard.run].
	args  [8]any
	token string
	ttl   int64
}

// NoRetry prevents the driver from sending the command again after an error, alone or in
// a pipeline. By default it would do so up to three times, even if the server has
// executed the command and only the reply was lost.
func (c *command) NoRetry() bool { return true }

// Args returns the arguments. The driver calls it to write them to the connection. If
// something else calls it, such as a hook that logs, the command counts as written too
// early, which is safe.
func (c *command) Args() []any {
	c.written.Store(true)
	return c.Cmd.Args()
}

// Clone returns a copy that is also sent only once. The original then counts as written,
// because it cannot learn what happens to the copy.
func (c *command) Clone() redis.Cmder {
	c.written.Store(true)
	clone := &command{key: c.key}
	clone.written.Store(true)
	if cmd, ok := c.Cmd.Clone().(*redis.Cmd); ok {
		clone.Cmd = *cmd
	}
	return clone
}

// own replaces the arguments that point into the caller's slices with copies.
func (c *command) own() {
	args := c.Cmd.Args()
	for i, a := range args {
		if text, ok := a.(*string); ok {
			own := *text
			args[i] = &own
		}
	}
}

func (c *command) init(ctx context.Context, key string, args []any) {
	c.key = key
	c.Cmd = *redis.NewCmd(ctx, args...)
	// Only commands on many keys need a step, and ours do not. But if it is unset, a
	// cluster client first asks a server for its table of commands.
	c.SetStepCount(1)
}

func (c *command) setNX(ctx context.Context, key, token string, ttl time.Duration) {
	c.token, c.ttl = token, adapterkit.Milliseconds(ttl)
	c.init(ctx, key, append(c.args[:0], "set", key, &c.token, "nx", "px", &c.ttl))
}

// eval makes c run a script, by its text or by its hash.
func (c *command) eval(ctx context.Context, s *backend.Script, text bool, keys, args []string) {
	list := c.args[:0]
	if n := 3 + len(keys) + len(args); n > cap(list) {
		list = make([]any, 0, n)
	}
	if text {
		list = append(list, "eval", s.Source(), len(keys))
	} else {
		list = append(list, "evalsha", s.Hash(), len(keys))
	}
	key := ""
	if len(keys) > 0 {
		key = keys[0]
	}
	for i, k := range keys {
		if i == 0 {
			list = append(list, k)
		} else {
			list = append(list, &keys[i])
		}
	}
	for i := range args {
		list = append(list, &args[i])
	}
	c.init(ctx, key, list)
}

// milliseconds returns ttl as an argument of a script.
func milliseconds(ttl time.Duration) string {
	return strconv.FormatInt(adapterkit.Milliseconds(ttl), 10)
}

// stored reports whether a SET NX stored its value. err is the driver's error.
func (c *command) stored(err error) (bool, error) {
	if isNil(err) {
		return false, nil
	}
	if err != nil {
		return false, c.failure(err)
	}
	if c.Val() != "OK" {
		return false, fmt.Errorf("goredis: SET answered %v", c.Val())
	}
	return true, nil
}

// truth returns the 1 or 0 that a script answered.
func (c *command) truth(err error) (bool, error) {
	if err != nil {
		return false, c.failure(err)
	}
	switch c.Val() {
	case int64(1):
		return true, nil
	case int64(0):
		return false, nil
	}
	return false, fmt.Errorf("goredis: a script answered %v, want 1 or 0", c.Val())
}

// reply returns what a script answered.
func (c *command) reply(err error) (backend.Reply, error) {
	if isNil(err) {
		return backend.NewReply(nil)
	}
	if err != nil {
		return nil, c.failure(err)
	}
	return backend.NewReply(c.Val())
}
