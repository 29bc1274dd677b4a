package scripttest

import (
	"context"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A generator makes operations with few keys and few tokens, so that they collide.
type generator struct {
	rng     *rand.Rand
	prefix  string
	scripts bool
	runs    bool // both nodes report a run_id
	began   time.Time
	made    int // number of operations made
}

func pick[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

// channels returns the channels with a subscriber, if the nodes can subscribe.
func (g *generator) channels() []string {
	return []string{g.prefix + "inbox", g.prefix + ":in\x00box:\xff", g.prefix + "other inbox"}
}

// ticket usually returns the ticket of a subscriber.
func (g *generator) ticket() string {
	channel := pick(g, append(g.channels(), g.channels()...)...)
	return pick(g,
		"30000:"+channel, "30000:"+channel, "60000:"+channel, "60000:"+channel,
		"30000:"+g.prefix+"nobody", "0:"+channel, "030000:"+channel, "100000:"+channel, channel, "")
}

// waited returns a number of milliseconds that is minutes away from any other. So the
// order in the queue does not depend on the moment at which a node is asked.
func (g *generator) waited() string {
	if g.rng.IntN(10) == 0 {
		return pick(g, "", "soon", "-1", "1.5", "9999999999999999", "0x10", "inf")
	}
	return strconv.Itoa(g.rng.IntN(7e6) * 600_000) // fits in a time.Duration
}

// locks returns the locks. One of them is sometimes a lock, sometimes its own queue and
// sometimes another lock's queue. So a string may be where a queue should be, and vice
// versa.
func (g *generator) locks() []string {
	return []string{g.prefix + "a", g.prefix + "b\x00", g.prefix + "ключ", g.odd()}
}

func (g *generator) odd() string { return g.prefix + "any" }

// micros returns a time in microseconds, relative to the start of Compare.
func (g *generator) micros(after time.Duration) string {
	return strconv.FormatInt(g.began.Add(after).UnixMicro(), 10)
}

func (g *generator) next() backend.Op {
	op := backend.Op{
		Key:   pick(g, g.locks()...),
		Token: pick(g, "", "x", "x\x00", "y\r\n", strings.Repeat("long", 20)),
		TTL:   pick(g, 20*time.Second, 40*time.Second, 60*time.Second-1),
	}
	g.made++
	counter := g.counterOf(op.Key)
	if g.scripts && g.rng.IntN(24) == 0 { // counters of another lock, and invalid ones of this lock
		op.Key, op.Token = counter, pick(g, pick(g, likeCounters(g.began.UnixMicro())...), "", "41", "041", "9007199254740990", "9007199254740991", "9007199254740993",
			"99999999999999999", "-41", "4.1", "4e1", "x", g.micros(time.Hour), g.micros(30*time.Hour))
		op.Kind = pick(g, backend.OpSetNX, backend.OpEvalDelete)
		return op
	}
	kinds := []backend.OpKind{backend.OpSetNX, backend.OpEvalDelete, backend.OpExtend}
	if g.scripts {
		kinds = append(kinds, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval)
	}
	if op.Kind = pick(g, kinds...); op.Kind != backend.OpEval {
		return op
	}
	switch g.rng.IntN(6) {
	case 0, 1, 2:
		return g.fencing(op)
	case 3:
		return g.sharing(op)
	}
	ttl := strconv.FormatInt(adapterkit.Milliseconds(op.TTL), 10)
	bad := pick(g, "soon", "", "0", "-1", "1.5", "99999999999999999999")
	queue := g.queueOf(op.Key)
	both := []string{op.Key, queue}
	ticket := g.ticket()
	return pick(g,
		script(lua.Acquire, both[:1], op.Token, ttl),
		script(pick(g, lua.Acquire, lua.Extend), both[:1], op.Token, bad),
		script(lua.Delete, both[:1], op.Token),
		script(lua.Extend, both[:1], op.Token, ttl),
		script(lua.Inspect, both[:1]),
		script(lua.Inspect, []string{queue}),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, bad, ticket, g.waited()),
		script(lua.Acquire, both[:1], op.Token, ttl, ticket, g.waited()),
		script(lua.Release, both, op.Token),
		script(lua.Release, both, op.Token, "", pick(g, g.channels()...)),
		script(lua.Release, both, op.Token, ticket, ""),
		script(lua.Release, both, "", ticket, ""),
		script(lua.Rollback, both, op.Token, ticket, g.waited(), pick(g, "0", "1")),
		script(lua.Rollback, both, op.Token, ticket, g.waited(), pick(g, "0", "1")),
		script(lua.Echo, both[:1], pick(g, g.channels()...), pick(g, "e", "")),
		script(lua.Inspect, both, pick(g, "100", "100", "2", "0", bad)),
		script(lua.Inspect, []string{op.Key, op.Key}, "100"),
		script(lua.Slots, pick(g, both, g.locks(), g.locks()[:1]), pick(g, nil, []string{ticket}, []string{""})...))
}

// queueOf usually returns the lock's queue.
func (g *generator) queueOf(lock string) string {
	queue := lock + "{" + lock + "}"
	return pick(g, queue, queue, queue, g.odd())
}

// clear deletes the keys that may never expire.
func (g *generator) clear(ctx context.Context, nodes ...backend.Node) {
	if !g.scripts {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, call)
	defer cancel()
	keys := []string{g.odd()}
	for made := -counterLife; made <= g.made; made += counterLife {
		keys = append(keys, g.markerAt(made))
	}
	for _, lock := range append(g.locks(), g.fencedLock()) {
		for made := 0; made <= g.made; made += counterLife {
			keys = append(keys, counterAt(lock, made))
		}
	}
	for _, n := range nodes {
		for _, key := range keys {
			if r := script(lua.Inspect, []string{key}).Do(ctx, n); len(r.Reply) == 3 {
				value, _ := r.Reply.Text(1)
				script(lua.Delete, []string{key}, value).Do(ctx, n)
			}
		}
	}
}

func script(s *backend.Script, keys []string, args ...string) backend.Op {
	return backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}
}
