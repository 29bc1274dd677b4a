package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Result performs op, which must not fail.
func (t *T) Result(op backend.Op) backend.Result {
	ctx, cancel := context.WithTimeout(t.Ctx, Call)
	defer cancel()
	r := op.Do(ctx, t.Node)
	if r.Err != nil {
		if op.Kind == backend.OpEval {
			t.Supported(r.Err)
			t.Failf("script %s failed: %w", op.Script.Name(), r.Err)
		}
		t.Failf("%v of key %s failed: %w", op.Kind, Quote(op.Key), r.Err)
	}
	if r.OK && r.Reply != nil {
		t.Failf("%v answered both true and %v", op.Kind, r.Reply)
	}
	return r
}

// TrySetNX returns the result of SetNX.
func (t *T) TrySetNX(key, token string, ttl time.Duration) bool {
	return t.Result(backend.Op{Kind: backend.OpSetNX, Key: key, Token: token, TTL: ttl}).OK
}

// TryExtend returns the result of Extend.
func (t *T) TryExtend(key, token string, ttl time.Duration) bool {
	return t.Result(backend.Op{Kind: backend.OpExtend, Key: key, Token: token, TTL: ttl}).OK
}

// SetNX fails the check unless SetNX returns want. situation describes the key.
func (t *T) SetNX(key, token string, ttl time.Duration, want bool, situation string) {
	if got := t.TrySetNX(key, token, ttl); got != want {
		t.Failf("SetNX of %s = %v, want %v", situation, got, want)
	}
}

// EvalDelete fails the check unless EvalDelete returns want.
func (t *T) EvalDelete(key, token string, want bool, situation string) {
	if got := t.Result(backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: token}).OK; got != want {
		t.Failf("EvalDelete of %s = %v, want %v", situation, got, want)
	}
}

// Extend fails the check unless Extend returns want.
func (t *T) Extend(key, token string, ttl time.Duration, want bool, situation string) {
	if got := t.TryExtend(key, token, ttl); got != want {
		t.Failf("Extend of %s = %v, want %v", situation, got, want)
	}
}

// Eval runs a script on one key, which must not fail.
func (t *T) Eval(s *backend.Script, key string, args ...string) backend.Reply {
	return t.EvalKeys(s, []string{key}, args...)
}

// EvalKeys runs a script, which must not fail.
func (t *T) EvalKeys(s *backend.Script, keys []string, args ...string) backend.Reply {
	return t.Result(backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}).Reply
}

// Answer fails the check unless r consists of the numbers want.
func (t *T) Answer(r backend.Reply, what string, want ...int64) {
	reply := make(backend.Reply, len(want))
	for i, n := range want {
		reply[i] = n
	}
	if !slices.Equal(r, reply) {
		t.Failf("%s answers %v, want %v", what, Brief(r), reply)
	}
}

// Left fails the check unless r begins with two numbers: first, and a time to live of at
// most ttl and not much less.
func (t *T) Left(r backend.Reply, what string, first, ttl int64) {
	n, err1 := r.Int(0)
	ms, err2 := r.Int(1)
	if err1 != nil || err2 != nil || len(r) < 2 || n != first || ms > ttl || ms < ttl-Call.Milliseconds() {
		t.Failf("%s answers %v, want {%d, at most %d and about that}", what, Brief(r), first, ttl)
	}
}

// Brief formats r for a message.
func Brief(r backend.Reply) string {
	var parts []string
	for _, e := range r {
		if s, ok := e.(string); ok {
			parts = append(parts, Quote(s))
		} else {
			parts = append(parts, fmt.Sprintf("%v (%T)", e, e))
		}
	}
	return fmt.Sprint(parts)
}

