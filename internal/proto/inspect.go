package proto

import (
	"errors"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// An Inspect looks at a lock, and at its queue if there is one.
type Inspect struct {
	Lock  string
	Queue string // or the set of readers, which has the same form; may be empty
	Most  int    // how many tickets are answered at most
}

// Op returns the operation of x.
func (x *Inspect) Op() backend.Op {
	op := backend.Op{Kind: backend.OpEval, Script: lua.Inspect, Keys: []string{x.Lock}}
	if x.Queue != "" {
		op.Keys, op.Args = append(op.Keys, x.Queue), []string{strconv.Itoa(x.Most)}
	}
	return op
}

// NotKnown is the value of a number or a time that a node cannot tell.
const NotKnown = -1

// An Inspected is what a node holds at the key of a lock, and the beginning of its queue.
type Inspected struct {
	Found bool
	Value string        // empty if it is not a string
	TTL   time.Duration // or backend.NoExpiry

	Waiting int             // how many tickets are in the queue, or NotKnown
	Tickets []string        // the first of them
	Waited  []time.Duration // how long the waiter of each has waited, or NotKnown
}

// ReadInspect reads the answer of a node. A queue in another form is not known, which is
// no error.
func ReadInspect(r backend.Reply) (Inspected, error) {
	found, err1 := r.Int(0)
	value, err2 := r.Text(1)
	ms, err3 := r.Int(2)
	if err := errors.Join(err1, err2, err3); err != nil {
		return Inspected{Waiting: NotKnown}, err
	}
	x := Inspected{Found: found == 1, Value: value, TTL: duration(ms), Waiting: NotKnown}
	if ms < 0 {
		x.TTL = backend.NoExpiry
	}
	if len(r) > 3 {
		x.readQueue(r[3:])
	}
	return x, nil
}

// readQueue reads what follows about the queue, if it has the right form.
func (x *Inspected) readQueue(r backend.Reply) {
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
		waited = append(waited, max(duration(ms), NotKnown))
	}
	x.Waiting, x.Tickets, x.Waited = int(count), tickets, waited
}
