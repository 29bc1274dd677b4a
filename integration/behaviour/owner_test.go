package behaviour

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/redlock"
)

// These tests check who may change the arguments of a command, and when. They cancel commands of
// 8 MB during their write to a slow server, and check what arrives. The race detector finds what
// they miss. Together they cancel more than 200 commands.

// cancelled returns a context that ends at a random time within d, either by its deadline or by a
// cancellation long before it.
func cancelled(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	after := rand.N(d)
	if rand.N(3) == 0 {
		return context.WithTimeout(ctx, after)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	timer := time.AfterFunc(after, cancel)
	return ctx, func() { timer.Stop(); cancel() }
}

// orders records the operations that callers have requested, and compares them with the commands
// that arrive.
type orders struct {
	mu           sync.Mutex
	asked        map[string]bool
	large, small int      // numbers of commands that have arrived
	wrong        []string // commands that nobody requested
}

// ask records an operation before it is sent.
func (o *orders) ask(op backend.Op) {
	ms := fmt.Sprint(op.TTL.Milliseconds())
	p := parsed{keys: list(op.Key)}
	switch op.Kind {
	case backend.OpSetNX:
		p.name, p.args = "SET", list(op.Token, "NX", "PX", ms)
	case backend.OpEvalDelete:
		p.name, p.args = lua.Delete.Hash(), list(op.Token)
	case backend.OpExtend:
		p.name, p.args = lua.Extend.Hash(), list(op.Token, ms)
	case backend.OpEval:
		p = parsed{op.Script.Hash(), list(op.Keys...), list(op.Args...)}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked[p.same()] = true
}

func list(texts ...string) []argument {
	out := make([]argument, len(texts))
	for i, text := range texts {
		out[i] = argumentOf(text)
	}
	return out
}

// see compares a command that has arrived with the requests.
func (o *orders) see(args []argument) {
	p, ok := parse(args)
	if !ok {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if p.large() {
		o.large++
	} else {
		o.small++
	}
	if !o.asked[p.same()] && len(o.wrong) < 10 {
		o.wrong = append(o.wrong, p.String())
	}
}

// A command that is cancelled during its write arrives with its own arguments or not at all. It
// does not matter what the node sends meanwhile, or what the caller does with its slices
// afterwards.
func TestCancelledCommands(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for n, rounds := range map[int]int{1: 40, 3: 5} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				orders := &orders{asked: make(map[string]bool)}
				nodes := make([]backend.Node, n)
				for i := range nodes {
					nodes[i] = a.Node(t, record(t, orders.see).addr)
				}
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var traffic sync.WaitGroup
				for i, node := range nodes {
					for j := range 2 {
						traffic.Go(func() { others(ctx, orders, node, fmt.Sprint("other ", i, j)) })
					}
				}

				var ended atomic.Int64
				padding := strings.Repeat("x", 8<<20)
				for i := range rounds {
					var all sync.WaitGroup
					key := fmt.Sprint("large ", i) + padding
					for k, node := range nodes {
						all.Go(func() {
							ctx, cancel := cancelled(t.Context(), time.Duration(5+4*i)*time.Millisecond) // at the beginning, in the middle, near the end
							defer cancel()
							err := reuse(ctx, orders, node, i, key, fmt.Sprint("token of round ", i, " on ", k))
							if err != nil && errors.Is(err, ctx.Err()) {
								ended.Add(1)
							}
						})
					}
					all.Wait()
				}
				for i, node := range nodes { // one that is not cancelled
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					defer cancel()
					if err := reuse(ctx, orders, node, 0, "large"+padding, fmt.Sprint("last token on ", i)); err != nil {
						t.Error(err)
					}
				}
				stop()
				traffic.Wait()
				quiet(t, orders)

				orders.mu.Lock()
				defer orders.mu.Unlock()
				t.Logf("%d of %d large commands ended before they were answered; %d of these, and %d others, arrived",
					ended.Load(), (rounds+1)*n, orders.large, orders.small)
				for _, w := range orders.wrong {
					t.Errorf("a command arrived that nobody requested: %s", w)
				}
				if ended.Load() == 0 || orders.large == 0 || orders.small == 0 {
					t.Error("want commands that ended early, and commands of both kinds that arrived")
				}
			})
		}
	})
}

