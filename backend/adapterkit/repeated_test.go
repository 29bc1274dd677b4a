package adapterkit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

func TestRepeated(t *testing.T) {
	set := func(key string) backend.Op { return backend.Op{Kind: backend.OpSetNX, Key: key} }
	eval := func(keys ...string) backend.Op { return backend.Op{Kind: backend.OpEval, Keys: keys} }
	shares := backend.NewScript("s", "return 1", "").Shares(2)
	shared := func(keys ...string) backend.Op { return backend.Op{Kind: backend.OpEval, Script: shares, Keys: keys} }
	for _, tc := range []struct {
		name string
		ops  []backend.Op
		want []bool
	}{
		{"none", nil, nil},
		{"one", []backend.Op{set("a")}, nil},
		{"one with a key twice", []backend.Op{eval("a", "a")}, nil},
		{"all differ", []backend.Op{set("a"), eval("b", "c"), set("d"), eval()}, nil},
		{"a key twice in one of two", []backend.Op{eval("a", "a"), set("b")}, nil},
		{"twice", []backend.Op{set("a"), set("b"), set("a")}, []bool{true, false, false}},
		{"three times", []backend.Op{set("a"), set("a"), set("a")}, []bool{true, true, false}},
		{"as a script's second key", []backend.Op{eval("a", "b"), set("b")}, []bool{true, false}},
		{"as a later script's second key", []backend.Op{set("b"), eval("a", "b")}, []bool{true, false}},
		{"shared keys", []backend.Op{shared("a", "b", "m"), shared("c", "c", "m"), shared("d")}, nil},
		{"with shared keys", []backend.Op{shared("a", "b", "m"), shared("c", "b", "m"), shared("c")}, []bool{true, true, false}},
		{"the empty key", []backend.Op{set(""), eval("x", "")}, []bool{true, false}},
	} {
		if got := adapterkit.Repeated(tc.ops); !slices.Equal(got, tc.want) || (got == nil) != (tc.want == nil) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// For batches of any size, the result is the same as that of a map.
func TestRepeatedOfMany(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		ops := make([]backend.Op, rng.IntN(1500))
		for i := range ops {
			key := func() string { return fmt.Sprint(rng.IntN(4 * len(ops))) }
			if ops[i] = (backend.Op{Kind: backend.OpEvalDelete, Key: key()}); rng.IntN(2) == 0 {
				ops[i] = backend.Op{Kind: backend.OpEval, Keys: []string{key(), key()}}
			}
		}
		want := make([]bool, len(ops))
		later := map[string]bool{}
		for i, op := range slices.Backward(ops) {
			keys := op.Keys
			if op.Kind != backend.OpEval {
				keys = []string{op.Key}
			}
			want[i] = slices.ContainsFunc(keys, func(k string) bool { return later[k] })
			for _, k := range keys {
				later[k] = true
			}
		}
		got := adapterkit.Repeated(ops)
		if got == nil {
			got = make([]bool, len(ops))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d operations: %v, want %v", len(ops), got, want)
		}
	}
}
