package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// A tenure is what the tool holds while a command runs: [redlock.Locks], or a [single].
type tenure interface {
	Context(parent context.Context) context.Context
	Err() error
	Until() time.Time
	Unlock(ctx context.Context) error
	Keys() []string
	Fence(key string) uint64
	Handover(key string) redlock.Handover
	Report(key string) redlock.Report
}

// A single is a tenure of one permit, one shared lock or one leadership. It has only one
// key. That of a permit is its slot, which nobody knows before. So its methods do not look
// at the key that they are given.
type single struct{ *redlock.Lock }

func (s single) Keys() []string                   { return []string{s.Key()} }
func (s single) Fence(string) uint64              { return s.Lock.Fence() }
func (s single) Handover(string) redlock.Handover { return s.Lock.Handover() }
func (s single) Report(string) redlock.Report     { return s.Lock.Report() }

// take takes the locks, a permit or a shared lock.
func (a *acquisition) take(ctx context.Context, try bool) (tenure, error) {
	switch {
	case a.permits > 0 && try:
		return takeSingle(a.semaphore.TryAcquire(ctx))
	case a.permits > 0:
		return takeSingle(a.semaphore.Acquire(ctx))
	case a.shared && try:
		return takeSingle(a.conn.locker.TryRLock(ctx, a.name))
	case a.shared:
		return takeSingle(a.conn.locker.RLock(ctx, a.name))
	}
	acquire := a.conn.locker.LockAll
	if try {
		acquire = a.conn.locker.TryLockAll
	}
	locks, err := acquire(ctx, a.names())
	if err != nil {
		return nil, err
	}
	return locks, nil
}

func takeSingle(lock *redlock.Lock, err error) (tenure, error) {
	if err != nil {
		return nil, err
	}
	return single{lock}, nil
}

// checkPermits checks --permits, and rejects flags that contradict it.
func (r *run) checkPermits(cmd *cobra.Command, name string) error {
	switch _, ok := proto.PermitsKey(r.nodes.prefix + name); {
	case r.permits < 1 || r.permits > redlock.MaxPermits:
		return usage(cmd, fmt.Sprintf("--permits is %d: it must be from 1 to %d", r.permits, redlock.MaxPermits))
	case len(r.also) > 0:
		return usage(cmd, "--also holds several locks, but --permits holds a permit instead of a lock: leave one of them out")
	case r.fencing:
		return usage(cmd, "--fencing gives the command a token that is higher for each later lock, but with --permits several hold tokens at a time: leave one of them out")
	case !ok:
		return usage(cmd, fmt.Sprintf("there are no permits of %s, because it has braces without a name between them: take another name", argument(name)))
	}
	return nil
}

// permit returns the number of the permit, or 0 if it is a lock.
func (r *run) permit(lock tenure) int {
	if r.permits == 0 {
		return 0
	}
	_, slot, _ := proto.Slot(r.nodes.prefix + lock.Keys()[0])
	return slot
}

// unlockable returns what could not be unlocked because of err, in words.
func (r *run) unlockable(err error) string {
	if r.permits > 0 || r.leads {
		return "the " + r.what()
	}
	return text.Quote(r.lostName(err))
}

// findPermits finds the permits that are in use. It leaves out those of locks about which
// too few servers tell. The state of such a lock says why.
func (c *connection) findPermits(ctx context.Context, timeout time.Duration, locks []lockState) {
	for i := range locks {
		l := &locks[i]
		if l.State == redlock.StateUnknown {
			continue
		}
		var err error
		if l.permits, err = c.locker.Semaphore(l.name, redlock.MaxPermits).InUse(ctx); err != nil {
			l.hidden = l.cannotFindPermits(err, timeout)
		}
		for _, p := range l.permits {
			if p.State == redlock.StateUnknown { // the servers failed only now
				l.hidden = statusTrouble(p)
			}
		}
	}
}

// cannotFindPermits explains why too few servers tell which permits are in use.
func (l *lockState) cannotFindPermits(err error, timeout time.Duration) trouble {
	t := failures(err, timeout)
	for i, c := range t.complaints {
		if permits, ok := proto.PermitsKey(l.Key); ok && strings.HasPrefix(c.what, "NOPERM") {
			t.complaints[i].remedy = fmt.Sprintf("if permits are used, the user needs the right to their keys, which begin with %s", text.Quote(permits+":"))
		}
	}
	return t
}

