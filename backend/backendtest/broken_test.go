package backendtest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/long"
)

// A client is the node that a test checks: the network behind it, except for the methods that the
// test breaks.
type client struct {
	*faulty.FaultNode              // the network, with the server at its end
	server            *memory.Node // for what only the server can do
	lab               *lab

	setNX      func(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	evalDelete func(ctx context.Context, key, token string) (bool, error)
	extend     func(ctx context.Context, key, token string, ttl time.Duration) (bool, error)
	eval       func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error)
	batch      func(ctx context.Context, ops []backend.Op) []backend.Result
	name       func() string
	partition  func(key string) (part, parts int)
	subscribe  func(ctx context.Context, channel string, events backend.Events) error
}

func (c *client) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if c.setNX != nil {
		return c.setNX(ctx, key, token, ttl)
	}
	return c.FaultNode.SetNX(ctx, key, token, ttl)
}

func (c *client) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	if c.evalDelete != nil {
		return c.evalDelete(ctx, key, token)
	}
	return c.FaultNode.EvalDelete(ctx, key, token)
}

func (c *client) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if c.extend != nil {
		return c.extend(ctx, key, token, ttl)
	}
	return c.FaultNode.Extend(ctx, key, token, ttl)
}

func (c *client) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	if c.eval != nil {
		return c.eval(ctx, s, keys, args)
	}
	return c.FaultNode.Eval(ctx, s, keys, args)
}

func (c *client) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	if c.batch != nil {
		return c.batch(ctx, ops)
	}
	return c.FaultNode.Batch(ctx, ops)
}

func (c *client) Partition(key string) (part, parts int) {
	if c.partition != nil {
		return c.partition(key)
	}
	return c.FaultNode.Partition(key)
}

func (c *client) Name() string {
	if c.name != nil {
		return c.name()
	}
	return c.FaultNode.Name()
}

func (c *client) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	if c.subscribe != nil {
		return c.subscribe(ctx, channel, events)
	}
	return c.FaultNode.Subscribe(ctx, channel, events)
}

// faulty puts faults in front of every method that the client has from the network.
func (c *client) faulty(faults ...faulty.Fault) {
	f := faulty.NewFaultNode(c.FaultNode)
	f.Set(faults...)
	c.FaultNode = f
}

// value returns the value of key.
func (c *client) value(key string) string {
	e, _ := c.server.Inspect(context.Background(), key)
	return e.Value
}

// ttl returns the time to live of key.
func (c *client) ttl(key string) time.Duration {
	e, _ := c.server.Inspect(context.Background(), key)
	return e.TTL
}

// rename makes every method of Node use other keys and tokens.
func (c *client) rename(key, token func(string) string) {
	n := c.FaultNode
	c.setNX = func(ctx context.Context, k, t string, ttl time.Duration) (bool, error) {
		return n.SetNX(ctx, key(k), token(t), ttl)
	}
	c.evalDelete = func(ctx context.Context, k, t string) (bool, error) { return n.EvalDelete(ctx, key(k), token(t)) }
	c.extend = func(ctx context.Context, k, t string, ttl time.Duration) (bool, error) {
		return n.Extend(ctx, key(k), token(t), ttl)
	}
	c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
		ops = slices.Clone(ops)
		for i := range ops {
			if ops[i].Kind != backend.OpEval {
				ops[i].Key, ops[i].Token = key(ops[i].Key), token(ops[i].Token)
			}
		}
		return n.Batch(ctx, ops)
	}
}

func same(s string) string { return s }

func beforeNUL(s string) string {
	before, _, _ := strings.Cut(s, "\x00")
	return before
}

// listens changes the events of every subscription.
func (c *client) listens(change func(backend.Events) backend.Events) {
	n := c.FaultNode
	c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
		return n.Subscribe(ctx, channel, change(events))
	}
}

// hears changes how messages of every subscription are handled.
func (c *client) hears(message func(next func(string), payload string)) {
	c.listens(func(e backend.Events) backend.Events {
		next := e.Message
		e.Message = func(payload string) { message(next, payload) }
		return e
	})
}

// errNoScript is the reply of a server that has forgotten a script.
var errNoScript = backend.MarkReply(errors.New("NOSCRIPT No matching script"))

// forgets returns a function that reports whether the server has forgotten the script of that
// name since its last call for the script.
func (c *client) forgets() func(name string) bool {
	var mu sync.Mutex
	known := map[string]int64{}
	return func(name string) bool {
		mu.Lock()
		defer mu.Unlock()
		flushes := c.lab.flushes.Load()
		forgotten := known[name] != flushes
		known[name] = flushes
		return forgotten
	}
}

// plain removes the marks from an error, unless it is the error of a ctx.
func plain(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return errors.New(err.Error())
}

// The names of broken nodes that have a data race.
const (
	keepsOps       = "Batch keeps ops"
	keepsArguments = "Eval keeps its arguments"
	keepsBatched   = "Batch keeps arguments"
)

// A brokenNode breaks a rule. The checks in fails must detect it.
type brokenNode struct {
	name  string
	wreck func(c *client)
	fails []string
}

