package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// A Node is a lock server in memory. Make one with [New]. Its methods may be called
// concurrently.
type Node struct {
	name string
	now  func() time.Time

	mu sync.Mutex
	db db // guarded by mu
}

var (
	_ backend.Node       = (*Node)(nil)
	_ backend.Batcher    = (*Node)(nil)
	_ backend.Scripter   = (*Node)(nil)
	_ backend.Namer      = (*Node)(nil)
	_ backend.Subscriber = (*Node)(nil)
)

// made counts the nodes of this process, for their default names.
var made atomic.Int64

// New returns an empty node. It needs no closing.
func New(opts ...Option) *Node {
	n := &Node{now: time.Now, db: db{run: newRun()}}
	for _, o := range opts {
		o(n)
	}
	if n.name == "" {
		n.name = fmt.Sprintf("memory-%d", made.Add(1))
	}
	return n
}

// begin locks n.mu for one operation, and returns what the node holds at this moment of
// its clock. The caller unlocks n.mu.
func (n *Node) begin() *db {
	n.mu.Lock()
	n.db.now = n.now()
	return &n.db
}

// ended returns the error of a ctx that has ended, and nil for any other.
func ended(ctx context.Context) error {
	return backend.MarkNotExecuted(ctx.Err())
}

// SetNX stores token at key for ttl if key is free, and reports whether it did; see
// [backend.Node]. A ttl that is not positive is an error, as on a server.
func (n *Node) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if err := ended(ctx); err != nil {
		return false, err
	}
	db := n.begin()
	defer n.mu.Unlock()
	if db.find(key) != nil {
		return false, nil
	}
	if err := db.set(key, token, adapterkit.Milliseconds(ttl)); err != nil {
		return false, backend.MarkNotExecuted(err)
	}
	return true, nil
}

// EvalDelete deletes key if it holds token, and reports whether it did; see
// [backend.Node].
func (n *Node) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	if err := ended(ctx); err != nil {
		return false, err
	}
	db := n.begin()
	defer n.mu.Unlock()
	return db.deleteHeld(key, token), nil
}

// Extend lets key live for at least ttl from now if it holds token, and reports
// whether it holds it; see [backend.Node].
func (n *Node) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	if err := ended(ctx); err != nil {
		return false, err
	}
	db := n.begin()
	defer n.mu.Unlock()
	return db.extendHeld(key, token, adapterkit.Milliseconds(ttl)), nil
}

// Batch performs ops in order; see [backend.Batcher].
func (n *Node) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i, op := range ops {
		results[i] = op.Do(ctx, n)
	}
	return results
}

// Eval answers like a server if s is a script of package backend/lua. For any other
// script the error matches [errors.ErrUnsupported].
func (n *Node) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	run := lookup(s.Hash())
	if run == nil {
		return nil, fmt.Errorf("memory: script %q is not known to this node: %w", s.Name(), errors.ErrUnsupported)
	}
	db := n.begin()
	defer n.mu.Unlock()
	r, err := run(db, keys, args)
	return r, backend.MarkReply(err)
}

// An Entry is what a node holds at a key.
type Entry struct {
	Found bool          // the key exists
	Value string        // empty if it is not a string
	TTL   time.Duration // [backend.NoExpiry] if the key does not expire
}

// Inspect returns what key holds now. It is for tests. The only error is that of a ctx
// that has ended.
func (n *Node) Inspect(ctx context.Context, key string) (Entry, error) {
	if err := ended(ctx); err != nil {
		return Entry{}, err
	}
	db := n.begin()
	defer n.mu.Unlock()
	e := db.find(key)
	if e == nil {
		return Entry{}, nil
	}
	ttl := backend.NoExpiry
	if !e.expires.IsZero() {
		ttl = e.expires.Sub(db.now)
	}
	return Entry{Found: true, Value: e.text, TTL: ttl}, nil
}

// Name returns the name of the node, which is always the same.
func (n *Node) Name() string { return n.name }

// Set stores value at key for ttl, whatever key holds, like a SET of another client. A
// ttl of [backend.NoExpiry] is for ever. Any other ttl that is not positive panics.
func (n *Node) Set(key, value string, ttl time.Duration) {
	db := n.begin()
	defer n.mu.Unlock()
	if ttl == backend.NoExpiry {
		db.put(key, &entry{text: value})
		return
	}
	if err := db.set(key, value, adapterkit.Milliseconds(ttl)); err != nil {
		panic(errors.New("memory: Set: the ttl must be positive, or backend.NoExpiry"))
	}
}

// Push stores a list with the given elements at key, whatever key holds, like an RPUSH of
// another client. The key is then held, but by no token. It does not expire.
func (n *Node) Push(key string, elements ...string) {
	db := n.begin()
	defer n.mu.Unlock()
	db.put(key, &entry{list: append([]string{}, elements...)})
}

// Keys returns the keys that exist now, sorted.
func (n *Node) Keys() []string {
	db := n.begin()
	defer n.mu.Unlock()
	return db.keys()
}

// Restart gives the node a new run_id and breaks every subscription, like a restart of a
// server that loses nothing. For a restart that loses everything, call Restart and
// [Node.Flush].
func (n *Node) Restart() {
	n.begin().run = newRun()
	n.mu.Unlock()
	n.Disconnect()
}

// Flush removes every key, like FLUSHALL. Subscriptions stay; see [Node.Disconnect].
func (n *Node) Flush() {
	db := n.begin()
	defer n.mu.Unlock()
	db.entries = nil
}
