package quorum

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// CallTimeout is how long a call on a node may take, whatever the time for
// which somebody waits for it: long enough to dial, to shake hands and to
// authenticate, so that the connection serves the next call.
const CallTimeout = 2 * time.Second

// Config says how a [Group] works.
type Config struct {
	// Need is how many nodes make a quorum; 0 means a majority. Less than a
	// majority is refused.
	Need int

	// Abandoned, if set, is told of every node on which a token of ours may be
	// left until it expires, because the node refuses to delete it. It must not
	// block, and is called concurrently.
	Abandoned func(node, key string, err error)
}

// A Group is a set of independent nodes and the number of them that decides.
// Its methods may be called concurrently.
type Group struct {
	lanes     []*lane
	need      int
	abandoned func(node, key string, err error)

	calls   callContext
	cleanup tracker
}

// NewGroup checks nodes and makes a group of them, without I/O. It refuses an
// empty list, a nil node, and the same node twice, which would vote twice: the
// same value, or two nodes with the same name.
func NewGroup(nodes []backend.Node, cfg Config) (*Group, error) {
	if len(nodes) == 0 {
		return nil, errors.New("no nodes: at least one is needed")
	}
	majority := len(nodes)/2 + 1
	if cfg.Need == 0 {
		cfg.Need = majority
	}
	if cfg.Need < majority || cfg.Need > len(nodes) {
		return nil, fmt.Errorf("a quorum of %d of %d nodes: must be a majority, from %d to %d", cfg.Need, len(nodes), majority, len(nodes))
	}
	g := &Group{need: cfg.Need, abandoned: cfg.Abandoned}
	position := make(map[any]int)
	for i, n := range nodes {
		if isNil(n) {
			return nil, fmt.Errorf("node %d is nil", i)
		}
		name := "node " + strconv.Itoa(i)
		var identities []any
		if namer, ok := backend.As[backend.Namer](n); ok && namer.Name() != "" {
			name = namer.Name()
			identities = append(identities, name)
		}
		if reflect.ValueOf(n).Comparable() { // the value: a field may hold what is not
			identities = append(identities, n)
		}
		for _, id := range identities {
			if j, dup := position[id]; dup {
				return nil, fmt.Errorf("nodes %d and %d are the same, %s: a node must not vote twice", j, i, name)
			}
			position[id] = i
		}
		g.lanes = append(g.lanes, newLane(g, n, name))
	}
	return g, nil
}

// isNil reports whether n is nil, or an interface that holds a nil pointer.
func isNil(n backend.Node) bool {
	if n == nil {
		return true
	}
	v := reflect.ValueOf(n)
	return v.Kind() == reflect.Pointer && v.IsNil()
}

// Size returns the number of nodes.
func (g *Group) Size() int { return len(g.lanes) }

// Need returns how many nodes make a quorum.
func (g *Group) Need() int { return g.need }

// Node returns node i and its name.
func (g *Group) Node(i int) (backend.Node, string) { return g.lanes[i].node, g.lanes[i].name }

// Wait waits until no cleanup is under way: until every token that was released
// is known to be gone from every node, or can no longer be alive there. If ctx
// ends before, it returns ctx's error, and the cleanup goes on.
func (g *Group) Wait(ctx context.Context) error { return g.cleanup.wait(ctx) }

// Cleanups returns how many nodes' seats are being cleaned up.
func (g *Group) Cleanups() int { return g.cleanup.count() }

// callContext hands out the contexts under which lanes call their nodes. One
// context serves all the calls that begin within a short time, each of which
// so has at least CallTimeout; a context of its own for each call would be most
// of what a call allocates.
type callContext struct {
	mu    sync.Mutex
	ctx   context.Context
	fresh time.Time // until when ctx may be handed out
}

func (c *callContext) get() context.Context {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil || now.After(c.fresh) {
		const share = CallTimeout / 4
		ctx, cancel := context.WithDeadline(context.Background(), now.Add(CallTimeout+share))
		_ = cancel // it ends by its deadline only, which frees it
		c.ctx, c.fresh = ctx, now.Add(share)
	}
	return c.ctx
}

// tracker counts what is under way and lets one wait for none.
type tracker struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n falls to 0; nil if nobody waits
}

func (t *tracker) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n += n
	if t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

func (t *tracker) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

func (t *tracker) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
