package scripttest_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/scripttest"
)

// A brokenNode breaks a rule. The checks in fails must detect it.
type brokenNode struct {
	name  string
	wreck func(c *client)
	fails []string
}

// brokenReplies are nodes with wrong replies.
var brokenReplies = []brokenNode{
	{"acquire does not know its own token", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if s == lua.Acquire && err == nil && r[0] == int64(1) && r[1] != int64(60_000) {
				r[0] = int64(0)
			}
			return r, err
		}
	}, []string{"Eval/acquire without expiry"}},
	{"acquire extends the lock", func(c *client) {
		n := c.FaultNode
		c.eval = func(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
			r, err := n.Eval(ctx, s, keys, args)
			if s == lua.Acquire && err == nil && r[0] == int64(1) {
				n.Eval(ctx, lua.Extend, keys, args)
				return n.Eval(ctx, s, keys, args)
			}
			return r, err
		}
	}, []string{"Eval/acquire"}},
}

func TestBrokenNodes(t *testing.T) {
	long.Test(t)
	var mu sync.Mutex
	caught := map[string]bool{} // the checks that failed for some node
	t.Run("nodes", func(t *testing.T) {
		for _, tc := range slices.Concat(brokenReplies, brokenQueues, brokenFences, brokenShares) {
			t.Run(tc.name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					failures, err := scripttest.Check(t.Context(), server(tc.wreck), nil)
					if err != nil {
						t.Fatal(err)
					}
					var failed []string
					for _, f := range failures {
						failed = append(failed, f.Name)
					}
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
	for _, name := range scripttest.CheckNames() {
		if !caught[name] {
			t.Errorf("no broken node here fails the check %q: can it fail at all?", name)
		}
	}
}
