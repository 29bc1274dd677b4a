package rueidis

import (
	"context"
	"fmt"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A Node is a lock server behind a rueidis client. It has every capability
// that package backend names. Its methods may be called concurrently.
type Node struct {
	client  rueidis.Client
	cluster bool
	name    string
	vague   bool   // the name is of the client, and says nothing about the server
	gates   []gate // one, in a Cluster one for each range of slots
	loaded  adapterkit.Loaded

	replacement replacement
}

var (
	_ backend.Node        = (*Node)(nil)
	_ backend.Batcher     = (*Node)(nil)
	_ backend.Scripter    = (*Node)(nil)
	_ backend.Namer       = (*Node)(nil)
	_ backend.Addresser   = (*Node)(nil)
	_ backend.Partitioner = (*Node)(nil)
	_ backend.Reconnecter = (*Node)(nil)
	_ backend.Subscriber  = (*Node)(nil)
)

// New returns a Node over client, which stays the caller's: the Node never
// closes or changes it, and must not be used after it has been closed. New does
// no I/O. It panics if client is nil.
func New(client rueidis.Client, opts ...Option) *Node {
	if client == nil {
		panic("rueidis: New with a nil client")
	}
	n := &Node{client: client, cluster: client.Mode() == rueidis.ClientModeCluster}
	_, parts := n.Partition("")
	n.gates = make([]gate, parts)
	for _, o := range opts {
		o(n)
	}
	if n.name == "" {
		n.name, n.vague = n.label()
	}
	return n
}

// SetNX implements [backend.Node].
func (n *Node) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r, err := n.do(ctx, key, n.setNX(key, token, ttl))
	return err == nil && !r.IsNil(), err
}

// EvalDelete implements [backend.Node].
func (n *Node) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	return yes(n.run1(ctx, lua.Delete, key, token))
}

// Extend implements [backend.Node].
func (n *Node) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return yes(n.run1(ctx, lua.Extend, key, token, milliseconds(ttl)))
}

// Eval implements [backend.Scripter].
func (n *Node) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	known := n.loaded.Has(s)
	key := first(keys)
	r, err := n.do(ctx, key, n.script(s, !known, keys, args))
	if known && (noScript(err) || n.loaded.Rejects(err)) {
		r, err = n.do(ctx, key, n.script(s, true, keys, args))
	}
	if err != nil {
		return nil, err
	}
	if !known {
		n.loaded.Add(s)
	}
	return reply(r)
}

// Name implements [backend.Namer]. Unless [WithName] was given it is the
// address of the server as the client had it when the Node was made: of a
// Sentinel set, that of the master at the time, and of a Cluster, the first of
// its addresses in order, and how many more there were. What is no plain address is not
// shown: it may contain a password.
func (n *Node) Name() string { return n.name }

// Address implements [backend.Addresser]: errors and reports call a node whose name
// would be where its client is in memory by its position, such as
// "node 2". It never tells an address.
func (n *Node) Address() (address string, instead bool) { return "", n.vague }

// label makes the default name, and reports whether it says nothing about the server.
func (n *Node) label() (name string, vague bool) {
	nodes := n.client.Nodes()
	addresses := make([]string, 0, len(nodes))
	for address := range nodes {
		// An absolute path is that of a socket.
		if !strings.HasPrefix(address, "/") && !backend.PlainAddress(address) {
			addresses = nil
			break
		}
		addresses = append(addresses, address)
	}
	if len(addresses) == 0 {
		return fmt.Sprintf("rueidis client %p", n), true
	}
	sort.Strings(addresses)
	if len(addresses) == 1 {
		return addresses[0], false
	}
	return fmt.Sprintf("%s and %d more", addresses[0], len(addresses)-1), false
}

// do sends cmd, which is about key, and returns the answer; a nil reply is one.
func (n *Node) do(ctx context.Context, key string, cmd rueidis.Completed) (rueidis.RedisMessage, error) {
	if err := ctx.Err(); err != nil {
		return rueidis.RedisMessage{}, backend.MarkNotExecuted(err)
	}
	at := n.gate(key)
	g := &n.gates[at]
	aside, err := n.pass(ctx, at, key)
	if err != nil {
		return rueidis.RedisMessage{}, err
	}
	if aside {
		cmd = n.aside(key, cmd)
	}
	before := g.answers.Load()
	r := n.client.Do(ctx, cmd)
	switch {
	case aside: // which says nothing about the connection that calls share
	case r.NonRedisError() == nil:
		g.answered()
	default:
		g.failed(ctx, before)
	}
	if err := failure(ctx, r); err != nil {
		n.replace(ctx, err)
		return rueidis.RedisMessage{}, err
	}
	message, _ := r.ToMessage()
	return message, nil
}

