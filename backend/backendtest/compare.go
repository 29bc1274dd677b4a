package backendtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// Compare performs the same n operations, in order, on two nodes, and returns an
// error that tells the operations up to the first one that they answer
// differently. The operations follow from seed alone, but for the keys, of which
// each call invents its own under prefix. If both nodes run scripts, those of
// package backend/lua are among them.
//
// It shows that what tests use in place of a server behaves as the server does.
// Both must be up and fast: no key expires within seconds, and times to live
// count as the same if they differ by less than a few seconds. The keys it leaves
// behind expire within a minute.
func Compare(ctx context.Context, a, b backend.Node, prefix string, seed uint64, n int) error {
	rng := rand.New(rand.NewPCG(seed, seed))
	_, aRuns := backend.As[backend.Scripter](a)
	_, bRuns := backend.As[backend.Scripter](b)
	g := generator{rng: rng, prefix: prefix + random() + ":", scripts: aRuns && bRuns}

	began := time.Now()
	var history []string
	for range n {
		op := g.next()
		history = append(history, describe(op))
		x, y := op.Do(ctx, a), op.Do(ctx, b)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := differ(x, y, time.Since(began)); err != nil {
			return fmt.Errorf("backendtest: seed %d: after %d operations: %w\n%s", seed, len(history), err, trace(history))
		}
	}
	return nil
}

// generator makes operations on few keys by few tokens, so that they meet.
type generator struct {
	rng     *rand.Rand
	prefix  string
	scripts bool
}

func pick[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

func (g *generator) next() backend.Op {
	op := backend.Op{
		Key:   g.prefix + pick(g, "a", "b\x00", "ключ"),
		Token: pick(g, "", "x", "x\x00", "y\r\n"),
		TTL:   pick(g, 20*time.Second, 40*time.Second, 60*time.Second-1),
	}
	kinds := []backend.OpKind{backend.OpSetNX, backend.OpEvalDelete, backend.OpExtend}
	if g.scripts {
		kinds = append(kinds, backend.OpEval, backend.OpEval)
	}
	if op.Kind = pick(g, kinds...); op.Kind != backend.OpEval {
		return op
	}
	ttl := strconv.FormatInt(backend.Milliseconds(op.TTL), 10)
	eval := func(s *backend.Script, args ...string) backend.Op {
		return backend.Op{Kind: backend.OpEval, Script: s, Keys: []string{op.Key}, Args: args}
	}
	return pick(g,
		eval(lua.Acquire, op.Token, ttl),
		eval(pick(g, lua.Acquire, lua.Extend), op.Token, pick(g, "soon", "", "0", "-1", "1.5", "99999999999999999999")),
		eval(lua.Delete, op.Token),
		eval(lua.Extend, op.Token, ttl),
		eval(lua.Inspect),
		eval(lua.Inspect))
}

// differ returns an error if x and y are not the same answer, given that the
// first operation of all was so long ago.
func differ(x, y backend.Result, ago time.Duration) error {
	different := fmt.Errorf("one answers %v, the other %v", outcome(x), outcome(y))
	if (x.Err == nil) != (y.Err == nil) || x.OK != y.OK || len(x.Reply) != len(y.Reply) {
		return different
	}
	if errors.Is(x.Err, errors.ErrUnsupported) != errors.Is(y.Err, errors.ErrUnsupported) {
		return different
	}
	// The nodes are asked one after the other, and their clocks differ.
	slack := (ago + 3*time.Second).Milliseconds()
	for i := range x.Reply {
		m, ok1 := x.Reply[i].(int64)
		n, ok2 := y.Reply[i].(int64)
		switch {
		case ok1 && ok2:
			// Small numbers are flags.
			if m != n && (min(m, n) < 10 || max(m, n)-min(m, n) > slack) {
				return different
			}
		case x.Reply[i] != y.Reply[i]:
			return different
		}
	}
	return nil
}

func outcome(r backend.Result) string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("with the error %q", r.Err)
	case r.Reply != nil:
		return brief(r.Reply)
	}
	return fmt.Sprint(r.OK)
}

func describe(op backend.Op) string {
	if op.Kind == backend.OpEval {
		return fmt.Sprintf("%s %q %q", op.Script.Name(), op.Keys, op.Args)
	}
	return fmt.Sprintf("%v %q %q %v", op.Kind, op.Key, op.Token, op.TTL)
}

// trace returns the end of the history.
func trace(history []string) string {
	const most = 20
	text := ""
	for i := max(0, len(history)-most); i < len(history); i++ {
		text += fmt.Sprintf("%5d  %s\n", i+1, history[i])
	}
	return text
}