var brokenNodes = []brokenNode{
	// SetNX.
	{"SetNX grants everything", func(c *client) {
		c.setNX = func(context.Context, string, string, time.Duration) (bool, error) { return true, nil }
	}, []string{"SetNX/free", "SetNX/held by another", "race/one winner"}},
	{"SetNX refuses everything", func(c *client) {
		c.setNX = func(context.Context, string, string, time.Duration) (bool, error) { return false, nil }
	}, []string{"SetNX/free"}},
	{"SetNX overwrites", func(c *client) {
		c.setNX = func(_ context.Context, key, token string, ttl time.Duration) (bool, error) {
			c.server.Set(key, token, ttl)
			return true, nil
		}
	}, []string{"SetNX/held by another", "SetNX/held by itself", "other type/SetNX"}},
	{"SetNX overwrites and returns false", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if err == nil && !ok {
				c.server.Set(key, token, ttl)
			}
			return ok, err
		}
	}, []string{"SetNX/held by another", "SetNX/refusal changes nothing"}},
	{"SetNX returns an error if the key is held", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if err == nil && !ok {
				return false, errors.New("redis: nil")
			}
			return ok, err
		}
	}, []string{"SetNX/held by another"}},
	{"SetNX grants to its own token", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			return ok || err == nil && token != "" && c.value(key) == token, err
		}
	}, []string{"SetNX/held by itself"}},
	{"SetNX extends a held key", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if err == nil && !ok && c.value(key) == token {
				n.Extend(ctx, key, token, ttl)
			}
			return ok, err
		}
	}, []string{"SetNX/refusal changes nothing"}},
	{"SetNX ignores the ttl", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, _ time.Duration) (bool, error) {
			return n.SetNX(ctx, key, token, 1000*time.Hour)
		}
	}, []string{"SetNX/ttl", "EvalDelete/too late", "Extend/expired"}},
	{"SetNX treats milliseconds as seconds", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.SetNX(ctx, key, token, 1000*ttl)
		}
	}, []string{"SetNX/ttl"}},
	{"SetNX rounds up to seconds", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.SetNX(ctx, key, token, (ttl + time.Second - 1).Truncate(time.Second))
		}
	}, []string{"SetNX/ttl"}},
	{"SetNX halves the ttl", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.SetNX(ctx, key, token, ttl/2)
		}
	}, []string{"SetNX/ttl"}},
	{"SetNX cuts off the fraction of a millisecond", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.SetNX(ctx, key, token, ttl.Truncate(time.Millisecond))
		}
	}, []string{"SetNX/rounds up"}},
	{"SetNX checks, then sets", func(c *client) {
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			e, err := c.server.Inspect(ctx, key)
			if err != nil || e.Found {
				return false, err
			}
			time.Sleep(time.Microsecond)
			c.server.Set(key, token, ttl)
			return true, nil
		}
	}, []string{"race/one winner"}},

	// EvalDelete.
	{"EvalDelete deletes for any token", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, _ string) (bool, error) {
			return n.EvalDelete(ctx, key, c.value(key))
		}
	}, []string{"EvalDelete/foreign", "EvalDelete/too late", "SetNX/free"}},
	{"EvalDelete never deletes", func(c *client) {
		c.evalDelete = func(context.Context, string, string) (bool, error) { return false, nil }
	}, []string{"EvalDelete/own"}},
	{"EvalDelete always returns true", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			_, err := n.EvalDelete(ctx, key, token)
			return err == nil, err
		}
	}, []string{"EvalDelete/missing", "EvalDelete/foreign", "EvalDelete/own"}},
	{"EvalDelete returns an error if the key is missing", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			ok, err := n.EvalDelete(ctx, key, token)
			if err == nil && !ok && c.value(key) == "" {
				return false, errors.New("no such key")
			}
			return ok, err
		}
	}, []string{"EvalDelete/missing"}},
	{"EvalDelete does not find an empty token", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if token == "" && c.value(key) == "" {
				return true, nil
			}
			return n.EvalDelete(ctx, key, token)
		}
	}, []string{"EvalDelete/missing", "bytes/empty token"}},
	{"EvalDelete checks, then deletes", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			e, err := c.server.Inspect(ctx, key)
			if err != nil || !e.Found || e.Value != token {
				return false, err
			}
			time.Sleep(time.Duration(1 + rand.IntN(300)*int(time.Microsecond)))
			return n.EvalDelete(ctx, key, c.value(key))
		}
	}, []string{"race/one release"}},
	{"a key of another type is an error", func(c *client) {
		n := c.FaultNode
		wrongType := backend.MarkReply(errors.New("WRONGTYPE Operation against a key holding the wrong kind of value"))
		other := func(key string) bool {
			e, _ := c.server.Inspect(context.Background(), key)
			return e.Found && e.Value == "" && e.TTL == backend.NoExpiry
		}
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if other(key) {
				return false, wrongType
			}
			return n.EvalDelete(ctx, key, token)
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if other(key) {
				return false, wrongType
			}
			return n.Extend(ctx, key, token, ttl)
		}
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if other(keys[0]) {
				return nil, wrongType
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"other type/EvalDelete", "other type/Extend"}},

	// Extend.
	{"Extend creates", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if ok, err := n.SetNX(ctx, key, token, ttl); ok || err != nil {
				return ok, err
			}
			return n.Extend(ctx, key, token, ttl)
		}
	}, []string{"Extend/missing", "Extend/expired"}},
	{"Extend checks, then sets", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if ok && err == nil && c.ttl(key) != backend.NoExpiry {
				time.Sleep(time.Microsecond)
				c.server.Set(key, token, max(ttl, c.ttl(key)))
			}
			return ok, err
		}
	}, []string{"race/one release"}},
	{"Extend revives an expired key", func(c *client) {
		n := c.FaultNode
		var last sync.Map
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if ok {
				last.Store(key, token)
			}
			return ok, err
		}
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			last.CompareAndDelete(key, token)
			return n.EvalDelete(ctx, key, token)
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if was, ok := last.Load(key); ok && was == token {
				n.SetNX(ctx, key, token, ttl)
			}
			return n.Extend(ctx, key, token, ttl)
		}
	}, []string{"Extend/expired"}},
	{"Extend shortens", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if ok && err == nil && c.ttl(key) > ttl {
				c.server.Set(key, token, ttl)
			}
			return ok, err
		}
	}, []string{"Extend/never shortens"}},
	{"Extend gives a key without expiry an expiry", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if ok && err == nil && c.ttl(key) == backend.NoExpiry {
				c.server.Set(key, token, ttl)
			}
			return ok, err
		}
	}, []string{"Extend/no expiry"}},
	{"Extend ignores the token", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, _ string, ttl time.Duration) (bool, error) {
			return n.Extend(ctx, key, c.value(key), ttl)
		}
	}, []string{"Extend/foreign", "Extend/foreign changes nothing"}},
	{"Extend ignores the token and returns false", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			held := c.value(key)
			_, err := n.Extend(ctx, key, held, ttl)
			return err == nil && held == token && held != "", err
		}
	}, []string{"Extend/foreign changes nothing"}},
	{"Extend returns true and does nothing", func(c *client) {
		c.extend = func(_ context.Context, key, token string, _ time.Duration) (bool, error) {
			return c.value(key) == token, nil
		}
	}, []string{"Extend/own"}},
	{"Extend extends and returns false", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			_, err := n.Extend(ctx, key, token, ttl)
			return false, err
		}
	}, []string{"Extend/own"}},
	{"Extend treats milliseconds as seconds", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.Extend(ctx, key, token, 1000*ttl)
		}
	}, []string{"Extend/ttl"}},
	{"Extend halves the ttl", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.Extend(ctx, key, token, ttl*3/4)
		}
	}, []string{"Extend/ttl"}},
	{"Extend cuts off the fraction of a millisecond", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			return n.Extend(ctx, key, token, ttl.Truncate(time.Millisecond))
		}
	}, []string{"Extend/rounds up"}},
	{"Extend returns an error if the key is missing", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if !ok && err == nil {
				err = errors.New("lost")
			}
			return ok, err
		}
	}, []string{"Extend/missing", "Extend/foreign"}},

	// Keys and tokens.
	{"keys end at NUL", func(c *client) { c.rename(beforeNUL, same) }, []string{"bytes/NUL", "bytes/NUL at the end", "bytes/every byte"}},
	{"tokens end at NUL", func(c *client) { c.rename(same, beforeNUL) }, []string{"bytes/NUL", "bytes/NUL at the end", "bytes/every byte"}},
	{"tokens are trimmed", func(c *client) { c.rename(same, strings.TrimSpace) }, []string{"bytes/newlines", "bytes/spaces and quotes"}},
	{"keys are UTF-8", func(c *client) {
		c.rename(func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }, same)
	}, []string{"bytes/no UTF-8"}},
	{"tokens are UTF-8", func(c *client) {
		c.rename(same, func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") })
	}, []string{"bytes/no UTF-8"}},
	{"tokens are ASCII", func(c *client) {
		c.rename(same, func(s string) string {
			return strings.Map(func(r rune) rune { return min(r, 0x7F) }, s)
		})
	}, []string{"bytes/UTF-8"}},
	{"case is ignored", func(c *client) { c.rename(strings.ToUpper, same) }, []string{"bytes/UTF-8", "bytes/braces", "bytes/pattern"}},
	{"keys end at a brace", func(c *client) {
		c.rename(func(s string) string { return strings.ReplaceAll(s, "}b", "}") }, same)
		n := c.FaultNode
		c.setNX = func(ctx context.Context, k, t string, ttl time.Duration) (bool, error) {
			if strings.HasSuffix(k, "{c") {
				return false, backend.MarkReply(errors.New("CROSSSLOT"))
			}
			return n.SetNX(ctx, k, t, ttl)
		}
	}, []string{"bytes/braces"}},
	{"tokens are numbers", func(c *client) {
		c.rename(same, func(s string) string { return strings.TrimLeft(s, "0") })
	}, []string{"bytes/digits"}},
	{"keys are patterns", func(c *client) {
		c.rename(func(s string) string { return strings.ReplaceAll(strings.ReplaceAll(s, "[b]", "b"), "*", "") }, strings.ToLower)
		c.rename(same, strings.ToUpper)
	}, []string{"bytes/pattern"}},
	{"lines are commands", func(c *client) {
		c.rename(same, func(s string) string {
			line, _, _ := strings.Cut(s, "\r\n")
			return line
		})
	}, []string{"bytes/protocol", "bytes/newlines"}},
	{"tokens have at most 64 KB", func(c *client) {
		c.rename(same, func(s string) string { return s[:min(len(s), 1<<16)] })
	}, []string{"bytes/1 MB"}},
	{"an empty token is an error", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if token == "" {
				return false, errors.New("empty token")
			}
			return n.SetNX(ctx, key, token, ttl)
		}
	}, []string{"bytes/empty token"}},
	{"scripts treat arguments as text", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			args = slices.Clone(args)
			for i := range args {
				args[i] = strings.ToValidUTF8(args[i], "?")
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"bytes/Eval"}},
	{"batches treat arguments as text", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			ops = slices.Clone(ops)
			for i := range ops {
				if ops[i].Kind == backend.OpSetNX {
					ops[i].Token = beforeNUL(ops[i].Token)
				}
			}
			return n.Batch(ctx, ops)
		}
	}, []string{"bytes/Batch"}},

	// Contexts and deadlines.
	{"panics if ctx has ended", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if ctx.Err() != nil {
				panic("no time left")
			}
			return n.SetNX(ctx, key, token, ttl)
		}
	}, []string{"ended ctx/SetNX"}},
	{"sends although ctx has ended", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(context.WithoutCancel(ctx), key, token, ttl)
			if ctx.Err() != nil {
				return false, backend.MarkNotExecuted(ctx.Err())
			}
			return ok, err
		}
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			ok, err := n.EvalDelete(context.WithoutCancel(ctx), key, token)
			if ctx.Err() != nil {
				return false, backend.MarkNotExecuted(ctx.Err())
			}
			return ok, err
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(context.WithoutCancel(ctx), key, token, ttl)
			if ctx.Err() != nil {
				return false, backend.MarkNotExecuted(ctx.Err())
			}
			return ok, err
		}
	}, []string{"ended ctx/SetNX", "ended ctx/EvalDelete", "ended ctx/Extend"}},
	{"sends slightly later although ctx has ended", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if err := ctx.Err(); err != nil {
				time.AfterFunc(5*time.Millisecond, func() { n.SetNX(context.WithoutCancel(ctx), key, token, ttl) })
				return false, backend.MarkNotExecuted(err)
			}
			return n.SetNX(ctx, key, token, ttl)
		}
	}, []string{"ended ctx/SetNX"}},
	{"ignores that ctx has ended", func(c *client) { c.faulty(faulty.IgnoreContext()) }, []string{
		// The fault node itself rejects an ended ctx, so only a stalled server shows the defect.
		"stalled server/SetNX", "stalled server/EvalDelete", "stalled server/Extend", "stalled server/Eval",
		"stalled server/Batch", "stalled server/many at once",
		"stalled server/recovers", "slow connection/deadline"}},
	{"a ctx that has ended is no error", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if ctx.Err() != nil {
				return backend.Reply{int64(0), int64(0)}, nil
			}
			return r, err
		}
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			if ctx.Err() != nil {
				return make([]backend.Result, len(ops))
			}
			return n.Batch(ctx, ops)
		}
	}, []string{"ended ctx/Eval", "ended ctx/Batch"}},
	{"does not mark an unsent operation", func(c *client) {
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			return c.FaultNode.EvalDelete(ctx, key, token)
		}
	}, []string{"ended ctx/EvalDelete"}},
	{"a time-out with another error", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if err != nil && ctx.Err() != nil {
				err = errors.New("i/o timeout")
			}
			return ok, err
		}
	}, []string{"stalled server/SetNX", "stalled server/many at once", "slow connection/deadline", "ended ctx/SetNX"}},
	{"always returns slightly late", func(c *client) {
		n := c.FaultNode
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if err != nil {
				time.Sleep(200 * time.Millisecond)
			}
			return ok, err
		}
	}, []string{"stalled server/Extend"}},
	{"marks a time-out as not executed", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			return ok, backend.MarkNotExecuted(err)
		}
	}, []string{"stalled server/SetNX", "lost reply/SetNX"}},
	{"answers in place of a silent server", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if errors.Is(err, context.DeadlineExceeded) {
				return false, nil
			}
			return ok, err
		}
	}, []string{"stalled server/SetNX", "stalled server/recovers"}},
	{"fails forever after a time-out", func(c *client) {
		n := c.FaultNode
		var lost atomic.Bool
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if lost.Load() {
				return false, errors.New("the connection is closed")
			}
			ok, err := n.SetNX(ctx, key, token, ttl)
			if err != nil {
				lost.Store(true)
			}
			return ok, err
		}
	}, []string{"stalled server/recovers", "slow connection/after a time-out"}},
	{"never connects if that is slow", func(c *client) {
		var never atomic.Bool
		c.faulty(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			own, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
			if ops[0].Kind == faulty.OpSubscribe {
				return next(ctx, ops)
			}
			if !never.Load() {
				if r := next(own, ops); r[0].Err == nil || ctx.Err() != nil || own.Err() == nil {
					return r
				}
				never.Store(true)
			}
			return faulty.LoseRequest(nil)(ctx, ops, next)
		})
	}, []string{"slow connection/time enough"}},

	// Connections.
	{"sends an operation without a reply again", func(c *client) {
		n := c.FaultNode
		again := func(do func() error) {
			for range 3 {
				if err := do(); !errors.Is(err, context.DeadlineExceeded) && (err == nil || backend.NotExecuted(err)) {
					return
				}
			}
		}
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
			again(func() error { ok, err = n.SetNX(ctx, key, token, ttl); return err })
			return ok, err
		}
		c.evalDelete = func(ctx context.Context, key, token string) (ok bool, err error) {
			again(func() error { ok, err = n.EvalDelete(ctx, key, token); return err })
			return ok, err
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (ok bool, err error) {
			again(func() error { ok, err = n.Extend(ctx, key, token, ttl); return err })
			return ok, err
		}
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (r backend.Reply, err error) {
			again(func() error { r, err = n.Eval(ctx, s, keys, args); return err })
			return r, err
		}
		c.batch = func(ctx context.Context, ops []backend.Op) (r []backend.Result) {
			again(func() error {
				r = n.Batch(ctx, ops)
				for _, r := range r {
					if r.Err != nil {
						return r.Err
					}
				}
				return nil
			})
			return r
		}
	}, []string{"lost reply/SetNX", "lost reply/EvalDelete", "lost reply/Extend", "lost reply/Eval", "lost reply/Batch"}},
	{"returns false for a lost reply", func(c *client) {
		n := c.FaultNode
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			ok, err := n.EvalDelete(ctx, key, token)
			if err != nil && ctx.Err() == nil {
				return false, nil
			}
			return ok, err
		}
	}, []string{"lost reply/EvalDelete"}},
	{"does not reconnect", func(c *client) {
		n := c.FaultNode
		var once atomic.Int64
		c.lab.onDisconnect = func() { once.Add(1) }
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if once.Load() > 0 {
				return false, errors.New("use of closed network connection")
			}
			return n.EvalDelete(ctx, key, token)
		}
	}, []string{"broken connection/recovers", "Subscribe/broken connection"}},

	// Concurrency.
	{"replies go to other callers", func(c *client) {
		n := c.FaultNode
		var mu sync.Mutex
		var last bool
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			if err != nil {
				return ok, err
			}
			mu.Lock()
			last = ok
			mu.Unlock()
			time.Sleep(time.Duration(rand.IntN(1000)))
			mu.Lock()
			defer mu.Unlock()
			return last, nil
		}
	}, []string{"race/own answers"}},

	// Scripts.
	{"a script gets only its first key", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			return n.Eval(ctx, s, keys[:1], args)
		}
	}, []string{"Eval/keys and arguments"}},
	{"a script in a batch gets only its first key", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			ops = slices.Clone(ops)
			for i, op := range ops {
				ops[i].Keys = op.Keys[:min(1, len(op.Keys))]
			}
			return n.Batch(ctx, ops)
		}
	}, []string{"Batch/keys and arguments"}},
	{"a script loses an empty last argument", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if i := len(args) - 1; i >= 0 && args[i] == "" {
				args = args[:i]
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"Eval/keys and arguments"}},
	{"keys of a script end at a NUL", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			keys = slices.Clone(keys)
			for i := range keys {
				keys[i] = beforeNUL(keys[i])
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"Eval/keys and arguments"}},
	{"numbers of scripts are rounded", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			for i, e := range r {
				if n, ok := e.(int64); ok {
					r[i] = int64(float32(n))
				}
			}
			return r, err
		}
	}, []string{"Eval/numbers"}},
	{"keys and arguments are swapped", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if len(args) > 0 {
				keys, args = args[:1], append([]string{keys[0]}, args[1:]...)
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"Eval/delete", "Eval/extend", "Eval/keys and arguments"}},
	{"integers come as strings", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			for i := range r {
				r[i] = fmt.Sprint(r[i])
			}
			return r, err
		}
	}, []string{"Eval/delete", "Eval/extend", "Eval/inspect", "Eval/numbers"}},
	{"strings come as bytes", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			for i, e := range r {
				if s, ok := e.(string); ok {
					r[i] = []byte(s)
				}
			}
			return r, err
		}
	}, []string{"Eval/inspect"}},
	{"a script's error becomes a reply", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if err != nil && strings.HasPrefix(err.Error(), "ERR") {
				return backend.Reply{err.Error()}, nil
			}
			return r, err
		}
	}, []string{"Eval/error"}},
	{"a forgotten script is an error", func(c *client) {
		n, forgotten := c.FaultNode, c.forgets()
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if forgotten("delete") {
				return false, errNoScript
			}
			return n.EvalDelete(ctx, key, token)
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if forgotten("extend") {
				return false, errNoScript
			}
			return n.Extend(ctx, key, token, ttl)
		}
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if forgotten(s.Name()) {
				return nil, errNoScript
			}
			return n.Eval(ctx, s, keys, args)
		}
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := n.Batch(ctx, ops)
			if forgotten("batch") {
				for i := range r {
					if ops[i].Kind != backend.OpSetNX {
						r[i] = backend.Result{Err: errNoScript}
					}
				}
			}
			return r
		}
	}, []string{"flushed scripts/EvalDelete", "flushed scripts/Extend", "flushed scripts/Eval",
		"flushed scripts/Batch", "flushed scripts/many at once"}},
	{"a script does not go to the server", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if s.Name() == "inspect" {
				return c.server.Eval(ctx, s, keys, args)
			}
			return n.Eval(ctx, s, keys, args)
		}
	}, []string{"flushed scripts/forgotten"}},
	{"forgotten scripts of a batch run last", func(c *client) {
		n, forgotten := c.FaultNode, c.forgets()
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			if !forgotten("any") {
				return n.Batch(ctx, ops)
			}
			results := make([]backend.Result, len(ops))
			for _, script := range []bool{false, true} {
				for i, op := range ops {
					if (op.Kind != backend.OpSetNX) == script {
						results[i] = n.Batch(ctx, []backend.Op{op})[0]
					}
				}
			}
			return results
		}
	}, []string{"flushed scripts/order in a batch"}},

	// Batch.
	{"Batch runs backwards", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			ops = slices.Clone(ops)
			slices.Reverse(ops)
			r := n.Batch(ctx, ops)
			slices.Reverse(r)
			return r
		}
	}, []string{"Batch/order", "Batch/large"}},
	{"Batch answers backwards", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := n.Batch(ctx, ops)
			slices.Reverse(r)
			return r
		}
	}, []string{"Batch/order", "Batch/order of replies"}},
	{"Batch sends at most 100", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := make([]backend.Result, len(ops))
			copy(r, n.Batch(ctx, ops[:min(len(ops), 300)]))
			return r
		}
	}, []string{"Batch/large"}},
	{"Batch fails as a whole", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := n.Batch(ctx, ops)
			for i := range r {
				if r[i].Err != nil {
					for j := range r {
						r[j] = backend.Result{Err: r[i].Err}
					}
					break
				}
			}
			return r
		}
	}, []string{"Batch/fails alone"}},
	{"Batch stops at the first failure", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := n.Batch(ctx, ops)
			for i := range r {
				if r[i].Err != nil {
					return r[:i+1]
				}
			}
			return r
		}
	}, []string{"Batch/fails alone"}},
	{keepsOps, func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r := n.Batch(ctx, ops)
			if len(ops) > 0 && errors.Is(r[0].Err, context.DeadlineExceeded) && !backend.NotExecuted(r[0].Err) {
				time.AfterFunc(time.Millisecond, func() { n.Batch(context.WithoutCancel(ctx), ops) })
			}
			return r
		}
	}, []string{"Batch/keeps no ops"}},
	{keepsBatched, func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			r, own := n.Batch(ctx, ops), slices.Clone(ops)
			if len(ops) > 0 && errors.Is(r[0].Err, context.DeadlineExceeded) && !backend.NotExecuted(r[0].Err) {
				time.AfterFunc(time.Millisecond, func() { n.Batch(context.WithoutCancel(ctx), own) })
			}
			return r
		}
	}, []string{"Batch/keeps no arguments"}},
	{keepsArguments, func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if errors.Is(err, context.Canceled) && !backend.NotExecuted(err) {
				time.AfterFunc(time.Millisecond, func() { n.Eval(context.WithoutCancel(ctx), s, keys, args) })
			}
			return r, err
		}
	}, []string{"Eval/keeps no arguments"}},
	{"an empty Batch has a result", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			if len(ops) == 0 {
				return make([]backend.Result, 1)
			}
			return n.Batch(ctx, ops)
		}
	}, []string{"Batch/empty"}},
	{"an empty Batch asks the server", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			if len(ops) == 0 {
				n.EvalDelete(ctx, "k", "none")
				return nil
			}
			return n.Batch(ctx, ops)
		}
	}, []string{"Batch/empty"}},

	// Inspect.
	{"inspect answers from a cache", func(c *client) {
		n := c.FaultNode
		var cache sync.Map
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			if reply, ok := cache.Load(s.Name() + strings.Join(keys, " ")); ok && s == lua.Inspect {
				return slices.Clone(reply.(backend.Reply)), nil
			}
			reply, err := n.Eval(ctx, s, keys, args)
			if err == nil {
				cache.Store(s.Name()+strings.Join(keys, " "), slices.Clone(reply))
			}
			return reply, err
		}
	}, []string{"race/own answers"}},

	// Names.
	{"the name changes", func(c *client) {
		var n atomic.Int64
		c.name = func() string { return fmt.Sprint("node ", n.Add(1)) }
	}, []string{"Name/stable"}},
	{"the name is empty", func(c *client) {
		c.name = func() string { return "" }
	}, []string{"Name/stable"}},
	{"the server is asked for its name", func(c *client) {
		n := c.FaultNode
		c.name = func() string {
			ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
			defer cancel()
			n.EvalDelete(ctx, "k", "none")
			return n.Name()
		}
	}, []string{"Name/no I/O"}},

	// Partition.
	{"a key moves between parts", func(c *client) {
		var n atomic.Int64
		c.partition = func(string) (int, int) { return int(n.Add(1)) % 4, 4 }
	}, []string{"Partition/stable"}},
	{"a part number is too high", func(c *client) {
		c.partition = func(key string) (int, int) { return len(key), 2 }
	}, []string{"Partition/stable"}},
	{"the number of parts changes", func(c *client) {
		c.partition = func(key string) (int, int) { return 0, 1 + len(key)%2 }
	}, []string{"Partition/stable"}},

	// Subscribe.
	{"Subscribe is ready too early", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			events.Ready()
			time.Sleep(time.Microsecond)
			events.Ready = func() {}
			return n.Subscribe(ctx, channel, events)
		}
	}, []string{"Subscribe/Ready means heard", "Subscribe/hears", "Subscribe/stalled server"}},
	{"Subscribe is never ready", func(c *client) {
		c.listens(func(e backend.Events) backend.Events {
			e.Ready = func() {}
			return e
		})
	}, []string{"Subscribe/hears", "Subscribe/ends with ctx"}},
	{"Subscribe is ready twice", func(c *client) {
		c.listens(func(e backend.Events) backend.Events {
			ready := e.Ready
			e.Ready = func() { ready(); ready() }
			return e
		})
	}, []string{"Subscribe/hears"}},
	{"Subscribe loses every tenth message", func(c *client) {
		var n atomic.Int64
		c.hears(func(next func(string), payload string) {
			if n.Add(1)%10 != 0 {
				next(payload)
			}
		})
	}, []string{"Subscribe/order"}},
	{"Subscribe swaps messages", func(c *client) {
		c.listens(func(e backend.Events) backend.Events {
			next, held := e.Message, ""
			e.Message = func(payload string) {
				if held == "" && strings.HasPrefix(payload, "message 7") {
					held = payload
					return
				}
				next(payload)
				if held != "" {
					next(held)
					held = ""
				}
			}
			return e
		})
	}, []string{"Subscribe/order"}},
	{"Subscribe trims messages", func(c *client) {
		c.hears(func(next func(string), payload string) { next(string(bytes.TrimSpace([]byte(payload)))) })
	}, []string{"Subscribe/bytes"}},
	{"Subscribe treats its channel as a pattern", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			prefix, pattern := strings.CutSuffix(channel, "*")
			if !pattern {
				return n.Subscribe(ctx, channel, events)
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			var wg sync.WaitGroup
			defer wg.Wait()
			also, begun := events, make(chan struct{})
			also.Ready = func() { close(begun) }
			wg.Go(func() { n.Subscribe(ctx, prefix+"x", also) })
			<-begun
			return n.Subscribe(ctx, channel, events)
		}
	}, []string{"Subscribe/own channel"}},
	{"Subscribe has one listener for each channel", func(c *client) {
		n := c.FaultNode
		var mu sync.Mutex
		listening := map[string]bool{}
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			mu.Lock()
			again := listening[channel]
			listening[channel] = true
			mu.Unlock()
			if again && ctx.Err() == nil {
				events.Ready()
				<-ctx.Done()
				return ctx.Err()
			}
			return n.Subscribe(ctx, channel, events)
		}
	}, []string{"Subscribe/several at once"}},
	{"Subscribe calls events concurrently", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			next := events.Message
			var wg sync.WaitGroup
			defer wg.Wait()
			events.Message = func(payload string) { wg.Go(func() { next(payload) }) }
			return n.Subscribe(ctx, channel, events)
		}
	}, []string{"Subscribe/one call at a time"}},
	{"Subscribe goes on after the end of ctx", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			own, cancel := context.WithCancel(context.WithoutCancel(ctx))
			defer context.AfterFunc(ctx, func() { time.AfterFunc(3*time.Second, cancel) })()
			if err := n.Subscribe(own, channel, events); ctx.Err() == nil {
				return err
			}
			return ctx.Err()
		}
	}, []string{"Subscribe/ends with ctx", "Subscribe/ends at the deadline", "Subscribe/several at once"}},
	{"Subscribe ends without an error", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			n.Subscribe(ctx, channel, events)
			return nil
		}
	}, []string{"Subscribe/ends with ctx", "Subscribe/ends at the deadline", "Subscribe/ended ctx",
		"Subscribe/broken connection", "Subscribe/stalled server"}},
	{"Subscribe calls events after its end", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			err := n.Subscribe(ctx, channel, events)
			time.AfterFunc(time.Millisecond, func() { events.Message("late") })
			return err
		}
	}, []string{"Subscribe/nothing after the end"}},
	{"Subscribe subscribes although ctx has ended", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			if ctx.Err() != nil {
				events.Ready()
			}
			return n.Subscribe(ctx, channel, events)
		}
	}, []string{"Subscribe/ended ctx"}},
	{"Subscribe takes the only connection", func(c *client) {
		n := c.FaultNode
		var taken atomic.Int64
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			taken.Add(1)
			defer taken.Add(-1)
			return n.Subscribe(ctx, channel, events)
		}
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			if taken.Load() > 0 {
				return false, backend.MarkNotExecuted(errors.New("connection pool exhausted"))
			}
			return n.SetNX(ctx, key, token, ttl)
		}
	}, []string{"Subscribe/lets others work"}},
	{"Subscribe reconnects silently", func(c *client) {
		n := c.FaultNode
		c.subscribe = func(ctx context.Context, channel string, events backend.Events) error {
			for {
				err := n.Subscribe(ctx, channel, events)
				if !errors.Is(err, faulty.ErrDisconnected) {
					return err
				}
				events.Ready = func() {}
			}
		}
	}, []string{"Subscribe/broken connection"}},
	{"Eval does not mark errors", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			return r, plain(err)
		}
	}, []string{"Eval/error replies", "error reply/Eval"}},
	{"Eval marks too much", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if ctx.Err() == nil {
				err = backend.MarkNotExecuted(err)
			}
			return r, err
		}
	}, []string{"Eval/error replies", "error reply/Eval"}},
	{"Eval does not say that a server is a replica", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if errors.Is(err, backend.ErrNotMaster) {
				err = backend.MarkNotExecuted(plain(err))
			}
			return r, err
		}
	}, []string{"Eval/error replies", "error reply/Eval"}},
	{"Batch does not mark errors", func(c *client) {
		n := c.FaultNode
		c.batch = func(ctx context.Context, ops []backend.Op) []backend.Result {
			results := n.Batch(ctx, ops)
			for i := range results {
				results[i].Err = plain(results[i].Err)
			}
			return results
		}
	}, []string{"Batch/error replies", "error reply/Batch"}},
	{"the other methods do not mark errors", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			return ok, plain(err)
		}
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			ok, err := n.EvalDelete(ctx, key, token)
			return ok, plain(err)
		}
		c.extend = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.Extend(ctx, key, token, ttl)
			return ok, plain(err)
		}
	}, []string{"error reply/SetNX", "error reply/EvalDelete", "error reply/Extend"}},
	{"a call does not notice that its connection broke", func(c *client) {
		n := c.FaultNode
		c.setNX = func(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
			ok, err := n.SetNX(ctx, key, token, ttl)
			if errors.Is(err, faulty.ErrDisconnected) {
				<-ctx.Done()
				err = ctx.Err()
			}
			return ok, err
		}
	}, []string{"broken connection/under way"}},
	{"broken connections stay in use for long", func(c *client) {
		n := c.FaultNode
		var stale atomic.Int64 // calls that will fail
		c.lab.onDisconnect = func() { stale.Store(10_000) }
		c.evalDelete = func(ctx context.Context, key, token string) (bool, error) {
			if stale.Add(-1) >= 0 {
				return false, io.EOF
			}
			return n.EvalDelete(ctx, key, token)
		}
	}, []string{"broken connection/recovers"}},
	{"Subscribe does not notice silence", func(*client) {}, []string{"Subscribe/silent connection"}},
}

