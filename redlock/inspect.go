package redlock

import (
	"context"
	"fmt"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/text"
)

// Inspect returns who holds the lock on key and who waits for it. It changes nothing. The
// result may already be out of date: it is for people and monitoring, not for decisions.
//
// Inspect asks all nodes at once. It returns when all have answered, after the node
// timeout at the latest, or when ctx ends. Nodes that fail, do not answer in time or run
// no scripts are StateUnknown, which is not an error. Nor is it an error if a node cannot
// tell which callers wait. Only bad arguments, and a ctx that has ended, are errors. A
// node that hangs keeps a goroutine of each Inspect for two seconds at most.
func (l *Locker) Inspect(ctx context.Context, key string) (Status, error) {
	if err := l.check("inspect", key); err != nil {
		return Status{}, err
	}
	if err := l.checkContext(ctx, "inspect", key); err != nil {
		return Status{}, err
	}
	return l.inspect(ctx, l.settings.prefix+key)
}

// inspect is Inspect for a key with the prefix, which was checked.
func (l *Locker) inspect(ctx context.Context, fullKey string) (Status, error) {
	found, err := inspect.Look(ctx, l.group, fullKey, l.settings.NodeTimeout)
	if err != nil {
		return Status{}, notAnswered(ctx, "inspect", fullKey, err)
	}
	return newStatus(fullKey, found), nil
}

// notAnswered returns the error of op if ctx has ended, with err, before the nodes have
// answered.
func notAnswered(ctx context.Context, op, fullKey string, err error) error {
	return fmt.Errorf("redlock: %s %s: %w", op, text.Quote(fullKey), ending.Of(ctx, err))
}
