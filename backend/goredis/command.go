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

// A command is one command on its way through the driver, which sends it once
// at most, and which leaves behind whether it was handed to a connection.
type command struct {
	redis.Cmd

	// key says which master of a cluster the command belongs to.
	key string

	// written is set before the first byte of the command can leave. While it
	// is not, whatever went wrong proves that the command was not executed.
	written atomic.Bool

	// err is what came of the command in a pipeline or on the route to one server, as the
	// driver has it.
	err error

	// Room for the arguments of most commands. Those that are no names are passed
	// as pointers: an interface holds them without an allocation of its own, and
	// a hook that logs arguments does not show a token.
	//
	// The pointers of a script's arguments lead into the lists of the caller, who
	// may use these again when the call has returned. The driver reads and writes a
	// command on the goroutine of the call, so it has ended by then. A call that
	// may be left behind owns its arguments: see [guard.run].
	args  [8]any
	token string
	ttl   int64
}

// NoRetry keeps the driver from sending the command again after an error, alone
// or in a pipeline. By default it would do so up to three times, even when the
// server has executed the command and only the reply was lost.
func (c *command) NoRetry() bool { return true }

// Args returns the arguments. The driver asks for them to write them to the
// connection; where anything else asks, such as a hook that logs, the command
// counts as written too early, which is safe.
func (c *command) Args() []any {
	c.written.Store(true)
	return c.Cmd.Args()
}

// Clone returns a copy that is sent once as well. The original counts as
// written, as the fate of a copy cannot be followed.
func (c *command) Clone() redis.Cmder {
	c.written.Store(true)
	clone := &command{key: c.key}
	clone.written.Store(true)
	if cmd, ok := c.Cmd.Clone().(*redis.Cmd); ok {
		clone.Cmd = *cmd
	}
	return clone
}

// own gives the command copies of the arguments that lead into lists of the
// caller.
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
	// Only commands on many keys have a step, ours have not; but where it is
	// unset, a cluster client asks a server for its table of commands first.
	c.SetStepCount(1)
}

func (c *command) setNX(ctx context.Context, key, token string, ttl time.Duration) {
	c.token, c.ttl = token, adapterkit.Milliseconds(ttl)
	c.init(ctx, key, append(c.args[:0], "set", key, &c.token, "nx", "px", &c.ttl))
}

// eval runs a script, by its text or by its hash.
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

// milliseconds returns ttl as the argument of a script.
func milliseconds(ttl time.Duration) string {
	return strconv.FormatInt(adapterkit.Milliseconds(ttl), 10)
}

// stored reports whether a SET NX that the driver answered with err stored its
// value.
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
