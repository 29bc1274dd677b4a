package redigo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func TestBatchEachAlone(t *testing.T) {
	s := serve(t, func(_ int, args []string) string {
		switch args[0] {
		case "SET":
			return map[string]string{"a": "+OK\r\n", "b": "$-1\r\n", "c": "-NOPERM this user has no permissions\r\n"}[args[1]]
		case "EVALSHA":
			return "*2\r\n:1\r\n$1\r\nx\r\n"
		}
		return hangUp
	})
	n := New(s.pool(t))
	set := func(key string) backend.Op {
		return backend.Op{Kind: backend.OpSetNX, Key: key, Token: "t", TTL: time.Second}
	}
	r := n.Batch(t.Context(), []backend.Op{
		set("a"), {}, set("c"), set("b"),
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"d"}, Args: []string{"t", "1"}},
	})
	if len(r) != 5 {
		t.Fatalf("got %d results, want 5", len(r))
	}
	if !r[0].OK || r[0].Err != nil {
		t.Errorf("a: got %+v, want OK", r[0])
	}
	if !backend.NotExecuted(r[1].Err) {
		t.Errorf("an op that is no operation: got %v, want an error, not executed", r[1].Err)
	}
	if !errors.Is(r[2].Err, backend.ErrRefused) {
		t.Errorf("c: got %v, want refused", r[2].Err)
	}
	if r[3].OK || r[3].Err != nil {
		t.Errorf("b: got %+v, want neither OK nor an error", r[3])
	}
	if fmt.Sprint(r[4].Reply) != "[1 x]" || r[4].Err != nil {
		t.Errorf("d: got %+v, want [1 x]", r[4])
	}
	if got, want := s.seen(), "SET SET SET EVALSHA"; got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
	if s.dialled() != 1 {
		t.Errorf("%d connections, want 1", s.dialled())
	}
}

func TestBatchEmpty(t *testing.T) {
	s := serve(t, func(int, []string) string { return hangUp })
	if r := New(s.pool(t)).Batch(t.Context(), nil); len(r) != 0 || s.dialled() != 0 {
		t.Errorf("got %d results and %d connections, want none", len(r), s.dialled())
	}
}

// The replies that arrived before a connection broke count. The operations without one get the
// connection's error, and are not sent again.
func TestBatchBroken(t *testing.T) {
	for _, ops := range []int{4, 1000} { // the second batch needs its own goroutine
		count := 0
		s := serve(t, func(int, []string) string {
			if count++; count == 3 {
				return hangUp
			}
			return "+OK\r\n"
		})
		batch := make([]backend.Op, ops)
		for i := range batch {
			batch[i] = backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint(i), Token: "t", TTL: time.Second}
		}
		p := s.pool(t)
		r := New(p).Batch(t.Context(), batch)
		for i, r := range r {
			switch {
			case ops > 4 && r.Err != nil: // the sender may notice the break first
			case i < 2 && (!r.OK || r.Err != nil):
				t.Errorf("%d of %d: got %+v, want OK", i, ops, r)
			case i >= 2 && (r.OK || r.Err == nil):
				t.Errorf("%d of %d: got %+v, want an error", i, ops, r)
			case i == 2 && backend.NotExecuted(r.Err):
				t.Errorf("%d of %d: got %v, want an unknown outcome", i, ops, r.Err)
			}
		}
		if got, want := s.seen(), "SET SET SET"; got != want || s.dialled() != 1 {
			t.Errorf("the server received %q on %d connections, want %q on one", got, s.dialled(), want)
		}
		eventually(t, "the connection is dropped", func() bool { return p.ActiveCount() == 0 })
	}
}

