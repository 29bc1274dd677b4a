package redlock

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
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

// EndQuarantine ends the quarantine of every node at once, for all who use [WithQuarantine]
// with the prefix of this Locker. It declares that no node has lost a lock that somebody still
// holds. If that is wrong, two callers can hold one lock. No program needs it, because a
// quarantine ends by itself: docs/safety.md says when an operator may use it.
//
// It asks each node once, for 2 s at most, or until ctx ends, and returns what each answered:
// [Granted] if its quarantine has ended. If that is not so of all nodes, the error is a
// [*QuorumError] that matches [ErrUnavailable]; the others are out of quarantine.
func (l *Locker) EndQuarantine(ctx context.Context) (Report, error) {
	const op = "end quarantine"
	switch {
	case l == nil || l.base == nil:
		return nil, errZero
	case l.closed.Load():
		return nil, ErrClosed
	}
	if err := l.group.CanQuarantine(); err != nil {
		return nil, fmt.Errorf("redlock: %s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("redlock: %s: the context has ended already: %w", op, endOf(ctx, err))
	}
	start := time.Now()
	report := newReport(l.group, l.group.Mark(ctx))
	if report.Count(Granted) == len(report) {
		return report, nil
	}
	return report, &QuorumError{
		Op: op, Key: l.marker(), Need: len(report), Tries: 1, Rounds: []Report{report},
		Elapsed: time.Since(start), class: ErrUnavailable, ctxErr: endOf(ctx, ctx.Err()),
	}
}

// quarantineLeft returns for how much longer a node is in quarantine that answered err, or 0 if
// it does not say so.
func quarantineLeft(err error) time.Duration {
	var ms int64
	_, after, _ := strings.Cut(err.Error(), "QUARANTINE for another ")
	if _, err := fmt.Sscanf(after, "%d ms", &ms); err != nil || ms < 0 || ms > int64(Forever/time.Millisecond) {
		return 0
	}
	return time.Duration(ms) * time.Millisecond
}
