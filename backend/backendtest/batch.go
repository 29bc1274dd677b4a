package backendtest

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// sequence runs a batch of interleaved sequences, one for each of several keys. The reply to each
// operation shows that the earlier operations on its key have run, and the later ones have not.
func sequence(t *trial, b backend.Batcher, keys int) {
	a, z := t.Name(), t.Name()
	steps := []struct {
		op   backend.Op
		want bool
	}{
		{backend.Op{Kind: backend.OpEvalDelete, Token: a}, false},
		{backend.Op{Kind: backend.OpSetNX, Token: a, TTL: long}, true},
		{backend.Op{Kind: backend.OpExtend, Token: a, TTL: long}, true},
		{backend.Op{Kind: backend.OpSetNX, Token: z, TTL: long}, false},
		{backend.Op{Kind: backend.OpEvalDelete, Token: a}, true},
		{backend.Op{Kind: backend.OpExtend, Token: a, TTL: long}, false},
		{backend.Op{Kind: backend.OpSetNX, Token: z, TTL: long}, true},
		{backend.Op{Kind: backend.OpEvalDelete, Token: a}, false},
		{backend.Op{Kind: backend.OpEvalDelete, Token: z}, true},
	}
	names := make([]string, keys)
	for i := range names {
		names[i] = t.Name()
	}
	var ops []backend.Op
	for _, s := range steps {
		for _, key := range names {
			op := s.op
			op.Key = key
			ops = append(ops, op)
		}
	}
	for i, r := range t.batch(b, ops) {
		step := i / keys
		if r.Err != nil {
			t.Failf("step %d of a batch, %v, failed: %w", step+1, ops[i].Kind, r.Err)
		}
		if r.OK != steps[step].want {
			t.Failf("step %d of a batch of steps on each key, %v, = %v, want %v: they did not run in the given order, or the results are in another order",
				step+1, ops[i].Kind, r.OK, steps[step].want)
		}
	}
}

