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
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/text"
)

// mostWaiters is how many waiters Inspect requests from each node.
const mostWaiters = 100

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
	keys := []string{fullKey}
	if queue, ok := proto.QueueKey(fullKey); ok {
		keys = append(keys, queue)
	}
	findings, err := l.look(ctx, "inspect", keys)
	if err != nil {
		return Status{}, err
	}
	s := judge(fullKey, l.group.Need(), findings)
	s.Waiting, s.Waiters = waiters(findings)
	if anyShared(findings) {
		readers, err := l.lookAtReaders(ctx, "inspect", fullKey)
		if err != nil {
			return Status{}, err
		}
		s.Reading, s.Readers = readersOf(readers)
	}
	return s, nil
}

// look asks all nodes at once about the lock keys[0], and about its queue if that is the
// second key. It returns when all have answered, after the node timeout at the latest, or
// with an error when ctx ends.
func (l *Locker) look(ctx context.Context, op string, keys []string) ([]finding, error) {
	findings := make([]finding, l.group.Size())
	answers := make(chan func(), len(findings)) // each notes what was answered
	pending := 0
	start := time.Now()
	for i := range findings {
		f := &findings[i]
		node, name := l.group.Node(i)
		f.node, f.waiting, f.err = name, NotKnown, errNotInspected
		scripter, ok := backend.As[backend.Scripter](node)
		if !ok {
			continue
		}
		f.err, f.latency = errNoAnswer, l.settings.NodeTimeout // until it answers
		pending++
		go func() {
			// Longer than Inspect waits, because the next call can use a connection that is
			// being made.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), sender.CallTimeout)
			defer cancel()
			reply, err := ask(ctx, scripter, keys)
			took := time.Since(start)
			answers <- func() {
				f.latency = took
				f.read(reply, err)
			}
		}()
	}
	timeout := time.NewTimer(l.settings.NodeTimeout)
	defer timeout.Stop()
	for waiting := true; waiting && pending > 0; {
		select {
		case note := <-answers:
			note()
			pending--
		case <-timeout.C:
			waiting = false
		case <-ctx.Done():
			return nil, fmt.Errorf("redlock: %s %s: %w", op, text.Quote(keys[0]), endOf(ctx, ctx.Err()))
		}
	}
	return findings, nil
}

var (
	errNotInspected = fmt.Errorf("the node runs no scripts (it is not a backend.Scripter), so it cannot be inspected: %w", errors.ErrUnsupported)
	errNoAnswer     = fmt.Errorf("no answer within the node timeout: %w", context.DeadlineExceeded)
)

// ask asks a node about a lock and its queue. If the node rejects the queue's key,
// because the user has no right to it or the slot of the keys is being moved, ask asks
// about the lock alone.
func ask(ctx context.Context, node backend.Scripter, keys []string) (backend.Reply, error) {
	if len(keys) > 1 {
		reply, err := node.Eval(ctx, lua.Inspect, keys, []string{strconv.Itoa(mostWaiters)})
		if !errors.Is(err, backend.ErrRefused) && !errors.Is(err, backend.ErrMigrating) {
			return reply, err
		}
	}
	return node.Eval(ctx, lua.Inspect, keys[:1], nil)
}

// A finding is what one node answered.
type finding struct {
	node    string
	latency time.Duration // until it answered, or how long look waited for it
	lock    content
	err     error    // why there is no answer
	waiting int      // or NotKnown
	tickets []string // the first in the queue
	waited  []time.Duration
}

// A content is what one node holds at the lock's key.
type content struct {
	found bool
	value string // empty if it is not a string
	ttl   time.Duration
}

// read takes the answer of the script Inspect, if it has the right form.
func (f *finding) read(r backend.Reply, err error) {
	if f.err = err; err != nil {
		return
	}
	found, err1 := r.Int(0)
	value, err2 := r.Text(1)
	ms, err3 := r.Int(2)
	if f.err = errors.Join(err1, err2, err3); f.err != nil {
		return
	}
	f.lock = content{found == 1, value, time.Duration(ms) * time.Millisecond}
	if ms < 0 {
		f.lock.ttl = backend.NoExpiry
	}
	if len(r) > 3 {
		f.queue(r[3:])
	}
}

// queue takes what the script answered about the queue, if it has the right form.
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

// status returns what the node said about the lock.
func (f *finding) status() NodeStatus {
	n := NodeStatus{Node: f.node, Waiting: f.waiting, Err: newNodeError(f.err)}
	switch {
	case f.err != nil:
	case !f.lock.found:
		n.State = StateFree
	default:
		n.State, n.Owner, n.Fingerprint = holderOf(f.lock.value)
		n.TTL = f.lock.ttl
	}
	return n
}

// holderOf returns what the value of a lock's key says about the state, the owner and the
// fingerprint.
func holderOf(value string) (s State, owner, print string) {
	if value == proto.SharedValue {
		return StateShared, "", ""
	}
	if ticket, ok := proto.Reserved(value); ok {
		if w, ok := waiterOf(ticket); ok {
			return StateReserved, w.Owner, w.Fingerprint
		}
	}
	return StateHeld, ownerOf(value), fingerprint(value)
}

// judge returns what a quorum of the nodes says about the lock.
func judge(key string, need int, findings []finding) Status {
	s := Status{Key: key, State: StateSplit}
	free, unknown := 0, 0
	holders := make(map[string][]time.Duration) // how long each node keeps a value
	for _, f := range findings {
		s.Nodes = append(s.Nodes, f.status())
		switch {
		case f.err != nil:
			unknown++
		case !f.lock.found:
			free++
		default:
			holders[f.lock.value] = append(holders[f.lock.value], f.lock.ttl)
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

// waiters returns the number of waiters, NotKnown if no node could tell, and the waiters,
// ordered by the best place that each has on any node.
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

// waited returns how long the waiter of a ticket has waited. It is the median of the
// answers, because the clock of a node may have been set.
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
