package attempt

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// slowShares is a node on which a rejoin of a reader takes a while, and its release takes longer.
type slowShares struct {
	*memory.Node
	t *testing.T
}

func (n slowShares) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	before := slices.Clone(keys)
	switch {
	case script == lua.AcquireShared && len(args) == 6:
		time.Sleep(60 * time.Millisecond)
	case script == lua.ReleaseShared:
		time.Sleep(150 * time.Millisecond)
	}
	if !slices.Equal(keys, before) { // and the race detector sees any other write
		n.t.Error("the keys have changed while the node had them")
	}
	return n.Node.Eval(ctx, script, keys, args)
}

// oneQueue is a local queue whose node can be heard until it is left.
type oneQueue struct{ left bool }

func (*oneQueue) Ticket() string                { return "91000:inbox" }
func (q *oneQueue) Hears(int) bool              { return !q.left }
func (*oneQueue) Enters(int, *Attempt)          {}
func (q *oneQueue) IsNewest(int, *Attempt) bool { return !q.left }
func (*oneQueue) Queued(int, *Attempt) bool     { return false }
func (*oneQueue) SetQueued(int, *Attempt, bool) {}

// A reader has waited, so all its acquires named its ticket. It is released while a node that lacks
// the lock still has two requests to join it. The second one is then the first acquire
// without a ticket. The nodes that release have the same keys at that time.
func TestSharedKeysStayTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nodes []backend.Node
		var last *memory.Node
		for range 3 {
			last = memory.New()
			nodes = append(nodes, slowShares{last, t})
		}
		g, err := NewNodes(nodes, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		last.Set("k", "foreign", time.Hour)
		a, q, ctx := New(g, "k", "token"), &oneQueue{}, context.Background()
		a.Share()
		a.Wait(q, time.Now(), ttl, timeout)
		if res := a.Acquire(ctx, ttl, timeout); res.Verdict != round.Won {
			t.Fatal(res)
		}
		synctest.Wait()
		a.Lasts(g.Config.Clock.Now().Add(ttl))
		if res := a.Extend(ctx, ttl, timeout); res.Verdict != round.Won { // a rejoin follows
			t.Fatal(res)
		}
		if !a.Join(2) {
			t.Fatal("the node does not join the lock")
		}
		a.mu.Lock()
		waiting := len(a.states[2].queue)
		q.left = true
		a.mu.Unlock()
		if waiting == 0 {
			t.Fatal("no request waits behind the rejoin")
		}
		a.Release(ctx, timeout)
		if err := g.Wait(ctx); err != nil {
			t.Error(err)
		}
	})
}
