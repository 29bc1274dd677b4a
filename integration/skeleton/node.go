// Package skeleton is the adapter that docs/adapters.md shows, with a client to run it.
package skeleton

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A Node locks on the server of a client.
type Node struct {
	client *Client // Do(ctx context.Context, args ...string) (any, error)
	loaded adapterkit.Loaded
}

func (n *Node) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r, err := n.do(ctx, "SET", key, token, "NX", "PX", ms(ttl))
	return r != nil, err // nil: somebody else has the key
}

func (n *Node) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	return n.yes(ctx, lua.Delete, key, token)
}

func (n *Node) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return n.yes(ctx, lua.Extend, key, token, ms(ttl))
}

func (n *Node) yes(ctx context.Context, s *backend.Script, key string, args ...string) (bool, error) {
	r, err := n.Eval(ctx, s, []string{key}, args)
	if err != nil {
		return false, err
	}
	i, err := r.Int(0)
	return i == 1, err
}

// Eval makes the node a Scripter. It sends the hash of a script that has run.
func (n *Node) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	send := func(command, script string) (any, error) { // with copies of keys and args
		return n.do(ctx, slices.Concat([]string{command, script, strconv.Itoa(len(keys))}, keys, args)...)
	}
	r, err := any(nil), errors.New("NOSCRIPT")
	if n.loaded.Has(s) {
		r, err = send("EVALSHA", s.Hash())
	}
	if err != nil && strings.HasPrefix(err.Error(), "NOSCRIPT") {
		r, err = send("EVAL", s.Source())
	}
	if err != nil {
		return nil, err
	}
	n.loaded.Add(s)
	return backend.NewReply(r)
}

// do sends one command, once.
func (n *Node) do(ctx context.Context, args ...string) (any, error) {
	if err := ctx.Err(); err != nil {
		return nil, backend.MarkNotExecuted(err) // nothing was sent
	}
	r, err := n.client.Do(ctx, args...)
	var answer ServerError // what your driver calls an error reply
	if errors.As(err, &answer) {
		return nil, backend.MarkReply(err)
	}
	return r, backend.MarkTimeout(backend.HideAddress(err))
}

func ms(d time.Duration) string { return strconv.FormatInt(adapterkit.Milliseconds(d), 10) }