// Replies that arrive before the deadline count.
func TestBatchHalfAnswered(t *testing.T) {
	s := serve(t, func(_ int, args []string) string {
		if args[1] == "a" {
			return "+OK\r\n"
		}
		return silent
	})
	for _, token := range []string{"t", strings.Repeat("t", large)} {
		var r []backend.Result
		soon(t, "Batch", func() {
			r = New(s.pool(t)).Batch(short(t), []backend.Op{
				{Kind: backend.OpSetNX, Key: "a", Token: token, TTL: time.Second},
				{Kind: backend.OpSetNX, Key: "b", Token: token, TTL: time.Second},
			})
		})
		if !r[0].OK || r[0].Err != nil {
			t.Errorf("a: got %+v, want OK", r[0])
		}
		if !errors.Is(r[1].Err, context.DeadlineExceeded) || backend.NotExecuted(r[1].Err) {
			t.Errorf("b: got %v, want a deadline exceeded, outcome unknown", r[1].Err)
		}
	}
}

// If the server does not know a script, later operations on its key must not overtake it.
func TestBatchScriptsInOrder(t *testing.T) {
	var got []string
	s := serve(t, func(_ int, args []string) string {
		switch args[0] {
		case "EVALSHA":
			return "-NOSCRIPT No matching script. Please use EVAL.\r\n"
		case "EVAL":
			got = append(got, "delete "+args[3])
			return ":1\r\n"
		}
		got = append(got, "set "+args[1])
		return "+OK\r\n"
	})
	del := func(key string) backend.Op {
		return backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: "t"}
	}
	set := func(key string) backend.Op {
		return backend.Op{Kind: backend.OpSetNX, Key: key, Token: "t", TTL: time.Second}
	}
	both := backend.Op{Kind: backend.OpEval, Script: lua.Delete, Keys: []string{"a", "b"}, Args: []string{"t"}}
	r := New(s.pool(t)).Batch(t.Context(), []backend.Op{del("a"), del("c"), both, set("b"), del("d"), set("d"), del("b")})
	for i, r := range r {
		if r.Err != nil {
			t.Errorf("%d: %v", i, r.Err)
		}
	}
	// c and the last script on b are unknown, so they are sent again.
	want := "[delete a delete a set b delete d set d delete c delete b]"
	if fmt.Sprint(got) != want {
		t.Errorf("run as %v, want %s", got, want)
	}
	if got, want := s.seen(), "EVAL EVALSHA EVAL SET EVAL SET EVALSHA EVAL EVAL"; got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
}

func TestBatchNoConnection(t *testing.T) {
	p := &redis.Pool{Dial: func() (redis.Conn, error) { return nil, errors.New("no") }}
	for i, r := range New(p).Batch(t.Context(), make([]backend.Op, 2)) {
		if !backend.NotExecuted(r.Err) {
			t.Errorf("%d: got %v, want not executed", i, r.Err)
		}
	}
	ops := []backend.Op{{Kind: backend.OpSetNX, TTL: time.Second}, {Kind: backend.OpExtend, TTL: time.Second}}
	for i, r := range New(p).Batch(t.Context(), ops) {
		if !backend.NotExecuted(r.Err) || !strings.Contains(r.Err.Error(), "no") {
			t.Errorf("%d: got %v, want the dial's error, not executed", i, r.Err)
		}
	}
}

// A server without EVALSHA gets the text of every script.
func TestWithoutEvalsha(t *testing.T) {
	for _, reply := range []string{
		"-ERR unknown command 'EVALSHA', with args beginning with: 'x' \r\n",
		"-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
	} {
		s := serve(t, func(_ int, args []string) string {
			switch args[0] {
			case "EVALSHA":
				return reply
			case "SET":
				return "+OK\r\n"
			}
			return ":1\r\n"
		})
		for _, batch := range []bool{false, true} {
			n := New(s.pool(t))
			for range 3 {
				if r := n.Batch(t.Context(), one); batch && (!r[0].OK || !r[1].OK) {
					t.Errorf("%q: Batch: %+v", reply, r)
				}
				if ok, err := n.EvalDelete(t.Context(), "k", "t"); !ok || err != nil {
					t.Errorf("%q: EvalDelete: %v, %v", reply, ok, err)
				}
			}
		}
		if got := strings.Count(s.seen(), "EVALSHA"); got != 2 {
			t.Errorf("%q: two nodes sent EVALSHA %d times, want 2", reply, got)
		}
	}
}
