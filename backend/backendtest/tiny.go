package backendtest

import (
	"slices"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/check"
)

// These scripts are not of package backend/lua: an adapter must pass through whatever it is
// given. reply answers with the error that it is given, pass with the number of its keys, that
// of its arguments, and all of both, numbers with its arguments as numbers.
var (
	reply = backend.NewScript("reply", "return redis.error_reply(ARGV[1])", "9781bddefff4ec5809fe1616203b99a03196d4f2")
	pass  = backend.NewScript("pass",
		"local r = {#KEYS, #ARGV} for _, k in ipairs(KEYS) do r[#r + 1] = k end for _, a in ipairs(ARGV) do r[#r + 1] = a end return r",
		"e58e2479c8036775702273f8f25dcc029e443608")
	numbers = backend.NewScript("numbers", "local r = {} for i, a in ipairs(ARGV) do r[i] = tonumber(a) end return r", "652f40a67c82e5bfb3ef5ef8159c885f29929a32")
)

// A passing is keys and arguments of the script pass. Its keys share a slot in a cluster.
type passing struct{ keys, args []string }

func (t *trial) passings() []passing {
	k := t.Name()
	odd := passing{keys: []string{k}}
	for _, o := range check.Oddities() {
		if len(o.Text) < 1<<16 { // bytes/Eval has the large one
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

// passed fails the check unless r says that the script had the keys and the arguments of p.
func (t *trial) passed(p passing, r backend.Reply, where string) {
	want := backend.Reply{int64(len(p.keys)), int64(len(p.args))}
	for _, text := range slices.Concat(p.keys, p.args) {
		want = append(want, text)
	}
	if !slices.Equal(r, want) {
		t.Failf("a script%s with the keys %q and the arguments %q had and answered %v, want %v", where, p.keys, p.args, check.Brief(r), check.Brief(want))
	}
}

const whyPassed = "scripts tell their keys and arguments apart by place alone: one that is missing, or changed, is another lock or another holder"

// tinyChecks are of what an adapter must pass through, whatever the script means.
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
		why:  "fencing tokens have sixteen digits, and one that is rounded is another; -1 and -2 say what no time to live is",
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
