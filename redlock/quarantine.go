package redlock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
)

// quarantineSlack is by how much a quarantine is longer than a lease at least. A vote
// follows a hint by 250 ms, at the loss and after the quarantine; what is left of it,
// shared by two, is what the clocks of nodes may be off.
const quarantineSlack = time.Second

// checkQuarantine refuses a TTL that a quarantine does not outlast.
func (s *settings) checkQuarantine(ttl time.Duration) error {
	if s.quarantine > 0 && s.quarantine-quarantineSlack < ttl {
		return fmt.Errorf("a quarantine of %v: must be longer than the TTL, %v, by %v", s.quarantine, ttl, quarantineSlack)
	}
	return nil
}

func (l *Locker) marker() string { return proto.MarkerKey(l.settings.prefix) }

// Init says of every node that it has lost nothing since it was started, so that none is
// in quarantine, for all who use [WithQuarantine] with the prefix of this Locker, whether
// it does itself or not. It is for nodes that are new, and for those that were
// started again where it is certain that nobody holds a lock on them, or that they have
// what they had acknowledged (appendfsync always, and a disk that does as it is told).
// Used otherwise it undoes what a quarantine is for. Nothing else needs it: without it a
// quarantine ends by itself.
//
// It asks each node once, for 2 s at most, or until ctx ends. The error names each node
// that was not told, and joins their errors; the others are out of quarantine.
func (l *Locker) Init(ctx context.Context) error {
	switch {
	case l == nil || l.base == nil:
		return errZero
	case l.closed.Load():
		return ErrClosed
	}
	if err := l.group.CanQuarantine(); err != nil {
		return fmt.Errorf("redlock: init: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("redlock: init: the context has ended already: %w", endOf(ctx, err))
	}
	var failed []error
	for i, err := range l.group.Mark(ctx) {
		if err != nil {
			_, name := l.group.Node(i)
			failed = append(failed, fmt.Errorf("redlock: init: %s: %w", text.Name(name), newNodeError(err)))
		}
	}
	return errors.Join(failed...)
}