// Set stores a value with the hook Set.
func (t *T) Set(key, value string, ttl time.Duration) {
	t.Need(t.server.Set != nil, "Set")
	if err := t.server.Set(t.Ctx, t.Node, key, value, ttl); err != nil {
		t.Failf("the harness cannot Set: %w", err)
	}
	t.Defer(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Ctx), time.Second)
		defer cancel()
		t.Node.EvalDelete(ctx, key, value) // it may have no expiry
	})
	if other := t.Name(); t.TrySetNX(key, other, Long) {
		t.EvalDelete(key, other, true, "a key by its holder")
		t.Failf("SetNX took a key that the harness had Set: Set of the harness sets nothing, or SetNX takes what is taken")
	}
}

// AwaitFree waits until key is free, takes it for token, and returns how long it was
// held. began is when its life began, on the clock of the check. AwaitFree fails the
// check if the key was held for less than ttl.
func (t *T) AwaitFree(key, token string, began, ttl time.Duration, situation string) time.Duration {
	for {
		free := t.TrySetNX(key, token, Long)
		lived := t.Clock() - began
		if free {
			// Two clocks differ a little, and servers count whole milliseconds.
			if lived < ttl-ttl/100-2*time.Millisecond {
				t.Failf("%s was free after %v, want it held for %v", situation, lived, ttl)
			}
			return lived
		}
		if lived > ttl+Patience {
			t.Failf("%s was still held after %v, want it free after %v", situation, lived, ttl)
		}
		t.Wait(max(time.Millisecond, ttl/20))
	}
}

// Expires fails the check unless a key is free again after ttl, and soon after it. hold
// takes the key, for token and ttl. It returns when the life of the key began, and
// whether the key could be taken in time.
func (t *T) Expires(ttl time.Duration, situation string, hold func(key, token string) (began time.Duration, valid bool)) {
	var lived time.Duration
	for range Attempts {
		key := t.Name()
		began, valid := hold(key, t.Name())
		if !valid {
			continue
		}
		if lived = t.AwaitFree(key, t.Name(), began, ttl, situation); lived <= ttl+expirySlack {
			return
		}
	}
	if lived == 0 {
		t.Skipf("the server or this machine is too slow to tell")
	}
	t.Failf("%s was still held %v after its end, again and again: want a life of %v, in milliseconds", situation, lived-ttl, ttl)
}

// InTime runs f with longer and longer times to live, until f finishes before the key
// that it made at its start has expired. f must not fail the check itself. It returns an
// error, which counts only if the key was still there.
func (t *T) InTime(f func(ttl time.Duration) error) {
	for ttl := Short; ttl <= 32*Short; ttl *= 2 {
		began := t.Clock()
		err := f(ttl)
		if err == nil {
			return
		}
		if t.Clock()-began < ttl-ttl/100-2*time.Millisecond {
			t.Failf("%w", err)
		}
	}
	t.Skipf("the server or this machine is too slow to tell")
}

// SetOther stores a value at key that is not a string.
func (t *T) SetOther(key string) {
	t.Need(t.server.SetOther != nil, "SetOther")
	if err := t.server.SetOther(t.Ctx, t.Node, key); err != nil {
		t.Failf("the harness cannot SetOther: %w", err)
	}
	if t.TrySetNX(key, t.Name(), Long) {
		t.Failf("SetNX of a key that holds no string = true: it overwrites, or SetOther of the harness has stored nothing")
	}
}

// An Oddity is a text that causes trouble for a node that does not treat keys and tokens
// as plain bytes.
type Oddity struct{ Name, Text string }

func Oddities() []Oddity {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	return []Oddity{
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

// An Entry is the value of a key. Its TTL is [backend.NoExpiry] if the key does not
// expire.
type Entry struct {
	Found bool
	Value string
	TTL   time.Duration
}

// Inspect reads key with a script, which must not fail.
func (t *T) Inspect(key string) Entry {
	r := t.Eval(lua.Inspect, key)
	found, err1 := r.Int(0)
	value, err2 := r.Text(1)
	ms, err3 := r.Int(2)
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Failf("inspect answers %v: %w", Brief(r), err)
	}
	e := Entry{found == 1, value, time.Duration(ms) * time.Millisecond}
	if ms == -1 {
		e.TTL = backend.NoExpiry
	}
	return e
}