// quiet waits until nothing has arrived for a while, because a cancelled command may still be
// under way.
func quiet(t testing.TB, o *orders) {
	t.Helper()
	const while, patience = 300 * time.Millisecond, 20 * time.Second
	for start, last, since := time.Now(), -1, time.Now(); time.Since(since) < while; time.Sleep(10 * time.Millisecond) {
		o.mu.Lock()
		n := o.large + o.small
		o.mu.Unlock()
		if n != last {
			last, since = n, time.Now()
		}
		if time.Since(start) > patience {
			t.Fatalf("commands still arrive after %v", patience)
		}
	}
}

// others sends small commands, and some that an adapter may treat as large, until ctx ends.
func others(ctx context.Context, orders *orders, node backend.Node, name string) {
	for i := 0; ctx.Err() == nil; i++ {
		key := fmt.Sprint(name, i)
		if i%4 == 0 {
			key += strings.Repeat("y", 20<<10)
		}
		within, cancel := context.WithTimeout(ctx, time.Second)
		_ = reuse(within, orders, node, i, key, fmt.Sprint("token of ", name, i)) // only the arrival is checked
		cancel()
		time.Sleep(3 * time.Millisecond) // the pause between two commands
	}
}

// reuse sends one of several kinds of operation on key, and then overwrites every slice that it
// has passed to the node.
func reuse(ctx context.Context, orders *orders, node backend.Node, kind int, key, token string) error {
	ops := []backend.Op{
		{Kind: backend.OpSetNX, Key: key, Token: token, TTL: time.Minute},
		{Kind: backend.OpEval, Script: lua.Release, Keys: []string{key, key[:1]}, Args: []string{token, "ticket of " + token}},
		{Kind: backend.OpExtend, Key: key, Token: token, TTL: time.Minute},
		{Kind: backend.OpEvalDelete, Key: key, Token: token},
	}
	op := ops[kind%len(ops)]
	if kind/len(ops)%2 == 0 {
		ops = []backend.Op{op}
	} else { // a batch with the large operation in the middle
		for i := range ops {
			ops[i] = backend.Op{Kind: backend.OpExtend, Key: fmt.Sprint("beside ", token, i), Token: token, TTL: time.Second}
		}
		ops[1] = op
	}
	for _, op := range ops {
		orders.ask(op)
	}
	var err error
	if len(ops) == 1 {
		err = op.Do(ctx, node).Err
	} else {
		err = node.(backend.Batcher).Batch(ctx, ops)[1].Err
	}
	for i := range ops {
		ops[i] = backend.Op{Kind: backend.OpSetNX, Key: "overwritten", Token: "overwritten", TTL: time.Second}
	}
	for _, list := range [][]string{op.Keys, op.Args} {
		for i := range list {
			list[i] = "overwritten"
		}
	}
	return err
}

// locks records which token belongs to which key, according to the commands that arrive.
type locks struct {
	mu           sync.Mutex
	queues       map[argument]argument // of the locked keys
	keys         map[argument]argument // by token
	large, small int
	wrong        []string
}

func (l *locks) add(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queues[argumentOf(key)] = argumentOf(key + ":queue")
}

func (l *locks) see(args []argument) {
	p, ok := parse(args)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.large() {
		l.large++
	} else {
		l.small++
	}
	if why := l.check(p); why != "" && len(l.wrong) < 10 {
		l.wrong = append(l.wrong, why+": "+p.String())
	}
}

