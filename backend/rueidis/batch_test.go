package rueidis

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// forgetful replies like a server that knows a script only after it has got its text, and records
// the order of execution.
func forgetful() (answer func([]string) string, ran func() []string) {
	var mu sync.Mutex
	var log []string
	known := make(map[string]bool)
	answer = func(args []string) string {
		mu.Lock()
		defer mu.Unlock()
		switch args[0] {
		case "SET":
			log = append(log, "set "+args[1])
		case "EVALSHA":
			if !known[args[1]] {
				return "-NOSCRIPT No matching script.\r\n"
			}
			log = append(log, "script "+args[3])
		case "EVAL":
			for _, s := range lua.All {
				if s.Source() == args[1] {
					known[s.Hash()] = true
				}
			}
			log = append(log, "script "+args[3])
		}
		return ""
	}
	return answer, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(log)
	}
}

func TestBatchKeepsOrder(t *testing.T) {
	for _, keys := range []int{1, 3, 100} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			answer, ran := forgetful()
			n := newNode(t, newFake(t, answer), rueidis.ClientOption{})
			var ops []backend.Op
			for i := range keys {
				key := fmt.Sprint(i)
				ops = append(ops,
					backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: "old"},
					backend.Op{Kind: backend.OpSetNX, Key: key, Token: "new", TTL: time.Second},
					backend.Op{Kind: backend.OpExtend, Key: key, Token: "new", TTL: time.Second},
				)
			}
			for i, r := range n.Batch(soon(t), ops) {
				if r.Err != nil || !r.OK {
					t.Errorf("operation %d: %+v", i, r)
				}
			}
			onKey := map[string][]string{}
			for _, line := range ran() {
				what, key, _ := strings.Cut(line, " ")
				onKey[key] = append(onKey[key], what)
			}
			for i := range keys {
				if got := onKey[fmt.Sprint(i)]; !slices.Equal(got, []string{"script", "set", "script"}) {
					t.Errorf("on key %d ran %q, want script, set, script", i, got)
				}
			}
		})
	}
}

func TestBatchSendsTextAgain(t *testing.T) {
	answer, ran := forgetful()
	f := newFake(t, answer)
	n := newNode(t, f, rueidis.ClientOption{})
	ops := []backend.Op{
		{Kind: backend.OpSetNX, Key: "a", Token: "token", TTL: time.Second},
		{Kind: backend.OpEvalDelete, Key: "b", Token: "token"},
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"c"}, Args: []string{"token", "1000"}},
		{Kind: 77},
	}
	results := n.Batch(soon(t), ops)
	for i, r := range results[:3] {
		if r.Err != nil {
			t.Errorf("operation %d: %v", i, r.Err)
		}
	}
	if err := results[3].Err; !backend.NotExecuted(err) {
		t.Errorf("an op that is no operation: %v", err)
	}
	if got := ran(); len(got) != 3 {
		t.Errorf("ran %q", got)
	}
	if got := f.count("EVALSHA"); got != 2 {
		t.Errorf("%d hashes sent, want 2", got)
	}
	n.Batch(soon(t), ops)
	if got := f.count("EVAL"); got != 2 {
		t.Errorf("%d texts sent, want 2", got)
	}
}

func TestBatchFailsEachAlone(t *testing.T) {
	f := newFake(t, func(args []string) string {
		if args[0] == "SET" && args[1] == "bad" {
			return "-NOPERM no permission\r\n"
		}
		return ""
	})
	n := newNode(t, f, rueidis.ClientOption{})
	var ops []backend.Op
	for i := range 3000 {
		ops = append(ops, backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint(i), Token: "token", TTL: time.Second})
	}
	ops[1500].Key = "bad"
	for i, r := range n.Batch(soon(t), ops) {
		if ok := i != 1500; r.OK != ok || (r.Err == nil) != ok {
			t.Errorf("operation %d: %+v", i, r)
		}
	}
	for i, args := range f.commands("SET") {
		if args[1] != ops[i].Key {
			t.Fatalf("command %d is for key %q, want %q", i, args[1], ops[i].Key)
		}
	}
}

func TestEmptyBatch(t *testing.T) {
	f := newFake(t, nil)
	n := newNode(t, f, rueidis.ClientOption{})
	before := f.count("PING")
	if got := n.Batch(soon(t), nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
	if f.count("PING") != before {
		t.Error("an empty batch was sent to the server")
	}
}