func batcherChecks() []rule {
	return []rule{{
		name: "Batch/empty",
		why:  "without operations there is nothing to send, so no round trip and no server are needed",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			for _, ops := range [][]backend.Op{nil, {}} {
				if r := t.batch(b, ops); len(r) != 0 {
					t.Failf("an empty batch has %d results", len(r))
				}
			}
			if t.h.Stall == nil {
				return
			}
			resume := t.stall()
			late, _ := t.Within(2*time.Second, func(ctx context.Context) error {
				b.Batch(ctx, nil)
				return nil
			})
			resume()
			if late > -time.Second {
				t.Failf("an empty batch waited for a server that does not answer")
			}
		},
	}, {
		name: "Batch/order",
		why:  "a release that overtakes an earlier acquire leaves a lock that nobody holds",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			for _, keys := range []int{1, 2, 16} {
				sequence(t, b, keys)
			}
		},
	}, {
		name: "Batch/large",
		why:  "a sender that was busy sends hundreds of operations in one batch",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			sequence(t, b, 64)
		},
	}, {
		name:  "Batch/order of replies",
		needs: []string{"Scripter"},
		why:   "each operation must get its own reply",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			has[backend.Scripter](t, "Scripter")
			t.Eval(lua.Inspect, t.Name()) // skips the check if scripts are not supported
			var ops []backend.Op
			for range 20 {
				key, token := t.Name(), t.Name()
				t.SetNX(key, token, long, true, "a free key")
				ops = append(ops,
					backend.Op{Kind: backend.OpEval, Key: token, Script: lua.Inspect, Keys: []string{key}},
					backend.Op{Kind: backend.OpSetNX, Key: t.Name(), Token: token, TTL: long})
			}
			for i, r := range t.batch(b, ops) {
				if r.Err != nil {
					t.Failf("operation %d of a batch failed: %w", i, r.Err)
				}
				if ops[i].Kind == backend.OpSetNX {
					if !r.OK || r.Reply != nil {
						t.Failf("SetNX of a free key in a batch = %+v", r)
					}
				} else if len(r.Reply) != 3 || r.Reply[1] != ops[i].Key {
					t.Failf("inspect in a batch answers %v, want the token %q", check.Brief(r.Reply), ops[i].Key)
				}
			}
		},
	}, {
		name: "Batch/fails alone",
		why:  "the operations of a batch belong to different locks, so the error of one must not affect the others",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			before, after, key := t.Name(), t.Name(), t.Name()
			// The server rejects the time in this text, or the node runs no scripts.
			bad := backend.Op{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{key}, Args: []string{t.Name(), "soon"}}
			ops := []backend.Op{
				{Kind: backend.OpSetNX, Key: before, Token: before, TTL: long},
				bad,
				{Kind: backend.OpExtend, Key: before, Token: before, TTL: long},
				{Kind: backend.OpSetNX, Key: after, Token: after, TTL: long},
				bad,
				{Kind: backend.OpEvalDelete, Key: before, Token: before},
				{Kind: backend.OpSetNX, Key: key, Token: after, TTL: long},
			}
			ctx, cancel := context.WithTimeout(t.Ctx, call)
			defer cancel()
			results := b.Batch(ctx, ops)
			if len(results) != len(ops) {
				t.Failf("Batch of %d operations has %d results", len(ops), len(results))
			}
			for i, r := range results {
				if ops[i].Kind == backend.OpEval {
					if r.Err == nil || r.OK || r.Reply != nil {
						t.Failf("a script that fails returns %+v in a batch, want only an error", r)
					}
				} else if t.Supported(r.Err); r.Err != nil || !r.OK {
					t.Failf("%v = %v, %v in a batch in which another operation failed, want true", ops[i].Kind, r.OK, r.Err)
				}
			}
			t.EvalDelete(after, after, true, "a key that was taken in a batch in which another operation failed")
		},
	}, {
		name:  "Batch/keeps no ops",
		needs: []string{"Stall"},
		why:   "a sender reuses its slices for the next batch, so a node must not read them after the call",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			t.Need(t.h.Stall != nil, "Stall")
			sent, next, token := t.Name(), t.Name(), t.Name()
			ops := []backend.Op{{Kind: backend.OpSetNX, Key: sent, Token: token, TTL: long}}
			resume := t.stall()
			t.Within(100*time.Millisecond, func(ctx context.Context) error { return b.Batch(ctx, ops)[0].Err })
			ops[0] = backend.Op{Kind: backend.OpSetNX, Key: next, Token: token, TTL: long}
			resume()
			t.answers()
			t.Wait(20 * time.Millisecond)
			t.SetNX(next, t.Name(), long, true, "a key that came into ops after Batch had returned")
		},
	}, {
		name:  "Batch/keeps no arguments",
		needs: []string{"Scripter", "Stall"},
		why:   "after the call, the caller may change the slices in ops, even if ctx ended during a large write; otherwise a script could run with the arguments of another lock",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			has[backend.Scripter](t, "Scripter")
			keepsNoArguments(t, func(ctx context.Context, s *backend.Script, keys, args []string) error {
				return b.Batch(ctx, []backend.Op{{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}})[0].Err
			})
		},
	}}
}

// largeKey is the size in bytes of a key whose write cannot end while the server does not read.
// It is more than the kernel buffers. The tests of this package use a smaller size, because their
// server is in memory.
var largeKey = 4 << 20

// keepsNoArguments runs a script with a large key on a server that does not answer. When the call
// has returned, it changes the keys and the arguments.
func keepsNoArguments(t *trial, run func(ctx context.Context, s *backend.Script, keys, args []string) error) {
	t.Need(t.h.Stall != nil, "Stall")
	t.Eval(lua.Inspect, t.Name()) // skips the check if scripts are not supported
	sent, next, token, other := t.Name()+strings.Repeat("x", largeKey), t.Name(), t.Name(), t.Name()
	for _, cancels := range []bool{false, true} {
		keys, args := []string{sent}, []string{token, strconv.FormatInt(long.Milliseconds(), 10)}
		resume := t.stall()
		end := 100 * time.Millisecond
		if cancels {
			end = time.Second // a node may notice the cancellation, but need not
		}
		t.Within(end, func(ctx context.Context) error {
			if !cancels {
				return run(ctx, lua.Acquire, keys, args)
			}
			ctx, cancel := context.WithCancel(ctx)
			defer time.AfterFunc(50*time.Millisecond, cancel).Stop()
			return run(ctx, lua.Acquire, keys, args)
		})
		keys[0], args[0] = next, other
		resume()
		t.answers()
		t.Wait(20 * time.Millisecond)
		t.SetNX(next, t.Name(), long, true, "a key that came into keys after the call had returned")
		t.Extend(sent, other, long, false, "a key by a token that came into args after the call had returned")
		next = t.Name()
	}
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	_, _ = t.Node.EvalDelete(ctx, sent, token) // the key is large
}