func TestBrokenNodes(t *testing.T) {
	long.Test(t)
	var mu sync.Mutex
	caught := map[string]bool{} // the checks that failed for some node
	t.Run("nodes", func(t *testing.T) {
		for _, tc := range brokenNodes {
			t.Run(tc.name, func(t *testing.T) {
				if raceDetector && (tc.name == keepsOps || tc.name == keepsArguments || tc.name == keepsBatched) {
					t.Skip("the race detector reports this one before the suite does")
				}
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					l := &lab{client: func(l *lab) backend.Node {
						c := &client{FaultNode: l.network, server: l.server, lab: l}
						tc.wreck(c)
						return c
					}}
					h := l.harness()
					h.Slow = true
					failed := failedChecks(t, backendtest.Check(t.Context(), h))
					for _, name := range tc.fails {
						if !slices.Contains(failed, name) {
							t.Errorf("the check %q does not fail; those that do:\n%s", name, strings.Join(failed, "\n"))
						}
					}
					mu.Lock()
					defer mu.Unlock()
					for _, name := range failed {
						caught[name] = true
					}
				})
			})
		}
	})
	if t.Failed() {
		return
	}
	for _, name := range backendtest.CheckNames() {
		if !caught[name] {
			t.Errorf("no broken node here fails the check %q: can it fail at all?", name)
		}
	}
}

// failedChecks returns the names in an error of Check, sorted.
func failedChecks(t *testing.T, err error) []string {
	var names []string
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		t.Fatalf("Check returned %T: %v", err, err)
	}
	for _, e := range joined.Unwrap() {
		var failed *backendtest.CheckError
		if !errors.As(e, &failed) {
			t.Fatalf("Check returned a %T among its errors: %v", e, e)
		}
		names = append(names, failed.Check)
	}
	slices.Sort(names)
	return names
}
