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

// A Node is a lock server behind a rueidis client. It has every capability of package
// backend. Its methods may be called concurrently.
type Node struct {
	client  rueidis.Client
	cluster bool
	name    string
	vague   bool   // the name is that of the client, and does not identify the server
	gates   []gate // one, or in a Cluster one for each range of slots
	loaded  adapterkit.Loaded

	replacement replacement
	spares      spares
	late        late
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

// New returns a Node over client. It does no I/O, and panics if client is nil. The caller
// owns the client: the Node never closes or changes it, and must not be used after the
// client has been closed.
func New(client rueidis.Client, opts ...Option) *Node {
	if client == nil {
		panic("rueidis: New with a nil client")
	}
	n := &Node{client: client, cluster: client.Mode() == rueidis.ClientModeCluster}
	_, parts := n.Partition("")
	n.gates = make([]gate, parts)
	if !n.cluster {
		n.gates[0].back = n.closeSpares
	}
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
	return stored(n.do(ctx, key, n.setNX(key, token, ttl)))
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

// Name implements [backend.Namer]. It is the label of [WithName]. By default it is the
// address of the server when the Node was made. For a Sentinel set that is the master at
// the time, and for a Cluster the first of its addresses, sorted, and how many more there
// were. If one of them is not a plain address, none is shown, because it may contain a
// password.
func (n *Node) Name() string { return n.name }

// Address implements [backend.Addresser]. If the name would be the client's address in
// memory, errors and reports identify the node by its position, such as "node 2". Address
// never returns an address.
func (n *Node) Address() (address string, instead bool) { return "", n.vague }

// label returns the default name, and whether it does not identify the server.
func (n *Node) label() (name string, vague bool) {
	nodes := n.client.Nodes()
	addresses := make([]string, 0, len(nodes))
	for address := range nodes {
		// An absolute path is a socket.
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

// do sends cmd, whose key is key, and returns the answer. A nil reply is an answer too.
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
	answered := false
	if aside {
		cmd = n.aside(key, cmd)
		n.spares.begin()
		defer func() { n.spare(g, answered) }()
	}
	before := g.answers.Load()
	r := n.client.Do(ctx, cmd)
	answered = r.NonRedisError() == nil
	switch {
	case aside: // another connection says nothing about the shared one
	case answered:
		g.answered()
	default:
		g.failed(ctx, before)
	}
	if err := failure(ctx, r); err != nil {
		n.replace(ctx, err, aside)
		return rueidis.RedisMessage{}, err
	}
	message, _ := r.ToMessage()
	return message, nil
}

// gate returns the index of the gate for the server that has key.
func (n *Node) gate(key string) int {
	part, _ := n.Partition(key)
	return part
}

// Partition implements [backend.Partitioner]. A Cluster has many parts, and every other
// node has one.
func (n *Node) Partition(key string) (part, parts int) {
	if !n.cluster {
		return 0, 1
	}
	return adapterkit.ClusterPartition(key)
}

// try asks the server that has key for a sign of life. Any answer counts, even a refusal.
func (n *Node) try(gate int, key string) *trial {
	return n.gates[gate].try(func(ctx context.Context) error {
		if err := n.client.Do(ctx, n.ping(key)).NonRedisError(); err != nil {
			return lost(ctx, err)
		}
		return nil
	})
}

// ping, setNX and script build commands, with copies of the lists of keys and arguments.
// From Do or DoMulti on, a command and the list of commands belong to the driver, which may
// go on writing after ctx has ended, and recycles a command that was answered. So a command
// that is sent again is built again. The driver repeats none of these commands, because they
// are not marked as read-only or retryable. It is told which arguments are keys only for a
// Cluster, because it computes the slot of each key.

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

// run1 runs a script on one key. It uses the text the first time, and if the server does
// not know the hash.
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
		// Send it to any master. Without a slot, a Cluster's client uses any server, and
		// does not send the command together with others.
		return keep(c.Args(args...).Build()).SetSlot("")
	}
	if n.cluster {
		// Only the first key routes the command, because the driver panics if keys have
		// several slots. The server answers with an error.
		c, keys = c.Keys(keys[0]), keys[1:]
	}
	return n.route(keep(c.Args(keys...).Args(args...).Build()))
}

// large is the size in bytes from which a command may be answered before it is written.
const large = 16 << 10

// keep prevents the driver from recycling a large command. The driver recycles a command
// as soon as it has an answer. But a server may reject a command that is too large before
// it has read all of it. The driver is still writing it then, and the rest would be that
// of another command.
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

// route makes all commands to one server use the same one of the driver's connections. So
// they arrive in the order in which they were sent, as long as that connection lives, and
// the gate's question takes the same way as the commands.
func (n *Node) route(cmd rueidis.Completed) rueidis.Completed {
	if n.cluster {
		return cmd
	}
	return cmd.SetSlot("")
}

// first returns the key that routes a script, or "" if it has no keys.
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

// stored reads the answer of SET NX. Only OK is a grant: if somebody else began a transaction
// on the connection, the server answers QUEUED and has not stored anything.
func stored(r rueidis.RedisMessage, err error) (bool, error) {
	if err != nil || r.IsNil() {
		return false, err
	}
	text, err := r.ToString()
	if err == nil && text != "OK" {
		err = fmt.Errorf("rueidis: SET answered %q, want OK or nil", text)
	}
	return err == nil, err
}

// yes reads the answer of a script that answers 1 or 0.
func yes(r rueidis.RedisMessage, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := r.ToInt64()
	if err == nil && n != 0 && n != 1 {
		err = fmt.Errorf("rueidis: a script answered %d, want 1 or 0", n)
	}
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
