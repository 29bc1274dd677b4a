package backendtest

import (
	"slices"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/check"
)

// These scripts are not in package backend/lua, because an adapter must be able to run any
// script. reply returns the error that it is given. pass returns the number of its keys, the
// number of its arguments, and all of them. numbers returns its arguments as numbers.
var (
	reply = backend.NewScript("reply", "return redis.error_reply(ARGV[1])", "9781bddefff4ec5809fe1616203b99a03196d4f2")
	pass  = backend.NewScript("pass",
		"local r = {#KEYS, #ARGV} for _, k in ipairs(KEYS) do r[#r + 1] = k end for _, a in ipairs(ARGV) do r[#r + 1] = a end return r",
		"e58e2479c8036775702273f8f25dcc029e443608")
	numbers = backend.NewScript("numbers", "local r = {} for i, a in ipairs(ARGV) do r[i] = tonumber(a) end return r", "652f40a67c82e5bfb3ef5ef8159c885f29929a32")
)

// A passing is a set of keys and arguments for the script pass. Its keys share a slot in a
// Cluster.
type passing struct{ keys, args []string }

func (t *trial) passings() []passing {
	k := t.Name()
	odd := passing{keys: []string{k}}
	for _, o := range check.Oddities() {
		if len(o.Text) < 1<<16 { // the check bytes/Eval covers the large one
			odd.keys = append(odd.keys, "{"+k+"}"+o.Text)
			odd.args = append(odd.args, o.Text)
		}
	}
	two := []string{k, k + "{" + k + "}"}
	return []passing{
		{two[:1], nil},
		{two[:1], []string{""}},
		{two, []string{"a", "", "", "b", ""}},
		{[]string{k, k, two[1], k}, []string{"a", "a", k}},
		odd,
	}
}

// passed fails the check unless r shows that the script got the keys and the arguments of p.
func (t *trial) passed(p passing, r backend.Reply, where string) {
	want := backend.Reply{int64(len(p.keys)), int64(len(p.args))}
	for _, text := range slices.Concat(p.keys, p.args) {
		want = append(want, text)
	}
	if !slices.Equal(r, want) {
		t.Failf("a script%s with the keys %q and the arguments %q returned %v, want %v", where, p.keys, p.args, check.Brief(r), check.Brief(want))
	}
}

const whyPassed = "scripts identify their keys and arguments only by position; a missing or changed one means another lock or another holder"

// tinyChecks check what an adapter must pass through, whatever the script means.
func tinyChecks() []rule {
	return []rule{{
		name: "Eval/keys and arguments",
		why:  whyPassed,
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			for _, p := range t.passings() {
				t.passed(p, t.EvalKeys(pass, p.keys, p.args...), "")
			}
		},
	}, {
		name: "Eval/numbers",
		why:  "fencing tokens have sixteen digits, and rounding would change them; -1 and -2 have a meaning of their own instead of a time to live",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			t.Answer(t.Eval(numbers, t.Name(), "-2", "-1", "0", "1", "60000", "1785000000000001", "9007199254740991"),
				"a script that is to answer seven numbers", -2, -1, 0, 1, 60000, 1785000000000001, 1<<53-1)
		},
	}}
}

func tinyBatchChecks() []rule {
	return []rule{{
		name:  "Batch/keys and arguments",
		needs: []string{"Scripter"},
		why:   whyPassed,
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			has[backend.Scripter](t, "Scripter")
			passings := t.passings()
			var ops []backend.Op
			for _, p := range passings {
				ops = append(ops, backend.Op{Kind: backend.OpEval, Script: pass, Keys: p.keys, Args: p.args})
			}
			for i, r := range t.batch(b, ops) {
				if r.Err != nil {
					t.Failf("a script in a batch failed: %w", r.Err)
				}
				t.passed(passings[i], r.Reply, " in a batch")
			}
		},
	}}
}
