package redigo

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

var (
	_ backend.Node        = (*Node)(nil)
	_ backend.Batcher     = (*Node)(nil)
	_ backend.Scripter    = (*Node)(nil)
	_ backend.Namer       = (*Node)(nil)
	_ backend.Addresser   = (*Node)(nil)
	_ backend.Explainer   = (*Node)(nil)
	_ backend.Reconnecter = (*Node)(nil)
	_ backend.Subscriber  = (*Node)(nil)
)

// A Pool supplies the connections of a [Node]: a [*redis.Pool], or anything else with
// connections to one master. Closing a connection returns it to the pool.
//
// The connections are redigo's own, or wrap them and forward the methods of
// [redis.ConnWithTimeout] and [redis.ConnWithContext]. A wrapper must not keep the
// arguments of a command after its method has returned, because the Node uses the list
// again.
type Pool interface {
	GetContext(ctx context.Context) (redis.Conn, error)
}

// A Node is a lock server behind a pool of redigo connections. It holds no connection and
// no goroutine between calls. Its methods may be called concurrently.
type Node struct {
	name    string
	named   bool // by WithName
	conns   *supply
	loaded  adapterkit.Loaded
	lists   lists
	holdOff holdOff
}

// New returns a Node over pool. It does no I/O, and panics if pool is nil. The caller
// owns the pool: the Node does not close it, and nobody may close or reconfigure it while
// the Node is in use.
func New(pool Pool, opts ...Option) *Node {
	own, _ := pool.(*redis.Pool)
	if pool == nil || own == nil && reflect.ValueOf(pool).Kind() == reflect.Pointer && reflect.ValueOf(pool).IsNil() {
		panic("redigo: New with a nil pool")
	}
	n := &Node{conns: newSupply(pool, own)}
	for _, o := range opts {
		o(n)
	}
	if n.named = n.name != ""; !n.named {
		// The pool's address in memory, because two nodes over one pool are one server. Two
		// pools do not tell whether they lead to one.
		n.name = fmt.Sprintf("redigo(%p)", n)
		if reflect.ValueOf(pool).Kind() == reflect.Pointer {
			n.name = fmt.Sprintf("redigo(%p)", pool)
		}
	}
	return n
}

// Name returns the label of [WithName]. By default it is made of the pool's address in
// memory, because a pool does not tell which server it dials. Errors and reports then
// show what [Node.Address] describes.
func (n *Node) Name() string { return n.name }

// Address implements [backend.Addresser]. Without [WithName], errors and reports identify
// the node by its position and, once it is known, the server's address, as in "node 2
// (10.0.0.3:6379)". The address is that of the latest connection.
//
// It is known once a connection has failed, or once the pool has dialled with a
// DialContext that passes its context on to package net, as that of [NewPool] does.
func (n *Node) Address() (address string, instead bool) {
	return n.conns.address.get(), !n.named
}

// SetNX stores token at key for ttl if key is free; see [backend.Node].
func (n *Node) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	args := n.lists.take()
	defer n.lists.back(args)
	*args = append(*args, key, token, "NX", "PX", adapterkit.Milliseconds(ttl))
	return stored(n.do(ctx, "SET", *args...))
}

// EvalDelete deletes key if it holds token; see [backend.Node].
func (n *Node) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	return matched(n.eval(ctx, lua.Delete, []any{nil, 1, key, token}))
}

// Extend lets key live for at least ttl from now if it holds token; see
// [backend.Node].
func (n *Node) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return matched(n.eval(ctx, lua.Extend, []any{nil, 1, key, token, adapterkit.Milliseconds(ttl)}))
}

// Eval runs s atomically; see [backend.Scripter]. Its error matches
// [errors.ErrUnsupported] if the server does not have scripts, or does not let this user
// run them.
func (n *Node) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	list := n.lists.take()
	defer n.lists.back(list)
	*list = appendScriptArgs(*list, keys, args)
	return answered(n.eval(ctx, s, *list))
}

// eval runs a script by its hash. It uses the text the first time, and if the server does
// not know the hash. args begins with a place for either.
func (n *Node) eval(ctx context.Context, s *backend.Script, args []any) (any, error) {
	if n.loaded.Has(s) {
		args[0] = s.Hash()
		reply, err := n.do(ctx, "EVALSHA", args...)
		if err == nil || !unknownScript(err) && !n.loaded.Rejects(err) {
			return reply, err
		}
	}
	args[0] = s.Source()
	reply, err := n.do(ctx, "EVAL", args...)
	if err == nil {
		n.loaded.Add(s)
	}
	return reply, err
}

// appendScriptArgs appends the arguments of EVAL or EVALSHA, with a place for the script.
func appendScriptArgs(list []any, keys, args []string) []any {
	list = append(list, nil, len(keys))
	for _, k := range keys {
		list = append(list, k)
	}
	for _, a := range args {
		list = append(list, a)
	}
	return list
}

// do sends one command and returns the reply, or an error that a Node may return. It does
// not use args after it has returned.
func (n *Node) do(ctx context.Context, cmd string, args ...any) (any, error) {
	if size(args) > large {
		// The pipeline may write after it has returned, so it gets a list of its own.
		a := n.pipeline(ctx, []command{{cmd, slices.Clone(args)}})[0]
		return a.reply, a.err
	}
	faults := n.conns.faults.Load()
	c, err := n.conns.take(ctx)
	if err != nil {
		return nil, n.notSent(ctx, err)
	}
	reply, err := n.send(ctx, c, cmd, args)
	n.conns.heard(ctx, c, faults, remarkIn(err))
	n.conns.back(c)
	return reply, err
}

// send makes one round trip on c.
func (n *Node) send(ctx context.Context, c redis.Conn, cmd string, args []any) (any, error) {
	if err := ended(ctx); err != nil {
		return nil, backend.MarkNotExecuted(err)
	}
	w := n.conns.watch(ctx, c)
	defer n.conns.over(w)
	var reply any
	var err error
	if deadline, ok := ctx.Deadline(); ok {
		reply, err = redis.DoWithTimeout(c, left(deadline), cmd, args...)
	} else {
		reply, err = c.Do(cmd, args...)
	}
	if err != nil {
		return nil, n.failure(ctx, err)
	}
	return reply, nil
}

// left returns the time until deadline. It is never zero, because that means for ever to
// redigo.
func left(deadline time.Time) time.Duration {
	return max(time.Until(deadline), time.Nanosecond)
}

// stored reads the reply to SET NX.
func stored(reply any, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	switch reply {
	case "OK":
		return true, nil
	case nil:
		return false, nil
	}
	return false, fmt.Errorf("redigo: SET NX answered a %T, want OK or nil", reply)
}

// matched reads the reply to a script that answers 1 or 0.
func matched(reply any, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, ok := reply.(int64)
	switch {
	case !ok:
		return false, fmt.Errorf("redigo: a script answered a %T, want an integer", reply)
	case n != 0 && n != 1:
		return false, fmt.Errorf("redigo: a script answered %d, want 1 or 0", n)
	}
	return n == 1, nil
}

// answered reads the reply to a script.
func answered(reply any, err error) (backend.Reply, error) {
	if err != nil {
		return nil, unsupported(err)
	}
	return backend.NewReply(reply)
}