// gate returns the index of the gate of the server that has key.
func (n *Node) gate(key string) int {
	part, _ := n.Partition(key)
	return part
}

// Partition implements [backend.Partitioner]: a Cluster has parts, anything else
// has one.
func (n *Node) Partition(key string) (part, parts int) {
	if !n.cluster {
		return 0, 1
	}
	return adapterkit.ClusterPartition(key)
}

// try asks the server that has key for a sign of life. Any answer is one, a
// refusal too.
func (n *Node) try(gate int, key string) *trial {
	return n.gates[gate].try(func(ctx context.Context) error {
		if err := n.client.Do(ctx, n.ping(key)).NonRedisError(); err != nil {
			return lost(ctx, err)
		}
		return nil
	})
}

// ping, setNX and script build commands, which hold copies of the lists of keys and
// arguments. From Do or DoMulti on a command belongs to the driver, and so does the
// list of commands: the driver may go on writing when ctx has ended, and recycles a
// command that was answered. So what is sent again is built again. None of them is one that the driver
// repeats: it does so with what it marks as read-only or retryable. Only for a Cluster is
// it told which argument is a key, since it works out the slot of each that it knows of.

func (n *Node) ping(key string) rueidis.Completed {
	cmd := n.client.B().Ping().Build()
	if n.cluster {
		cmd = cmd.SetSlot(key)
	}
	return n.route(cmd)
}

func (n *Node) setNX(key, token string, ttl time.Duration) rueidis.Completed {
	c := n.client.B().Arbitrary("SET")
	if n.cluster {
		c = c.Keys(key)
	} else {
		c = c.Args(key)
	}
	return n.route(keep(c.Args(token, "NX", "PX", milliseconds(ttl)).Build()))
}

// run1 runs a script on one key, by its text the first time and where the server
// does not know the hash.
func (n *Node) run1(ctx context.Context, s *backend.Script, key string, args ...string) (rueidis.RedisMessage, error) {
	if n.loaded.Has(s) {
		r, err := n.do(ctx, key, n.script(s, false, []string{key}, args))
		if !noScript(err) && !n.loaded.Rejects(err) {
			return r, err
		}
	}
	r, err := n.do(ctx, key, n.script(s, true, []string{key}, args))
	if err == nil {
		n.loaded.Add(s)
	}
	return r, err
}

// script builds the command that runs s, by its text or by its hash.
func (n *Node) script(s *backend.Script, text bool, keys, args []string) rueidis.Completed {
	name, body := "EVALSHA", s.Hash()
	if text {
		name, body = "EVAL", s.Source()
	}
	c := n.client.B().Arbitrary(name, body, strconv.Itoa(len(keys)))
	if len(keys) == 0 {
		// To a master, whichever: without a slot, a Cluster's client takes any
		// server, and refuses to mix the command with others.
		return keep(c.Args(args...).Build()).SetSlot("")
	}
	if n.cluster {
		// The first key routes the command. The driver would panic over keys of
		// several slots; the server answers with an error.
		c, keys = c.Keys(keys[0]), keys[1:]
	}
	return n.route(keep(c.Args(keys...).Args(args...).Build()))
}

// large is from how many bytes on a command may be answered before it is written.
const large = 16 << 10

// keep has the driver not recycle a large command. The driver does so as soon as
// it has an answer. A server may refuse what is too large before it has read all of
// it: then the driver is still writing, and the rest would be another command's.
func keep(cmd rueidis.Completed) rueidis.Completed {
	size := 0
	for _, arg := range cmd.Commands() {
		size += len(arg)
	}
	if size > large {
		return cmd.Pin()
	}
	return cmd
}

// route sends all commands to one server over the same one of the connections
// that the driver spreads them over. So they arrive in the order in which they
// were sent, as long as that connection lives, and the gate's question travels
// the way of the commands it speaks for.
func (n *Node) route(cmd rueidis.Completed) rueidis.Completed {
	if n.cluster {
		return cmd
	}
	return cmd.SetSlot("")
}

// first returns the key that routes a script, any if it has none.
func first(keys []string) string {
	if len(keys) == 0 {
		return ""
	}
	return keys[0]
}

// noScript reports whether the server did not know a script's hash.
func noScript(err error) bool {
	if err == nil {
		return false
	}
	e, ok := redisError(err)
	return ok && e.IsNoScript()
}

// yes reads the answer of a script that says 1 or 0.
func yes(r rueidis.RedisMessage, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := r.ToInt64()
	return n == 1, err
}

// reply reads the answer of any script.
func reply(r rueidis.RedisMessage) (backend.Reply, error) {
	v, err := r.ToAny()
	if err != nil && !rueidis.IsRedisNil(err) {
		return nil, err
	}
	return backend.NewReply(v)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(adapterkit.Milliseconds(d), 10) }
