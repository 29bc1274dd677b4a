package backendtest

import (
	"slices"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// neighbours returns other texts that a careless node takes for text.
func neighbours(text string) []string {
	var all []string
	add := func(other string) {
		if other != text && !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	add(text[:len(text)-1])
	if len(text) > 1<<16 {
		return all // the others are large
	}
	before, _, _ := strings.Cut(text, "\x00")
	add(before)
	add(text + "\x00")
	add(strings.ReplaceAll(text, "\x00", ""))
	add(strings.TrimSpace(text))
	add(text + "\r\n")
	add(text + " ")
	add(strings.ToValidUTF8(text, "\uFFFD"))
	add(strings.ToUpper(text))
	add(strings.TrimLeft(text, "0"))
	return all
}

func bytesChecks() []rule {
	const why = "keys and tokens are arbitrary bytes: any difference means another lock or another holder"
	var all []rule
	for _, o := range check.Oddities() {
		all = append(all, rule{
			name: "bytes/" + o.Name,
			why:  why,
			run: func(t *trial) {
				key, token := t.KeyFor(o.Text), o.Text
				t.SetNX(key, token, long, true, "a free key")
				t.SetNX(key, t.Name(), long, false, "a key that another token holds")
				if _, ok := optional[backend.Scripter](t, "Scripter"); ok {
					if e := t.Inspect(key); e.Value != token {
						t.Failf("the key holds %s, want the token %s", check.Quote(e.Value), check.Quote(token))
					}
				}
				near := neighbours(o.Text)
				for _, other := range near {
					t.EvalDelete(key, other, false, "a key that holds "+check.Quote(token)+", with the token "+check.Quote(other))
					t.Extend(key, other, long, false, "a key that holds "+check.Quote(token)+", with the token "+check.Quote(other))
					t.SetNX(t.KeyFor(other), token, long, true, "the key "+check.Quote(other)+", free while "+check.Quote(o.Text)+" is held")
				}
				t.Extend(key, token, long, true, "the key "+check.Quote(o.Text)+" by its holder")
				t.EvalDelete(key, token, true, "the key "+check.Quote(o.Text)+" by its holder")
				for _, other := range near {
					t.EvalDelete(t.KeyFor(other), token, true, "the key "+check.Quote(other)+" by its holder")
				}
			},
		})
	}
	return append(all, rule{
		name: "bytes/empty token",
		why:  "a token is arbitrary bytes and may be empty; an empty token is not the same as a missing key",
		run: func(t *trial) {
			key := t.Name()
			t.SetNX(key, "", long, true, "a free key, with the empty token")
			t.SetNX(key, t.Name(), long, false, "a key that the empty token holds")
			t.EvalDelete(key, t.Name(), false, "a key that the empty token holds, with another")
			t.Extend(key, "", long, true, "a key that the empty token holds")
			t.EvalDelete(key, "", true, "a key that the empty token holds")
			t.EvalDelete(key, "", false, "a key that the empty token has deleted")
		},
	}, rule{
		name:  "bytes/Eval",
		needs: []string{"Scripter"},
		why:   "the keys and arguments of a script, and its reply, are arbitrary bytes",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			for _, o := range check.Oddities() {
				key := t.KeyFor(o.Text)
				t.Answer(t.Eval(lua.Acquire, key, o.Text, "60000"), "acquire of a free key", 1, 60_000)
				if r := t.Eval(lua.Inspect, key); len(r) != 3 || r[1] != o.Text {
					t.Failf("inspect of a key that holds %s answers %v", check.Quote(o.Text), check.Brief(r))
				}
				t.Answer(t.Eval(lua.Delete, key, o.Text), "delete of a key by its holder", 1)
			}
		},
	}, rule{
		name:  "bytes/Batch",
		needs: []string{"Batcher"},
		why:   "keys and tokens are arbitrary bytes, also in a batch",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			var ops []backend.Op
			for _, o := range check.Oddities() {
				ops = append(ops,
					backend.Op{Kind: backend.OpSetNX, Key: t.KeyFor(o.Text), Token: o.Text, TTL: long},
					backend.Op{Kind: backend.OpExtend, Key: t.KeyFor(o.Text), Token: o.Text, TTL: long},
					backend.Op{Kind: backend.OpEvalDelete, Key: t.KeyFor(o.Text), Token: o.Text})
			}
			for i, r := range t.batch(b, ops) {
				if !r.OK || r.Err != nil {
					t.Failf("%v of key %s in a batch = %v, %v, want true", ops[i].Kind, check.Quote(ops[i].Key), r.OK, r.Err)
				}
			}
		},
	})
}
