package proto

import (
	"slices"
	"testing"
)

func TestQueue(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"k", "k{k}:queue"},
		{"", "{}:queue"}, // nobody locks it
		{"orders/42", "orders/42{orders/42}:queue"},
		{"{orders}/42", "{orders}/42:queue"},
		{"a{b}c{d}", "a{b}c{d}:queue"},
		{"a{b{c}d", "a{b{c}d:queue"}, // the tag is b{c
		{"a}b", ""},
		{"a}b{c}", "a}b{c}:queue"},
		{"a{}b", ""}, // a server takes the whole key
		{"a{}{b}", ""},
		{"a{b", ""},
		{"{", ""},
		{"}", ""},
		{"{}", ""},
	} {
		got, ok := QueueKey(tc.key)
		if got != tc.want || ok != (tc.want != "") {
			t.Errorf("QueueKey(%q) = %q, %v, want %q", tc.key, got, ok, tc.want)
		}
		if ok && tc.key != "" && tagOf(got) != tagOf(tc.key) {
			t.Errorf("the slot of %q goes by %q, that of its queue %q by %q", tc.key, tagOf(tc.key), got, tagOf(got))
		}
	}
}

// A key is in conflict with a lock that keeps something there.
func TestConflict(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"x{x}:queue", `the lock "x" keeps its queue there`},
		{"x{x}:fence", `the lock "x" keeps its fencing counter there`},
		{"x{x}:gone:token", `the lock "x" keeps its tombstones there`},
		{"x{x}:gone:", `the lock "x" keeps its tombstones there`},
		{"x{x}:gone:label:token:queue", `the lock "x" keeps its tombstones there`},
		{"orders/42{orders/42}:queue", `the lock "orders/42" keeps its queue there`},
		{"a{t}b:queue", `the lock "a{t}b" keeps its queue there`},
		{"{t}:queue", `the lock "{t}" keeps its queue there`},
		{"a{t}b:fence", `the lock "a{t}b" keeps its fencing counter there`},
		{"a{t}b:gone:c", `the lock "a{t}b" keeps its tombstones there`},
		{"a{t}b{c}:queue", `the lock "a{t}b{c}" keeps its queue there`},
		{"a{b{c}:queue", `the lock "a{b{c}" keeps its queue there`},
		{"x{x}", `it has the same queue and fencing counter as the lock "x"`},
		{"redlock:marker", `it ends in "redlock:marker", the name of the markers (WithQuarantine)`},
		{"p:redlock:marker", `it ends in "redlock:marker", the name of the markers (WithQuarantine)`},
		{"ab{ab}", `it has the same queue and fencing counter as the lock "ab"`},

		{"", ""}, {"x", ""}, {"{", ""}, {"}", ""}, {"{}", ""}, {"x{}", ""}, {"{x}", ""}, {"a}b", ""}, {"a{b", ""},
		{":queue", ""}, {"x:queue", ""}, {"x:fence", ""}, {"x:gone:y", ""}, {"redlock:markers", ""},
		{"{t}", ""}, {"a{t}", ""}, {"a{t}b", ""}, {"ab{b}", ""}, {"x{y}", ""}, {"aa{a}", ""}, {"x{x}x", ""}, {"x{x}y", ""},
		{"a{t}:queues", ""}, {"a{t}queue", ""}, {"a{t}:queue:x", ""}, {"a{t}:gone", ""}, {"a:queue{t}", ""}, {"a:gone:{t}", ""},
		{"a{t:queue", ""}, {"a{}:queue", ""}, {"a{}{b}:queue", ""}, {"a}b:queue", ""}, {"a{t:gone:}", ""}, {"a{t:queue}", ""},
	} {
		if got := Conflict(tc.key); got != tc.want {
			t.Errorf("Conflict(%q) = %q, want %q", tc.key, got, tc.want)
		}
	}
}

// Two locks without a conflict have no name in common.
func TestLocksShareNoName(t *testing.T) {
	parts := []string{"a", "b", "{", "}", ":queue", ":fence", ":gone:", "redlock:marker"}
	tokens := append(slices.Clone(parts), "t", "a{a}", "label:t", ":gone:t")
	owners := make(map[string]string)
	own := func(key, name string) {
		if other, ok := owners[name]; ok && other != key {
			t.Fatalf("the locks %q and %q share %q", other, key, name)
		}
		owners[name] = key
	}
	keys := 0
	var extend func(key string, more int)
	extend = func(key string, more int) {
		if key != "" && Conflict(key) == "" {
			keys++
			own(key, key)
			for _, suffix := range []string{":queue", ":fence"} {
				if name, ok := beside(key, suffix); ok {
					own(key, name)
				}
			}
			for _, token := range tokens {
				if name, ok := TombstoneKey(key, token); ok {
					own(key, name)
				}
			}
		}
		if more > 0 {
			for _, part := range parts {
				extend(key+part, more-1)
			}
		}
	}
	extend("", 5)
	if keys < 10_000 {
		t.Errorf("%d keys were tried", keys)
	}
}

// tagOf returns what part of a key a Cluster hashes.
func tagOf(key string) string {
	for i := range len(key) {
		if key[i] != '{' {
			continue
		}
		for j := i + 1; j < len(key); j++ {
			if key[j] == '}' {
				if j > i+1 {
					return key[i+1 : j]
				}
				return key
			}
		}
		return key
	}
	return key
}

// The counter and the tombstones are named like the queue.
func TestNamesBesideALock(t *testing.T) {
	for key, want := range map[string]string{"orders/42": "orders/42{orders/42}", "{orders}/42": "{orders}/42"} {
		if got, ok := CounterKey(key); got != want+":fence" || !ok {
			t.Errorf("CounterKey(%q) = %q, %v", key, got, ok)
		}
		got, ok := TombstoneKey(key, "{to}ken")
		if got != want+":gone:{to}ken" || !ok || tagOf(got) != tagOf(key) {
			t.Errorf("TombstoneKey(%q) = %q, %v", key, got, ok)
		}
	}
	for _, name := range []func(string) (string, bool){QueueKey, CounterKey} {
		if got, ok := name("a}b"); ok {
			t.Errorf("a key without a usable hash tag has the name %q", got)
		}
	}
}

func TestInboxName(t *testing.T) {
	for _, prefix := range []string{"", "app:"} {
		want := "host:redlock:inbox:x"
		if got := InboxName(Inbox(prefix, want)); got != want {
			t.Errorf("the inbox of %q has the name %q", prefix, got)
		}
	}
	if got := InboxName("news"); got != "" {
		t.Errorf("a channel of somebody else has the name %q", got)
	}
}
