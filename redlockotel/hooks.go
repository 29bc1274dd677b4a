package redlockotel

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/redlock"
)

// Hooks returns hooks that record metrics and spans, for [redlock.WithHooks]. They can be
// used by several Lockers, and together with other hooks. They keep no goroutine and no
// timer.
//
// Given to [redlock.Locker.With], they observe the calls of the derived Locker. The metric
// redlock.node.request.duration belongs to the nodes, so only hooks that were given to
// [redlock.New] record it. Hooks fails only if an option or a MeterProvider is bad.
func Hooks(opts ...Option) (redlock.Hooks, error) {
	c, err := newConfig(opts)
	if err != nil {
		return redlock.Hooks{}, fmt.Errorf("redlockotel: %w", err)
	}
	m, err := newMetrics(c)
	if err != nil {
		return redlock.Hooks{}, fmt.Errorf("redlockotel: instruments: %w", err)
	}
	t := newTraces(c)
	// Metrics come first, because the span that makes an exemplar must not have ended.
	return redlock.Hooks{
		Begin:    t.begin,
		Waiting:  both(m.waiting, t.waiting),
		Round:    both(m.round, t.round),
		Locked:   both(m.locked, t.ended),
		Extended: both(m.extended, t.extended),
		Unlocked: both(m.unlocked, t.ended),
		Lost:     both(m.lost, t.lost),
		Node:     m.node,
	}, nil
}

// A hook is one of the functions of [redlock.Hooks].
type hook func(context.Context, redlock.Event)

func both(first, second hook) hook {
	return func(ctx context.Context, e redlock.Event) {
		first(ctx, e)
		second(ctx, e)
	}
}
