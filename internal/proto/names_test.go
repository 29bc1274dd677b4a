package proto

import (
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

func TestQueue(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"k", "k{k}:queue"},
		{"", "{}:queue"}, // no lock has this key
		{"orders/42", "orders/42{orders/42}:queue"},
		{"{orders}/42", "{orders}/42:queue"},
		{"a{b}c{d}", "a{b}c{d}:queue"},
		{"a{b{c}d", "a{b{c}d:queue"}, // the hash tag is b{c
		{"a}b", ""},
		{"a}b{c}", "a}b{c}:queue"},
		{"a{}b", ""}, // a server hashes the whole key
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
			t.Errorf("the slot of %q depends on %q, that of its queue %q on %q", tc.key, tagOf(tc.key), got, tagOf(got))
		}
	}
}

// The name of a set of readers leads back to its lock.
func TestReadersOf(t *testing.T) {
	for _, key := range []string{"k", "orders/42", "{orders}/42", "a{b}c{d}", "a}b{c}"} {
		name, _ := ReadersKey(key)
		if got, ok := ReadersOf(name); got != key || !ok {
			t.Errorf("ReadersOf(%q) = %q, %v, want %q", name, got, ok, key)
		}
		if Conflict(name) == "" {
			t.Errorf("a lock may have the key %q", name)
		}
	}
	for _, key := range []string{"", "k", "k:readers", ":readers", "k{k}:queue", "a}b:readers", "k{}:readers"} {
		if got, ok := ReadersOf(key); ok {
			t.Errorf("ReadersOf(%q) = %q, want none", key, got)
		}
	}
}

// A key conflicts with a lock that uses the key for something.
func TestConflict(t *testing.T) {
	for _, tc := range []struct{ key, want string }{
		{"x{x}:queue", `the lock "x" keeps its queue there`},
		{"x{x}:fence", `the lock "x" keeps its fencing counter there`},
		{"x{x}:readers", `the lock "x" keeps its readers there`},
		{"a{t}b:readers", `the lock "a{t}b" keeps its readers there`},
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
		{"x{x}:permits:1", `the lock "x" keeps its permits there`},
		{"x{x}:permits:1024", `the lock "x" keeps its permits there`},
		{"a{t}b:permits:1", `the lock "a{t}b" keeps its permits there`},
		{"x{x}:permits", `the lock "x" keeps its permits there`},
		{"x{x}:permits:queue", `the lock "x" keeps its queue for permits there`},
		{"x{x}:permits:1:fence", `the lock "x{x}:permits:1" keeps its fencing counter there`},
		{"x{x}:gone:a:permits:1", `the lock "x" keeps its tombstones there`},
		{"x{x}", `it has the same queue and fencing counter as the lock "x"`},
		{"redlock:marker", `it ends in "redlock:marker", the name of the markers (WithQuarantine)`},
		{"p:redlock:marker", `it ends in "redlock:marker", the name of the markers (WithQuarantine)`},
		{"ab{ab}", `it has the same queue and fencing counter as the lock "ab"`},

		{"", ""}, {"x", ""}, {"{", ""}, {"}", ""}, {"{}", ""}, {"x{}", ""}, {"{x}", ""}, {"a}b", ""}, {"a{b", ""},
		{":queue", ""}, {"x:queue", ""}, {"x:fence", ""}, {"x:readers", ""}, {"a{t:readers", ""}, {"x:gone:y", ""}, {"redlock:markers", ""},
		{"{t}", ""}, {"a{t}", ""}, {"a{t}b", ""}, {"ab{b}", ""}, {"x{y}", ""}, {"aa{a}", ""}, {"x{x}x", ""}, {"x{x}y", ""},
		{"a{t}:queues", ""}, {"a{t}queue", ""}, {"a{t}:queue:x", ""}, {"a{t}:gone", ""}, {"a:queue{t}", ""}, {"a:gone:{t}", ""},
		{"x:permits:1", ""}, {"x:permits", ""}, {"a{t}:permits:", ""}, {"a{t}:permits:1x", ""}, {"a{t}:permits1", ""}, {"a{t}:permits:1025", ""}, {"a{t}:permits:01", ""}, {"a{t:permits:1}", ""}, {"a{t}:1", ""},
		{"a{t:queue", ""}, {"a{}:queue", ""}, {"a{}{b}:queue", ""}, {"a}b:queue", ""}, {"a{t:gone:}", ""}, {"a{t:queue}", ""},
	} {
		if got := Conflict(tc.key); got != tc.want {
			t.Errorf("Conflict(%q) = %q, want %q", tc.key, got, tc.want)
		}
	}
}

// Two locks without a conflict share no name.
func TestLocksShareNoName(t *testing.T) {
	long.Test(t)
	parts := []string{"a", "b", "{", "}", ":queue", ":fence", ":readers", ":gone:", "redlock:marker"}
	tokens := append(slices.Clone(parts), "t", "a{a}", "label:t", ":gone:t")
	owners := make(map[string]string)
	own := func(key, name string) {
		if other, ok := owners[name]; ok && other != key {
			t.Fatalf("the locks %q and %q share %q", other, key, name)
		}
		owners[name] = key
	}
	names := func(key, lock string) {
		for _, name := range []func(string) (string, bool){QueueKey, CounterKey, ReadersKey} {
			if name, ok := name(lock); ok {
				own(key, name)
			}
		}
		for _, token := range tokens {
			if name, ok := TombstoneKey(lock, token); ok {
				own(key, name)
			}
		}
	}
	keys := 0
	var extend func(key string, more int)
	extend = func(key string, more int) {
		if key != "" && Conflict(key) == "" {
			keys++
			own(key, key)
			names(key, key)
			if permits, ok := PermitsKey(key); ok {
				slot := SlotKey(permits, 1)
				own(key, slot)
				names(key, slot)
			}
		}
		if more > 0 {
			for _, part := range parts {
				extend(key+part, more-1)
			}
		}
	}
	extend("", 5)
	parts = []string{"a", "{a}", "{a:b}", ":permits", ":1", ":queue", ":fence", ":gone:"}
	extend("", 5)
	if keys < 10_000 {
		t.Errorf("%d keys were compared", keys)
	}
}

// tagOf returns the part of a key that a Cluster hashes.
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

// The counter and the tombstones have names like the queue's.
func TestNamesOfALock(t *testing.T) {
	for key, want := range map[string]string{"orders/42": "orders/42{orders/42}", "{orders}/42": "{orders}/42"} {
		if got, ok := CounterKey(key); got != want+":fence" || !ok {
			t.Errorf("CounterKey(%q) = %q, %v", key, got, ok)
		}
		got, ok := TombstoneKey(key, "{to}ken")
		if got != want+":gone:{to}ken" || !ok || tagOf(got) != tagOf(key) {
			t.Errorf("TombstoneKey(%q) = %q, %v", key, got, ok)
		}
	}
	for _, name := range []func(string) (string, bool){QueueKey, CounterKey, ReadersKey} {
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
		t.Errorf("a channel of another program has the name %q", got)
	}
}
