package inspect

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A Status is what a quorum of the nodes says about a lock.
type Status struct {
	Lock
	Waiting int      // how many callers wait, or proto.NotKnown if no node can tell
	Waiters []Waiter // the first of them, next one first
	Reading int      // how many callers read: the most that a node has
	Readers []Reader
	Nodes   []Node
}

// A Lock is what the value and the expiry of a lock's key say. Owner and Fingerprint are
// those of the holder, or of the waiter for which it is reserved.
type Lock struct {
	State              State
	Owner, Fingerprint string
	TTL                time.Duration // or backend.NoExpiry
}

// A Node is what one node says.
type Node struct {
	Name    string
	Lock                  // not Split
	Waiting int           // as in Status
	Latency time.Duration // until it answered, or how long it was waited for
	Err     error         // why it is Unknown
}

// A State says whether a lock is held.
type State uint8

const (
	Unknown  State = iota // it depends on nodes that did not answer
	Free                  // a quorum of nodes does not have it
	Held                  // one owner has it on a quorum
	Reserved              // a quorum has reserved it for a waiter
	Split                 // certainly none of these
	Shared                // on a quorum of nodes somebody reads
)

// Look asks the nodes who has the lock key, who waits for it and who reads it. The error
// is that of ctx.
func Look(ctx context.Context, nodes Nodes, key string, timeout time.Duration) (Status, error) {
	queue, _ := proto.QueueKey(key)
	findings, err := askAll(ctx, nodes, key, queue, timeout)
	if err != nil {
		return Status{}, err
	}
	sets, err := readers(ctx, nodes, key, findings, timeout)
	if err != nil {
		return Status{}, err
	}
	s := Status{Lock: judge(findings, nodes.Need())}
	s.Waiting, s.Waiters = waiters(findings)
	s.Reading, s.Readers = readersOf(sets)
	for _, f := range findings {
		s.Nodes = append(s.Nodes, Node{f.node, f.lock(), f.Waiting, f.latency, f.err})
	}
	return s, nil
}

// lock returns what the node says about the lock.
func (f *finding) lock() Lock {
	switch {
	case f.err != nil:
		return Lock{}
	case !f.Found:
		return Lock{State: Free}
	}
	lock := lockOf(f.Value)
	lock.TTL = f.TTL
	return lock
}

// lockOf returns what the value of a lock's key says.
func lockOf(value string) Lock {
	if value == proto.SharedValue {
		return Lock{State: Shared}
	}
	if ticket, ok := proto.Reserved(value); ok {
		if w, ok := waiterOf(ticket); ok {
			return Lock{State: Reserved, Owner: w.Owner, Fingerprint: w.Fingerprint}
		}
	}
	return Lock{State: Held, Owner: proto.OwnerOf(value), Fingerprint: proto.Fingerprint(value)}
}

// judge returns what a quorum of need nodes says about the lock.
func judge(findings []finding, need int) Lock {
	free, unknown := 0, 0
	holders := make(map[string][]time.Duration) // how long each node keeps a value
	for _, f := range findings {
		switch {
		case f.err != nil:
			unknown++
		case !f.Found:
			free++
		default:
			holders[f.Value] = append(holders[f.Value], f.TTL)
		}
	}
	if free >= need {
		return Lock{State: Free}
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
		lock := lockOf(value)
		lock.TTL = ttls[need-1]
		return lock
	}
	if most+unknown >= need {
		return Lock{}
	}
	return Lock{State: Split}
}
