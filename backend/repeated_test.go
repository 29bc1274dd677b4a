package backend

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestRepeated(t *testing.T) {
	set := func(key string) Op { return Op{Kind: OpSetNX, Key: key} }
	eval := func(keys ...string) Op { return Op{Kind: OpEval, Keys: keys} }
	shares := NewScript("s", "return 1", "").Shares(2)
	shared := func(keys ...string) Op { return Op{Kind: OpEval, Script: shares, Keys: keys} }
	for _, tc := range []struct {
		name string
		ops  []Op
		want []bool
	}{
		{"none", nil, nil},
		{"one", []Op{set("a")}, nil},
		{"one with a key twice", []Op{eval("a", "a")}, nil},
		{"all differ", []Op{set("a"), eval("b", "c"), set("d"), eval()}, nil},
		{"a key twice in one of two", []Op{eval("a", "a"), set("b")}, nil},
		{"twice", []Op{set("a"), set("b"), set("a")}, []bool{true, false, false}},
		{"three times", []Op{set("a"), set("a"), set("a")}, []bool{true, true, false}},
		{"as a script's second key", []Op{eval("a", "b"), set("b")}, []bool{true, false}},
		{"as a later script's second key", []Op{set("b"), eval("a", "b")}, []bool{true, false}},
		{"shared keys", []Op{shared("a", "b", "m"), shared("c", "c", "m"), shared("d")}, nil},
		{"beside shared keys", []Op{shared("a", "b", "m"), shared("c", "b", "m"), shared("c")}, []bool{true, true, false}},
		{"the empty key", []Op{set(""), eval("x", "")}, []bool{true, false}},
	} {
		if got := Repeated(tc.ops); !slices.Equal(got, tc.want) || (got == nil) != (tc.want == nil) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Batches of any size are looked at as a map would.
func TestRepeatedOfMany(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		ops := make([]Op, rng.IntN(1500))
		for i := range ops {
			key := func() string { return fmt.Sprint(rng.IntN(4 * len(ops))) }
			if ops[i] = (Op{Kind: OpEvalDelete, Key: key()}); rng.IntN(2) == 0 {
				ops[i] = Op{Kind: OpEval, Keys: []string{key(), key()}}
			}
		}
		want := make([]bool, len(ops))
		later := map[string]bool{}
		for i, op := range slices.Backward(ops) {
			keys := op.Keys
			if op.Kind != OpEval {
				keys = []string{op.Key}
			}
			want[i] = slices.ContainsFunc(keys, func(k string) bool { return later[k] })
			for _, k := range keys {
				later[k] = true
			}
		}
		got := Repeated(ops)
		if got == nil {
			got = make([]bool, len(ops))
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%d operations: %v, want %v", len(ops), got, want)
		}
	}
}