// check returns what is wrong with a command, or "".
func (l *locks) check(p parsed) string {
	if len(p.keys) == 0 || len(p.args) == 0 {
		return "no key or no token"
	}
	queue, ok := l.queues[p.keys[0]]
	if !ok {
		return "a key that nobody locks"
	}
	key, token := p.keys[0], p.args[0]
	if first, ok := l.keys[token]; ok && first != key {
		return fmt.Sprintf("the token of %v", first)
	}
	if token.size == 0 {
		return "an empty token"
	}
	l.keys[token] = key
	want := parsed{name: p.name, keys: []argument{key}, args: []argument{token}}
	switch p.name {
	case "SET":
		want.args = append(want.args, list("NX", "PX", "20000")...)
	case lua.Extend.Hash(), lua.Acquire.Hash(): // a Locker's first acquire on a node is a script
		want.args = append(want.args, list("20000")...)
	case lua.Rollback.Hash(): // takes back an interrupted acquire
		want.keys = append(want.keys, queue)
		want.args = append(want.args, list("", "0", "1")...)
	case lua.Release.Hash():
		want.keys = append(want.keys, queue)
	case lua.Delete.Hash():
	default:
		return "a script that nobody runs"
	}
	if p.same() != want.same() {
		return "want " + want.String()
	}
	return ""
}

// A caller that gives up during the write of its request does not send another lock's token. No
// other lock's request contains its token.
func TestCancelledCallers(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for n, rounds := range map[int]int{1: 8, 3: 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				locks := &locks{queues: make(map[argument]argument), keys: make(map[argument]argument)}
				nodes := make([]backend.Node, n)
				for i := range nodes {
					nodes[i] = a.Node(t, record(t, locks.see).addr)
				}
				open := func() *redlock.Locker {
					return newLocker(t, nodes, redlock.WithTTL(20*time.Second), redlock.WithNodeTimeout(2*time.Second))
				}
				busy := open()
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				var traffic sync.WaitGroup
				for i := range 4 {
					traffic.Go(func() {
						for j := 0; ctx.Err() == nil; j++ {
							key := fmt.Sprintf("{other %d.%d}", i, j)
							locks.add(key)
							if lock, err := busy.TryLock(ctx, key); err == nil {
								_ = errors.Join(lock.Extend(ctx, 20*time.Second), lock.Unlock(ctx)) // only the arrival is checked
							}
							time.Sleep(3 * time.Millisecond) // the pause between two commands
						}
					})
				}

				gaveUp := 0
				padding := strings.Repeat("x", 8<<20)
				for i := range rounds {
					// This separate Locker is idle and has just had an answer. A caller with a
					// single node then sends its request itself.
					locker := open()
					small, large := fmt.Sprintf("{small %d}", i), fmt.Sprintf("{large %d}", i)+padding
					locks.add(small)
					locks.add(large)
					cycle(t, locker, small)
					ctx, cancel := cancelled(t.Context(), time.Duration(5+4*i)*time.Millisecond) // at the beginning, in the middle, near the end
					lock, err := locker.TryLock(ctx, large)
					if err == nil {
						if err := lock.Unlock(t.Context()); err != nil {
							t.Logf("round %d: unlock: %v", i, err) // only the arrival is checked
						}
					} else if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
						gaveUp++
					} else {
						t.Logf("round %d: %v", i, err)
					}
					cancel()
					closing, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					if err := locker.Close(closing); err != nil {
						t.Errorf("round %d: the lock of a failed attempt is not deleted: %v", i, err)
					}
					cancel()
				}
				last := "{last}" + padding // not cancelled
				locks.add(last)
				within, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if lock, err := busy.Lock(within, last); err != nil {
					t.Error(err)
				} else if err := lock.Unlock(within); err != nil {
					t.Logf("the last unlock: %v", err) // only the arrival is checked
				}
				stop()
				traffic.Wait()

				locks.mu.Lock()
				defer locks.mu.Unlock()
				t.Logf("%d of %d callers gave up; %d large commands, and %d others, arrived", gaveUp, rounds, locks.large, locks.small)
				for _, w := range locks.wrong {
					t.Error(w)
				}
				if gaveUp == 0 || locks.large == 0 || locks.small == 0 {
					t.Error("want callers that gave up, and commands of both kinds that arrived")
				}
			})
		}
	})
}
