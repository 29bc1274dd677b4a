package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// notLocked explains why there is no lock.
func (a *acquisition) notLocked(err error) error {
	name := a.name
	var quorum *redlock.QuorumError
	if errors.As(err, &quorum) {
		name = strings.TrimPrefix(quorum.Key, a.nodes.prefix)
		if len(quorum.Rounds) > 0 {
			a.last = quorum.Rounds[len(quorum.Rounds)-1]
		}
	}
	switch {
	case errors.Is(err, redlock.ErrTaken):
		a.silent = true
		if a.codes.taken == exitOK { // this is no failure, and cron would mail a message
			return &exitError{code: exitOK}
		}
		said := a.taken(name)
		if !a.wait.once() {
			said += fmt.Sprintf("; waited for %s", round(a.wait.d))
		}
		return a.end(a.codes.taken, "%s", said)
	case errors.Is(err, redlock.ErrUnavailable):
		return a.end(a.codes.servers, "no %s: %s", a.one(name), a.nodes.reason(err))
	}
	return a.end(a.codes.servers, "no %s: %s", a.one(name), strings.TrimPrefix(err.Error(), "redlock: "))
}

// taken says that the lock, or each permit, is taken, and by whom.
func (a *acquisition) taken(name string) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if a.permits > 0 {
		said := a.allPermits() + " taken"
		a.ask(ctx, func(ctx context.Context) {
			if slots, err := a.semaphore.Inspect(ctx); err == nil {
				said += holders(slots)
			}
		})
		return said
	}
	said := "the " + a.one(name) + " is taken"
	var (
		s   redlock.Status
		err error
	)
	a.ask(ctx, func(ctx context.Context) { s, err = a.conn.locker.Inspect(ctx, name) })
	switch {
	case err != nil:
	case s.State == redlock.StateHeld:
		said += ", by " + holder(s.Owner)
	case s.State == redlock.StateShared:
		said += sharers(s)
		if a.shared {
			said += ", and a waiter that does not share it comes first"
		}
	}
	return said
}
