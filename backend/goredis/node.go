package goredis

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

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
	_ backend.Partitioner = (*Node)(nil)
	_ backend.Reconnecter = (*Node)(nil)
	_ backend.Subscriber  = (*Node)(nil)
)

// A Node is one lock server behind a go-redis client: a [backend.Node] with every
// optional capability. Make one with [New].
//
// Its methods may be called concurrently. It owns no connection, and no goroutine between
// calls.
type Node struct {
	route  route
	name   string
	vague  bool // the name is that of the client, and does not identify the server
	loaded adapterkit.Loaded

	// How Subscribe watches its connections. Tests make it faster.
	setup, heartbeat, silence, remap time.Duration
}

// New returns a node that locks on the server, Sentinel set or Cluster behind client. It
// does no I/O, and does not change the client or its settings. The caller closes the
// client when the node is no longer in use.
//
// Over a [redis.Ring] every method returns an error that matches [errors.ErrUnsupported].
// New panics if client is nil.
func New(client redis.UniversalClient, opts ...Option) *Node {
	if v := reflect.ValueOf(client); !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		panic("goredis: New with a nil client")
	}
	n := &Node{
		setup:     5 * time.Second,
		heartbeat: 3 * time.Second,
		silence:   8 * time.Second,
		remap:     2 * time.Second,
	}
	switch client := client.(type) {
	case *redis.Client:
		n.route = newSingle(client)
	case *redis.ClusterClient:
		n.route = &cluster{client: client}
	case interface{ Options() *redis.RingOptions }: // a Ring, or a type that embeds one
		n.route = ring{}
	default:
		n.route = &wrapped{client: client}
	}
	for _, o := range opts {
		o(n)
	}
	if n.name == "" {
		n.name, n.vague = n.label(client)
	}
	return n
}

// label returns the default name of n, and whether it does not identify the server.
func (n *Node) label(client redis.UniversalClient) (name string, vague bool) {
	switch c := client.(type) {
	case interface{ Options() *redis.Options }:
		// All Sentinel clients give the same address.
		o := c.Options()
		if o.Addr != "FailoverClient" && (o.Network == "unix" || backend.PlainAddress(o.Addr)) {
			return o.Addr, false
		}
	case interface{ Options() *redis.ClusterOptions }:
		addrs := slices.Sorted(slices.Values(c.Options().Addrs))
		if len(addrs) > 0 && !slices.ContainsFunc(addrs, func(a string) bool { return !backend.PlainAddress(a) }) {
			return strings.Join(addrs, ","), false
		}
	}
	if v := reflect.ValueOf(client); v.Kind() == reflect.Pointer {
		return fmt.Sprintf("%T@%#x", client, v.Pointer()), true
	}
	return fmt.Sprintf("%T@%p", client, n), true
}

// Name returns the label set with [WithName]. By default it is the address with which the
// client was made. For a Cluster these are its addresses, sorted, with commas between. If
// a client with a dialer of its own does not use its address, set a name.
//
// A Sentinel client does not tell an address. Its name is its type and its address in
// memory, such as "*redis.Client@0xc000123400", which is the same for as long as the
// process runs. The same holds for a client whose address is not of the form host:port,
// because that text may contain a password.
func (n *Node) Name() string { return n.name }

// Address implements [backend.Addresser]. If the name would be the client's address in
// memory, errors and reports identify the node by its position, such as "node 2". Address
// never returns an address.
func (n *Node) Address() (address string, instead bool) { return "", n.vague }

// SetNX implements [backend.Node] with one SET … NX PX.
func (n *Node) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if ctx.Err() != nil {
		return false, ended(ctx)
	}
	var c command
	c.setNX(ctx, key, token, ttl)
	return c.stored(n.route.process(ctx, &c))
}

// EvalDelete implements [backend.Node] with the script [lua.Delete].
func (n *Node) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	if ctx.Err() != nil {
		return false, ended(ctx)
	}
	c, err := n.eval(ctx, lua.Delete, []string{key}, []string{token})
	return c.truth(err)
}

// Extend implements [backend.Node] with the script [lua.Extend].
func (n *Node) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if ctx.Err() != nil {
		return false, ended(ctx)
	}
	c, err := n.eval(ctx, lua.Extend, []string{key}, []string{token, milliseconds(ttl)})
	return c.truth(err)
}

// Eval implements [backend.Scripter] with EVALSHA. It uses EVAL the first time, and if
// the server does not know the script.
func (n *Node) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	c, err := n.eval(ctx, s, keys, args)
	return c.reply(err)
}

// Partition implements [backend.Partitioner]. A Cluster has many parts, and every other
// node has one.
func (n *Node) Partition(key string) (part, parts int) {
	if _, ok := n.route.(*cluster); !ok {
		return 0, 1
	}
	return adapterkit.ClusterPartition(key)
}

// rejectsHash reports whether the server does not accept the hashes of scripts.
func (n *Node) rejectsHash(err error) bool {
	return err != nil && isReply(err) && n.loaded.Rejects(backend.MarkReply(err))
}

func (n *Node) eval(ctx context.Context, s *backend.Script, keys, args []string) (*command, error) {
	known := n.loaded.Has(s)
	c := new(command)
	c.eval(ctx, s, !known, keys, args)
	err := n.route.process(ctx, c)
	if isNoScript(err) || known && n.rejectsHash(err) {
		c = new(command)
		c.eval(ctx, s, true, keys, args)
		err = n.route.process(ctx, c)
	}
	if err == nil && !known {
		n.loaded.Add(s)
	}
	return c, err
}
