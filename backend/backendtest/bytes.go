package backendtest

import (
	"slices"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// An oddity is a text with which a node that does not take keys and tokens for
// plain bytes gets into trouble.
type oddity struct{ name, text string }

func oddities() []oddity {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []oddity{
		{"NUL", "a\x00b"},
		{"NUL at the end", "a\x00"},
		{"newlines", "a\r\nb\r\n"},
		{"protocol", "*1\r\n$8\r\nFLUSHALL\r\n"},
		{"spaces and quotes", " a\t\"b\" 'c' \\x41 "},
		{"UTF-8", "Größe/ключ/鍵/🔑"},
		{"no UTF-8", "a\xff\xfe\x80b"},
		{"braces", "{a}b}{c"},
		{"pattern", "a*[b]?"},
		{"digits", "007"},
		{"every byte", string(every)},
		{"1 MB", strings.Repeat("0123456789abcdef", 1<<16)},
	}
}

// neighbours returns other texts, for which a careless node takes text.
func neighbours(text string) []string {
	var all []string
	add := func(other string) {
		if other != text && !slices.Contains(all, other) {
			all = append(all, other)
		}
	}
	add(text[:len(text)-1])
	if len(text) > 1<<16 {
		return all // they are large
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

func bytesChecks() []check {
	const why = "keys and tokens are arbitrary bytes: two that differ anywhere are different locks, different holders"
	var all []check
	for _, o := range oddities() {
		all = append(all, check{
			name: "bytes/" + o.name,
			why:  why,
			run: func(t *trial) {
				key, token := t.keyFor(o.text), o.text
				t.setNX(key, token, long, true, "a free key")
				t.setNX(key, t.name(), long, false, "a key that another token holds")
				if _, ok := optional[backend.Scripter](t, "Scripter"); ok {
					if e := t.inspect(key); e.Value != token {
						t.failf("the key holds %s, want the token %s", quote(e.Value), quote(token))
					}
				}
				near := neighbours(o.text)
				for _, other := range near {
					t.evalDelete(key, other, false, "a key that holds "+quote(token)+", with the token "+quote(other))
					t.extend(key, other, long, false, "a key that holds "+quote(token)+", with the token "+quote(other))
					t.setNX(t.keyFor(other), token, long, true, "the key "+quote(other)+", free while "+quote(o.text)+" is held")
				}
				t.extend(key, token, long, true, "the key "+quote(o.text)+" by its holder")
				t.evalDelete(key, token, true, "the key "+quote(o.text)+" by its holder")
				for _, other := range near {
					t.evalDelete(t.keyFor(other), token, true, "the key "+quote(other)+" by its holder")
				}
			},
		})
	}
	return append(all, check{
		name: "bytes/empty token",
		why:  "a token is arbitrary bytes, none at all too; it is not the same as a key that is missing",
		run: func(t *trial) {
			key := t.name()
			t.setNX(key, "", long, true, "a free key, with the empty token")
			t.setNX(key, t.name(), long, false, "a key that the empty token holds")
			t.evalDelete(key, t.name(), false, "a key that the empty token holds, with another")
			t.extend(key, "", long, true, "a key that the empty token holds")
			t.evalDelete(key, "", true, "a key that the empty token holds")
			t.evalDelete(key, "", false, "a key that the empty token has deleted")
		},
	}, check{
		name:  "bytes/Eval",
		needs: []string{"Scripter"},
		why:   "the keys and arguments of a script, and what it answers, are arbitrary bytes",
		run: func(t *trial) {
			has[backend.Scripter](t, "Scripter")
			for _, o := range oddities() {
				key := t.keyFor(o.text)
				t.answer(t.eval(lua.Acquire, key, o.text, "60000"), "acquire of a free key", 1, 60_000)
				if r := t.eval(lua.Inspect, key); len(r) != 3 || r[1] != o.text {
					t.failf("inspect of a key that holds %s answers %v", quote(o.text), brief(r))
				}
				t.answer(t.eval(lua.Delete, key, o.text), "delete of a key by its holder", 1)
			}
		},
	}, check{
		name:  "bytes/Batch",
		needs: []string{"Batcher"},
		why:   "keys and tokens are arbitrary bytes, in a batch too",
		run: func(t *trial) {
			b := has[backend.Batcher](t, "Batcher")
			var ops []backend.Op
			for _, o := range oddities() {
				ops = append(ops,
					backend.Op{Kind: backend.OpSetNX, Key: t.keyFor(o.text), Token: o.text, TTL: long},
					backend.Op{Kind: backend.OpExtend, Key: t.keyFor(o.text), Token: o.text, TTL: long},
					backend.Op{Kind: backend.OpEvalDelete, Key: t.keyFor(o.text), Token: o.text})
			}
			for i, r := range t.batch(b, ops) {
				if !r.OK || r.Err != nil {
					t.failf("%v of key %s in a batch = %v, %v, want true", ops[i].Kind, quote(ops[i].Key), r.OK, r.Err)
				}
			}
		},
	})
}
