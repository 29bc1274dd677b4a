package redlock

import (
	"context"
	"fmt"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// quarantineSlack is how much longer than a lease a quarantine must be. A vote follows a
// hint by up to 250 ms, both at the loss and after the quarantine. Half of the rest is
// how much the clocks of nodes may be off.
const quarantineSlack = time.Second

// checkQuarantine rejects a TTL that is too long for the quarantine.
func (s *settings) checkQuarantine(ttl time.Duration) error {
	if s.quarantine > 0 && s.quarantine-quarantineSlack < ttl {
		return fmt.Errorf("a quarantine of %v: must be longer than the TTL, %v, by %v", s.quarantine, ttl, quarantineSlack)
	}
	return nil
}

func (l *Locker) marker() string { return proto.MarkerKey(l.settings.prefix) }

// EndQuarantine ends the quarantine of every node at once, for everybody who uses
// [WithQuarantine] with the prefix of this Locker. It declares that no node has lost a
// lock that somebody still holds. If that is wrong, two callers can hold one lock. No
// program needs it, because a quarantine ends by itself: docs/safety.md says when an
// operator may use it.
//
// It asks each node once, for 2 s at most, or until ctx ends. The report shows what each
// node answered: [Granted] if its quarantine has ended. If some node did not answer so,
// the error is a [*QuorumError] that matches [ErrUnavailable]; the quarantine of the
// other nodes has ended.
func (l *Locker) EndQuarantine(ctx context.Context) (Report, error) {
	const op = "end quarantine"
	if err := l.usable(); err != nil {
		return nil, err
	}
	if err := l.group.CanQuarantine(); err != nil {
		return nil, fmt.Errorf("redlock: %s: %w", op, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("redlock: %s: the context has ended already: %w", op, ending.Of(ctx, err))
	}
	start := time.Now()
	report := newReport(l.group, l.group.Mark(ctx))
	if report.Count(Granted) == len(report) {
		return report, nil
	}
	return report, &QuorumError{
		Op: op, Key: l.marker(), Need: len(report), Tries: 1, Rounds: []Report{report},
		Elapsed: time.Since(start), class: ErrUnavailable, ctxErr: ending.Of(ctx, ctx.Err()),
	}
}
