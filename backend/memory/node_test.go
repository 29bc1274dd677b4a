package memory

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// clock is a clock that a test advances.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2024, 2, 29, 23, 59, 59, 999, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func mustSetNX(t *testing.T, n *Node, key, token string, ttl time.Duration, want bool) {
	t.Helper()
	got, err := n.SetNX(t.Context(), key, token, ttl)
	if err != nil || got != want {
		t.Fatalf("SetNX(%q, %q, %v) = %v, %v, want %v", key, token, ttl, got, err, want)
	}
}

func TestExpiryIsExact(t *testing.T) {
	for _, tc := range []struct{ ttl, lives time.Duration }{
		{time.Millisecond, time.Millisecond},
		{time.Millisecond + 1, 2 * time.Millisecond},
		{250*time.Millisecond - 1, 250 * time.Millisecond},
		{time.Hour, time.Hour},
	} {
		c := newClock()
		n := New(WithClock(c.now))
		mustSetNX(t, n, "k", "a", tc.ttl, true)
		c.step(tc.lives - 1)
		mustSetNX(t, n, "k", "b", tc.ttl, false)
		c.step(1)
		if keys := n.Keys(); len(keys) != 0 {
			t.Errorf("a ttl of %v: at its end the keys are %q, want none", tc.ttl, keys)
		}
		mustSetNX(t, n, "k", "b", tc.ttl, true)
	}
}

func TestLongestTTL(t *testing.T) {
	n := New()
	mustSetNX(t, n, "k", "a", math.MaxInt64, true)
	mustSetNX(t, n, "k", "b", time.Second, false)
	if _, err := n.Eval(t.Context(), lua.Acquire, []string{"l"}, []string{"a", "999999999999999"}); err != nil {
		t.Fatal(err)
	}
	if got, want := n.Keys(), []string{"k", "l"}; !slices.Equal(got, want) {
		t.Errorf("the keys are %q, want %q", got, want)
	}
}

func TestSetNXWithoutTTL(t *testing.T) {
	n := New()
	for _, ttl := range []time.Duration{0, -1, -time.Second} {
		ok, err := n.SetNX(t.Context(), "k", "a", ttl)
		if ok || err == nil || !backend.NotExecuted(err) {
			t.Errorf("SetNX with a ttl of %v = %v, %v, want an error that says that nothing was executed", ttl, ok, err)
		}
	}
	if keys := n.Keys(); len(keys) != 0 {
		t.Errorf("the keys are %q, want none", keys)
	}
}

func TestVirtualTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New()
		mustSetNX(t, n, "k", "a", time.Hour, true)
		time.Sleep(time.Hour - 1)
		mustSetNX(t, n, "k", "b", time.Hour, false)
		time.Sleep(time.Nanosecond)
		mustSetNX(t, n, "k", "b", time.Hour, true)
	})
}

// Expired keys are removed even if nobody asks for them again.
func TestExpiredKeysAreRemoved(t *testing.T) {
	c := newClock()
	n := New(WithClock(c.now))
	mustSetNX(t, n, "stays", "a", time.Hour, true)
	for i := range 10_000 {
		mustSetNX(t, n, fmt.Sprint("k", i), "a", 10*time.Millisecond, true)
		c.step(time.Millisecond)
	}
	if len(n.db.entries) > 128 {
		t.Errorf("%d entries are kept for %d keys", len(n.db.entries), len(n.Keys()))
	}
	mustSetNX(t, n, "stays", "b", time.Hour, false)
}

