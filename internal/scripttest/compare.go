package scripttest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// Compare performs the same n operations, in order, on two nodes. If they answer one
// differently, it returns an error that lists the operations up to there.
//
// The operations depend only on seed, except for keys, which begin with prefix and are
// new for each call, and times that are near the current time. If both nodes run scripts,
// scripts of package backend/lua are included. If both can also subscribe, some waiters
// listen, and must receive the same messages from both nodes.
//
// Compare shows that a test double behaves as a server does. Each node must be a single
// server, up and fast: keys are expected not to expire within seconds, and times to live
// count as equal if they differ by less than a few seconds. The remaining keys expire
// within ten minutes.
func Compare(ctx context.Context, a, b backend.Node, prefix string, seed uint64, n int) error {
	rng := rand.New(rand.NewPCG(seed, seed))
	_, aRuns := backend.As[backend.Scripter](a)
	_, bRuns := backend.As[backend.Scripter](b)
	began := time.Now()
	g := generator{rng: rng, prefix: prefix + check.Random() + ":", scripts: aRuns && bRuns, began: began}
	var inboxes []inboxPair
	if g.scripts {
		var err error
		if inboxes, err = openInboxes(ctx, a, b, g.channels()); err != nil {
			return fmt.Errorf("scripttest: seed %d: %w", seed, err)
		}
	}
	defer func() {
		for _, pair := range inboxes {
			pair.close()
		}
	}()

	defer g.clear(context.WithoutCancel(ctx), a, b)
	g.runs = g.scripts && g.tellsRun(ctx, a) && g.tellsRun(ctx, b)

	var history []string
	step := func(op backend.Op) error {
		history = append(history, describe(op))
		x, y := op.Do(ctx, a), op.Do(ctx, b)
		if err := ctx.Err(); err != nil {
			return err
		}
		// For one node's clock the hint was near, and for the other's it was not.
		if len(x.Reply) != len(y.Reply) {
			x.Reply, y.Reply = inFull(op, x.Reply), inFull(op, y.Reply)
		}
		if err := differ(x, y, time.Since(began)); err != nil {
			return fmt.Errorf("scripttest: seed %d: after %d operations: %w\n%s", seed, len(history), err, trace(history))
		}
		return nil
	}
	for range n {
		op := g.next()
		if err := step(op); err != nil {
			return err
		}
		for _, op := range g.afterCall(ctx, a, op) {
			if err := step(op); err != nil {
				return err
			}
		}
	}
	for _, pair := range inboxes {
		last, calls := g.call(pair.channel)
		for _, op := range calls {
			if err := step(op); err != nil {
				return err
			}
		}
		if err := pair.differ(last); err != nil {
			return fmt.Errorf("scripttest: seed %d: after %d operations: %w", seed, len(history), err)
		}
	}
	return nil
}

// afterCall returns the operations that follow op if it has reserved a lock on n. They
// inspect the reservation and extend it. Otherwise it would end within a second, and not
// at the same moment on both nodes.
func (g *generator) afterCall(ctx context.Context, n backend.Node, op backend.Op) []backend.Op {
	if op.Kind != backend.OpEval ||
		op.Script != lua.Release && op.Script != lua.Rollback && op.Script != lua.ReleaseShared && op.Script != lua.RollbackShared {
		return nil
	}
	inspect := script(lua.Inspect, op.Keys[:1])
	r := inspect.Do(ctx, n)
	if len(r.Reply) != 3 {
		return nil
	}
	value, _ := r.Reply.Text(1)
	if !strings.HasPrefix(value, "~") || value == sharedValue {
		return nil
	}
	return []backend.Op{inspect, script(lua.Extend, op.Keys[:1], value, "60000")}
}

func describe(op backend.Op) string {
	if op.Kind == backend.OpEval {
		return fmt.Sprintf("%s %q %q", op.Script.Name(), op.Keys, op.Args)
	}
	return fmt.Sprintf("%v %q %q %v", op.Kind, op.Key, op.Token, op.TTL)
}

// trace returns the last operations of the history.
func trace(history []string) string {
	const most = 20
	text := ""
	for i := max(0, len(history)-most); i < len(history); i++ {
		text += fmt.Sprintf("%5d  %s\n", i+1, history[i])
	}
	return text
}