// slotOf returns the number of a permit.
func slotOf(s redlock.Status) int {
	_, slot, _ := proto.Slot(s.Key)
	return slot
}

// permitPage shows the permits that are in use, if there are any, or why that is unknown.
func (l *lockState) permitPage(columns int) []string {
	list := l.permitTable(columns)
	if len(l.hidden.servers) > 0 {
		list = append(list, wrap(text.Escape("It is unknown which permits are in use: "+l.hidden.String()), columns, "")...)
	}
	return list
}

func (l *lockState) permitTable(columns int) []string {
	if len(l.permits) == 0 {
		return nil
	}
	noun := "permits are"
	if len(l.permits) == 1 {
		noun = "permit is"
	}
	list := wrap(fmt.Sprintf("%d %s in use.", len(l.permits), noun), columns, "")
	var slots, facts table
	slots.add("HOLDER", "PERMIT", "STATE", "ENDS IN")
	for _, p := range l.permits {
		who := "-"
		if p.Fingerprint != "" {
			who = labelled(p.Owner, p.Fingerprint)
		}
		slots.add(who, strconv.Itoa(slotOf(p)), p.State.String(), timeLeft(p.State, p.TTL))
	}
	facts.add(waiting(l.permits[0].Waiting), "waiting")
	facts.addWaiters(l.permits[0])
	list = append(list, indent(slots.lines(narrower(columns)))...)
	return append(list, indent(facts.lines(narrower(columns)))...)
}

// allPermits returns the beginning of a sentence about all permits.
func (a *acquisition) allPermits() string {
	if a.permits == 1 {
		return "the only permit of " + text.Quote(a.name) + " is"
	}
	return fmt.Sprintf("all %d permits of %s are", a.permits, text.Quote(a.name))
}

// namedHolders is how many holders a message names.
const namedHolders = 3

// holders returns the labels of those who hold permits, as in `, by "web1", "web2"`.
func holders(slots []redlock.Status) string {
	var names []string
	for _, s := range slots {
		if s.State == redlock.StateHeld {
			names = append(names, holder(s.Owner))
		}
	}
	return by(names)
}

// by joins labels, as in `, by "web1", "web2"`. It leaves out some if there are many.
func by(names []string) string {
	switch more := len(names) - namedHolders; {
	case len(names) == 0:
		return ""
	case more > 1:
		names = append(names[:namedHolders:namedHolders], fmt.Sprintf("and %d others", more))
	}
	return ", by " + strings.Join(names, ", ")
}

// tellWaitForPermit is tellWait for a permit.
func (a *acquisition) tellWaitForPermit(ctx context.Context) (told bool, lock tenure) {
	// The permit itself has to wait for the answer. A server that hangs
	// would delay the answer about each few permits.
	ctx, cancel := context.WithTimeout(ctx, a.nodes.timeout+a.nodes.timeout/2)
	defer cancel()
	slots, err := a.semaphore.Inspect(ctx)
	if err != nil {
		return false, nil
	}
	held := 0
	for _, s := range slots {
		switch s.State {
		case redlock.StateUnknown:
			a.sayUnknown(a.name, s)
			return true, nil
		case redlock.StateHeld:
			held++
		}
	}
	if held < a.permits {
		return a.tellAttempt(ctx, a.name)
	}
	a.say("waiting for a permit: %s held%s%s", a.allPermits(), holders(slots), a.until())
	return true, nil
}

// nestedPermit fails if the runs around this one, which wait for it, hold all permits.
func (a *acquisition) nestedPermit() error {
	n, certain := a.around.count(a.locks[0])
	switch {
	case n < a.permits:
		return nil
	case certain >= a.permits:
		return a.end(a.codes.usage, "this run would wait for itself: %s held by the runs of redlock around it, whose commands wait for this one; take another name", a.allPermits())
	}
	a.say("%s held by the runs of redlock that have started this one; if they wait for this one, none of them ends", a.allPermits())
	return nil
}
