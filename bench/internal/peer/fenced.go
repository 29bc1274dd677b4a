package peer

import (
	"context"
	"errors"
	"slices"
	"sync"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/redlock"
)

// Fenced is the name of this project's library with a fencing token for each lock.
const Fenced = "quorumlock-fenced"

// fenced is this library with fencing tokens, with each of its adapters.
func fenced() []*Implementation {
	own := func(driver string, same bool, open nodes) *Implementation {
		return &Implementation{Library: Fenced, Driver: driver, Module: ownModule, Same: same, Open: func(addrs []string) (Client, error) {
			var tokens secondRounds
			c, err := newOwnClient(tokens.counted(open), addrs, redlock.WithTTL(TTL), redlock.WithFencing())
			return &fencedClient{c, &tokens}, err
		}}
	}
	return []*Implementation{own("go-redis", false, goRedisNodes), own("redigo", true, redigoNodes), own("rueidis", true, rueidisNodes)}
}

type fencedClient struct {
	*ownClient
	tokens *secondRounds
}

// SecondRounds implements [Rounds].
func (c *fencedClient) SecondRounds() int { return c.tokens.count() }

// Rounds is a client that counts the locks for which the nodes had to be asked a second time,
// because they had voted for different fencing tokens.
type Rounds interface{ SecondRounds() int }

// secondRounds counts the attempts in which some node had to raise its vote.
type secondRounds struct {
	mu     sync.Mutex
	raised map[string]bool // by the attempt's token
}

func (s *secondRounds) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.raised)
}

func (s *secondRounds) note(op backend.Op) {
	if op.Kind != backend.OpEval || op.Script != lua.Raise {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.raised == nil {
		s.raised = map[string]bool{}
	}
	s.raised[op.Args[0]] = true
}

// counted makes s see all operations on the nodes that open makes.
func (s *secondRounds) counted(open nodes) nodes {
	return func(addrs []string) ([]backend.Node, func(), error) {
		list, closeAll, err := open(addrs)
		list = slices.Clone(list)
		for i, n := range list {
			list[i] = &countedNode{n, s}
		}
		return list, closeAll, err
	}
}

// countedNode counts the operations on a node.
type countedNode struct {
	backend.Node
	rounds *secondRounds
}

// Unwrap gives access to the other capabilities of the node. All counted operations use the two
// capabilities below.
func (n *countedNode) Unwrap() backend.Node { return n.Node }

// Batch implements [backend.Batcher].
func (n *countedNode) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	for _, op := range ops {
		n.rounds.note(op)
	}
	batcher, _ := backend.As[backend.Batcher](n.Node)
	return batcher.Batch(ctx, ops)
}

// Eval implements [backend.Scripter].
func (n *countedNode) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	n.rounds.note(backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args})
	scripter, ok := backend.As[backend.Scripter](n.Node)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	return scripter.Eval(ctx, s, keys, args)
}
