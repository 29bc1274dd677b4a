package redlock

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/quorum"
	"github.com/quorumlock/quorumlock/internal/text"
)

// mostWaiters is how many waiters Inspect asks each node for.
const mostWaiters = 100

// Inspect looks at who holds the lock on key and who waits for it, without changing
// anything. It asks all nodes at once and returns when all have answered, after the node
// timeout at the latest, or when ctx ends. What it returns may be out of date
// already: it is for people and monitoring, not for decisions.
//
// Nodes that fail, that do not answer in time, or that cannot be inspected, are
// StateUnknown, which is no error; nor is it one if they cannot tell who waits. The
// error is that of bad arguments, or of ctx if that has ended.
//
// A node that hangs keeps two goroutines of each Inspect for two seconds at most.
func (l *Locker) Inspect(ctx context.Context, key string) (Status, error) {
	if err := l.check("inspect", key); err != nil {
		return Status{}, err
	}
	if err := l.checkContext(ctx, "inspect", key); err != nil {
		return Status{}, err
	}
	fullKey := l.settings.prefix + key
	queue, queues := proto.QueueKey(fullKey)
	findings := make([]finding, l.group.Size())
	answers := make(chan func(), 2*len(findings)) // each notes what was answered
	pending := 0
	ask := func(question func(ctx context.Context) (note func())) {
		pending++
		go func() {
			// Longer than it is waited for: a connection that is being made serves
			// the next call.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), quorum.CallTimeout)
			defer cancel()
			answers <- question(ctx)
		}()
	}
	for i := range findings {
		f := &findings[i]
		node, name := l.group.Node(i)
		f.node, f.waiting, f.err = name, NotKnown, errNotInspected
		if inspector, ok := backend.As[backend.Inspector](node); ok {
			f.err = errNoAnswer
			ask(func(ctx context.Context) func() {
				entry, err := inspector.Inspect(ctx, fullKey)
				return func() { f.entry, f.err = entry, err }
			})
		}
		if scripter, ok := backend.As[backend.Scripter](node); ok && queues {
			ask(func(ctx context.Context) func() {
				reply, err := scripter.Eval(ctx, lua.Waiters, []string{queue}, []string{strconv.Itoa(mostWaiters), "1"})
				return func() {
					if err == nil {
						f.queue(reply)
					}
				}
			})
		}
	}
	timeout := time.NewTimer(l.settings.nodePatience())
	defer timeout.Stop()
	for waiting := true; waiting && pending > 0; {
		select {
		case note := <-answers:
			note()
			pending--
		case <-timeout.C:
			waiting = false
		case <-ctx.Done():
			return Status{}, fmt.Errorf("redlock: inspect %s: %w", text.Quote(fullKey), endOf(ctx, ctx.Err()))
		}
	}
	s := judge(fullKey, l.group.Need(), findings)
	s.Waiting, s.Waiters = waiters(findings)
	return s, nil
}

var (
	errNotInspected = fmt.Errorf("the node cannot be inspected: %w", errors.ErrUnsupported)
	errNoAnswer     = fmt.Errorf("no answer within the node timeout: %w", context.DeadlineExceeded)
)

// A finding is what one node answered.
type finding struct {
	node    string
	entry   backend.Entry // of the lock
	err     error         // why there is none
	waiting int           // or NotKnown
	tickets []string      // the first of them
	waited  []time.Duration
}

// queue takes what the script Waiters answered, if that is what it should be.
func (f *finding) queue(r backend.Reply) {
	count, err := r.Int(0)
	if err != nil || count < 0 {
		return
	}
	var (
		tickets []string
		waited  []time.Duration
	)
	for i := 1; i < len(r); i += 2 {
		ticket, err1 := r.Text(i)
		ms, err2 := r.Int(i + 1)
		if err1 != nil || err2 != nil {
			return
		}
		tickets = append(tickets, ticket)
		waited = append(waited, max(time.Duration(ms)*time.Millisecond, NotKnown))
	}
	f.waiting, f.tickets, f.waited = int(count), tickets, waited
}

// status returns what the node said of the lock.
func (f *finding) status() NodeStatus {
	n := NodeStatus{Node: f.node, Waiting: f.waiting, Err: newNodeError(f.err)}
	switch {
	case f.err != nil:
	case !f.entry.Found:
		n.State = StateFree
	default:
		n.State, n.Owner, n.Fingerprint = holderOf(f.entry.Value)
		n.TTL = f.entry.TTL
	}
	return n
}

// holderOf returns what a key that holds value says of the lock, and of whom.
func holderOf(value string) (s State, owner, print string) {
	if ticket, ok := proto.Reserved(value); ok {
		if w, ok := waiterOf(ticket); ok {
			return StateReserved, w.Owner, w.Fingerprint
		}
	}
	return StateHeld, ownerOf(value), fingerprint(value)
}

// judge returns what a quorum of the nodes says of the lock.
func judge(key string, need int, findings []finding) Status {
	s := Status{Key: key, State: StateSplit}
	free, unknown := 0, 0
	holders := make(map[string][]time.Duration) // a value and how long each node will have it
	for _, f := range findings {
		s.Nodes = append(s.Nodes, f.status())
		switch {
		case f.err != nil:
			unknown++
		case !f.entry.Found:
			free++
		default:
			holders[f.entry.Value] = append(holders[f.entry.Value], f.entry.TTL)
		}
	}
	if free >= need {
		s.State = StateFree
		return s
	}
	most := free
	for value, ttls := range holders {
		most = max(most, len(ttls))
		if len(ttls) < need {
			continue
		}
		slices.SortFunc(ttls, func(a, b time.Duration) int { // the longest first
			return -cmp.Compare(uint64(a), uint64(b)) // NoExpiry is the longest of all
		})
		s.State, s.Owner, s.Fingerprint = holderOf(value)
		s.TTL = ttls[need-1]
		return s
	}
	if most+unknown >= need {
		s.State = StateUnknown
	}
	return s
}

// waiters returns how many wait, NotKnown if no node could tell, and who, by the best
// place that each has on any node.
func waiters(findings []finding) (count int, list []Waiter) {
	count = NotKnown
	longest := 0
	for _, f := range findings {
		count, longest = max(count, f.waiting), max(longest, len(f.tickets))
	}
	seen := make(map[string]bool)
	for rank := range longest {
		for _, f := range findings {
			if rank >= len(f.tickets) || seen[f.tickets[rank]] {
				continue
			}
			seen[f.tickets[rank]] = true
			if w, ok := waiterOf(f.tickets[rank]); ok {
				w.Waited = waited(f.tickets[rank], findings)
				list = append(list, w)
			}
		}
	}
	if count >= 0 {
		count = max(count, len(list))
	}
	return count, list
}

// waited returns for how long a ticket has waited: the median of what the nodes say, one of
// whose clocks may have been set.
func waited(ticket string, findings []finding) time.Duration {
	var all []time.Duration
	for _, f := range findings {
		if i := slices.Index(f.tickets, ticket); i >= 0 {
			all = append(all, f.waited[i])
		}
	}
	slices.Sort(all)
	return all[(len(all)-1)/2]
}
