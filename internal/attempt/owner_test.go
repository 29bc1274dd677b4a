package attempt

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
)

// slowReader is a node that takes a while to read what it was handed, as a driver
// does that writes to a slow connection, and finds out whether that has changed
// before the call returned. The race detector sees who writes it meanwhile.
type slowReader struct {
	*memory.Node
	t *testing.T
}

func (n slowReader) read(ops []backend.Op) {
	before := make([]backend.Op, len(ops))
	for i, op := range ops {
		op.Keys, op.Args = slices.Clone(op.Keys), slices.Clone(op.Args)
		before[i] = op
	}
	time.Sleep(rand.N(2 * time.Millisecond)) // the connection
	for i := range ops {
		if !reflect.DeepEqual(ops[i], before[i]) {
			n.t.Errorf("operation %d was %+v and is %+v, before the call has returned", i, before[i], ops[i])
		}
	}
}

func (n slowReader) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	n.read(nil)
	return n.Node.SetNX(ctx, key, token, ttl)
}

func (n slowReader) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	n.read([]backend.Op{{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}})
	return n.Node.Eval(ctx, s, keys, args)
}

func (n slowReader) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	n.read(ops)
	return n.Node.Batch(ctx, ops)
}

// What a node is handed belongs to it until the call has returned, though the
// caller has given up long before.
func TestCallsKeepTheirOperations(t *testing.T) {
	for _, size := range []int{1, 3} {
		for _, fenced := range []bool{false, true} {
			t.Run(fmt.Sprintf("N=%d fenced=%v", size, fenced), func(t *testing.T) {
				var nodes []backend.Node
				for range size {
					nodes = append(nodes, slowReader{memory.New(), t})
				}
				g, err := NewNodes(nodes, Config{}, nil)
				if err != nil {
					t.Fatal(err)
				}
				won := 0
				var mu sync.Mutex
				var callers sync.WaitGroup
				for i := range 16 {
					callers.Go(func() {
						for j := range 20 {
							key, token := fmt.Sprintf("%d.%d", i, j), fmt.Sprintf("token %d.%d", i, j)
							ctx, cancel := context.WithTimeout(context.Background(), rand.N(10*time.Millisecond))
							var f *Fencing
							if fenced {
								var err error
								if f, err = g.Fencing(key); err != nil {
									t.Error(err)
								}
							}
							a, r := g.acquire(ctx, f, key, token, time.Minute, time.Second)
							if r.Verdict == round.Won {
								a.Extend(ctx, time.Minute, time.Second)
								a.Release(ctx, time.Second)
								mu.Lock()
								won++
								mu.Unlock()
							}
							cancel()
						}
					})
				}
				callers.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				if err := g.Wait(ctx); err != nil {
					t.Error(err)
				}
				t.Logf("%d of %d attempts won", won, 16*20)
				if won == 0 || won == 16*20 {
					t.Error("want attempts that won, and others that were given up")
				}
			})
		}
	}
}