func TestScripts(t *testing.T) {
	const ttl = "1500"
	long := 1500 * time.Millisecond
	for _, tc := range []struct {
		name    string
		prepare func(n *Node)
		script  *backend.Script
		args    []string
		want    backend.Reply
		after   Entry
	}{
		{"acquire free", nil, lua.Acquire, []string{"a", ttl},
			backend.Reply{int64(1), int64(1500)}, Entry{Found: true, Value: "a", TTL: long}},
		{"acquire own", func(n *Node) { n.Set("k", "a", time.Second) }, lua.Acquire, []string{"a", ttl},
			backend.Reply{int64(1), int64(1000)}, Entry{Found: true, Value: "a", TTL: time.Second}},
		{"acquire taken", func(n *Node) { n.Set("k", "b", time.Second) }, lua.Acquire, []string{"a", ttl},
			backend.Reply{int64(0), int64(1000), int64(-1), "b"}, Entry{Found: true, Value: "b", TTL: time.Second}},
		{"acquire taken without expiry", func(n *Node) { n.Set("k", "b", backend.NoExpiry) }, lua.Acquire, []string{"a", ttl},
			backend.Reply{int64(0), int64(-1), int64(-1), "b"}, Entry{Found: true, Value: "b", TTL: backend.NoExpiry}},
		{"acquire a list", func(n *Node) { n.Push("k", "a") }, lua.Acquire, []string{"a", ttl},
			backend.Reply{int64(0), int64(-1), int64(-1), ""}, Entry{Found: true, TTL: backend.NoExpiry}},
		{"acquire an empty list with an empty token", func(n *Node) { n.Push("k") }, lua.Acquire, []string{"", ttl},
			backend.Reply{int64(0), int64(-1), int64(-1), ""}, Entry{Found: true, TTL: backend.NoExpiry}},

		{"acquire from a long token", func(n *Node) { n.Set("k", strings.Repeat("x", 32)+strings.Repeat("y", 32), time.Second) },
			lua.Acquire, []string{"a", ttl}, backend.Reply{int64(0), int64(1000), int64(-1), strings.Repeat("y", 32)},
			Entry{Found: true, Value: strings.Repeat("x", 32) + strings.Repeat("y", 32), TTL: time.Second}},

		{"delete own", func(n *Node) { n.Set("k", "a", time.Second) }, lua.Delete, []string{"a"},
			backend.Reply{int64(1)}, Entry{}},
		{"delete foreign", func(n *Node) { n.Set("k", "b", time.Second) }, lua.Delete, []string{"a"},
			backend.Reply{int64(0)}, Entry{Found: true, Value: "b", TTL: time.Second}},
		{"delete missing", nil, lua.Delete, []string{""},
			backend.Reply{int64(0)}, Entry{}},
		{"delete a list", func(n *Node) { n.Push("k") }, lua.Delete, []string{""},
			backend.Reply{int64(0)}, Entry{Found: true, TTL: backend.NoExpiry}},

		{"extend own", func(n *Node) { n.Set("k", "a", time.Second) }, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(1)}, Entry{Found: true, Value: "a", TTL: long}},
		{"extend to less", func(n *Node) { n.Set("k", "a", time.Minute) }, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(1)}, Entry{Found: true, Value: "a", TTL: time.Minute}},
		{"extend without expiry", func(n *Node) { n.Set("k", "a", backend.NoExpiry) }, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(1)}, Entry{Found: true, Value: "a", TTL: backend.NoExpiry}},
		{"extend foreign", func(n *Node) { n.Set("k", "b", time.Second) }, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(0)}, Entry{Found: true, Value: "b", TTL: time.Second}},
		{"extend missing", nil, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(0)}, Entry{}},
		{"extend a list", func(n *Node) { n.Push("k", "a") }, lua.Extend, []string{"a", ttl},
			backend.Reply{int64(0)}, Entry{Found: true, TTL: backend.NoExpiry}},

		{"inspect", func(n *Node) { n.Set("k", "a", time.Second) }, lua.Inspect, nil,
			backend.Reply{int64(1), "a", int64(1000)}, Entry{Found: true, Value: "a", TTL: time.Second}},
		{"inspect missing", nil, lua.Inspect, nil,
			backend.Reply{int64(0), "", int64(0)}, Entry{}},
		{"inspect a list", func(n *Node) { n.Push("k", "a") }, lua.Inspect, nil,
			backend.Reply{int64(1), "", int64(-1)}, Entry{Found: true, TTL: backend.NoExpiry}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := New(WithClock(newClock().now))
			if tc.prepare != nil {
				tc.prepare(n)
			}
			got, err := n.Eval(t.Context(), tc.script, []string{"k"}, tc.args)
			if err != nil || !slices.Equal(got, tc.want) {
				t.Errorf("got %v, %v, want %v", got, err, tc.want)
			}
			if after, err := n.Inspect(t.Context(), "k"); err != nil || after != tc.after {
				t.Errorf("the key is %+v, %v afterwards, want %+v", after, err, tc.after)
			}
		})
	}
}

func TestEveryScriptIsKnown(t *testing.T) {
	for _, s := range lua.All {
		if lookup(s.Hash()) == nil {
			t.Errorf("script %s has no implementation here", s.Name())
		}
	}
}

func TestScriptErrors(t *testing.T) {
	unknown := backend.NewScript("unknown", "return 1", "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
	for _, tc := range []struct {
		name        string
		script      *backend.Script
		args        []string
		prepare     func(n *Node)
		want        string
		notExecuted bool
	}{
		{"unknown", unknown, nil, nil, `script "unknown" is not known`, true},
		{"no number", lua.Acquire, []string{"a", "soon"}, nil, "not an integer", false},
		{"a fraction", lua.Acquire, []string{"a", "1.5"}, nil, "not an integer", false},
		{"no time", lua.Acquire, []string{"a", "0"}, nil, "not an integer", false},
		{"too few arguments", lua.Acquire, []string{"a"}, nil, "number of args", false},
		{"extend by no number", lua.Extend, []string{"a", ""}, func(n *Node) { n.Set("k", "a", time.Second) }, "number with nil", false},
		{"extend by a fraction", lua.Extend, []string{"a", "9000.5"}, func(n *Node) { n.Set("k", "a", time.Second) }, "not an integer", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := New(WithClock(newClock().now))
			if tc.prepare != nil {
				tc.prepare(n)
			}
			before, _ := n.Inspect(t.Context(), "k")
			r, err := n.Eval(t.Context(), tc.script, []string{"k"}, tc.args)
			if err == nil || !strings.Contains(err.Error(), tc.want) || r != nil {
				t.Errorf("got %v, %v, want an error that contains %q", r, err, tc.want)
			}
			if backend.NotExecuted(err) != tc.notExecuted {
				t.Errorf("NotExecuted(%v) = %v, want %v", err, !tc.notExecuted, tc.notExecuted)
			}
			if after, _ := n.Inspect(t.Context(), "k"); after != before {
				t.Errorf("the key changed from %+v to %+v", before, after)
			}
		})
	}
}

func TestBatch(t *testing.T) {
	n := New()
	got := n.Batch(t.Context(), []backend.Op{
		{Kind: backend.OpSetNX, Key: "k", Token: "a", TTL: time.Minute},
		{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"l"}, Args: []string{"a", "soon"}},
		{Kind: backend.OpExtend, Key: "k", Token: "a", TTL: time.Hour},
		{Kind: backend.OpEval, Script: lua.Inspect, Keys: []string{"none"}},
		{Kind: 99},
		{Kind: backend.OpEvalDelete, Key: "k", Token: "a"},
	})
	if len(got) != 6 || !got[0].OK || !got[2].OK || len(got[3].Reply) != 3 || !got[5].OK {
		t.Errorf("got %+v", got)
	}
	for i, r := range got {
		if fails := i == 1 || i == 4; (r.Err != nil) != fails {
			t.Errorf("operation %d ended with the error %v", i, r.Err)
		}
	}
	if got := n.Batch(t.Context(), nil); len(got) != 0 {
		t.Errorf("an empty batch has the results %v", got)
	}
}

func TestEndedContext(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()

	for _, ctx := range []context.Context{cancelled, late} {
		n := New()
		n.Set("k", "a", time.Minute)
		_, setNX := n.SetNX(ctx, "l", "a", time.Minute)
		_, del := n.EvalDelete(ctx, "k", "a")
		_, ext := n.Extend(ctx, "k", "a", time.Hour)
		_, eval := n.Eval(ctx, lua.Delete, []string{"k"}, []string{"a"})
		_, look := n.Inspect(ctx, "k")
		for name, err := range map[string]error{
			"SetNX": setNX, "EvalDelete": del, "Extend": ext, "Eval": eval, "Inspect": look,
			"Batch": n.Batch(ctx, []backend.Op{{Kind: backend.OpEvalDelete, Key: "k", Token: "a"}})[0].Err,
			"Subscribe": n.Subscribe(ctx, "c", backend.Events{
				Ready:   func() { t.Error("Ready was called") },
				Message: func(string) { t.Error("Message was called") },
			}),
		} {
			if !errors.Is(err, ctx.Err()) || !backend.NotExecuted(err) {
				t.Errorf("%s: got the error %v, want %v, marked as not executed", name, err, ctx.Err())
			}
		}
		if e, _ := n.Inspect(t.Context(), "k"); !e.Found || e.TTL > time.Minute || len(n.Keys()) != 1 {
			t.Errorf("the calls had an effect: %+v, %q", e, n.Keys())
		}
	}
}

func TestNames(t *testing.T) {
	a, b, c := New(), New(), New(WithName("orders"))
	if a.Name() == b.Name() || !strings.HasPrefix(a.Name(), "memory-") || c.Name() != "orders" {
		t.Errorf("the names are %q, %q and %q", a.Name(), b.Name(), c.Name())
	}
}

func TestFlush(t *testing.T) {
	n := New()
	n.Set("k", "a", time.Minute)
	n.Push("l")
	n.Flush()
	if keys := n.Keys(); len(keys) != 0 {
		t.Errorf("the keys are %q, want none", keys)
	}
	mustSetNX(t, n, "k", "b", time.Minute, true)
}

func TestSetRejectsZeroTTL(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Set with a ttl of 0 did not panic")
		}
	}()
	New().Set("k", "a", 0)
}

// In each round exactly one goroutine gets the key.
func TestOneWinner(t *testing.T) {
	n := New()
	for round := range 50 {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var winners []string
		for i := range 16 {
			wg.Go(func() {
				token := fmt.Sprint(round, "-", i)
				ok, err := n.SetNX(t.Context(), "k", token, time.Minute)
				if err != nil {
					t.Error(err)
				}
				if ok {
					mu.Lock()
					defer mu.Unlock()
					winners = append(winners, token)
				}
			})
		}
		wg.Wait()
		if len(winners) != 1 {
			t.Fatalf("round %d has the winners %q", round, winners)
		}
		if ok, err := n.EvalDelete(t.Context(), "k", winners[0]); !ok || err != nil {
			t.Fatalf("the winner's release = %v, %v", ok, err)
		}
	}
}

func BenchmarkPair(b *testing.B) {
	n := New()
	b.ReportAllocs()
	for b.Loop() {
		n.SetNX(b.Context(), "k", "a", time.Minute)
		n.EvalDelete(b.Context(), "k", "a")
	}
}
