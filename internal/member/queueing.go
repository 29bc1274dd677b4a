package member

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// queueingAgain is how long the queues of a node are not used after it refused. Access
// rules may change.
const queueingAgain = notify.MuteAgain

// manyRebuffs is how many tickets in a row a node must fail to queue before this is
// reported. One or two are normal while a subscription breaks or during a failover.
const manyRebuffs = 3

var errNotHeard = errors.New("it queues no waiter: it does not know of the waiter's subscription")

// Queueing is whether waiters can use the queues of a node and be notified there.
type Queueing struct {
	Scripts       bool // the node runs scripts
	subscriptions bool // the node has subscriptions

	name    *label
	polls   func(node string, err error) // called once when waiters have to poll; may be nil
	told    atomic.Bool
	refused atomic.Int64 // in Unix nanoseconds: until then the node's queues are not used
	rebuffs atomic.Int32 // tickets in a row that the node did not queue

	unsure atomic.Pointer[error] // why a release was refused, until Alone tells whether the queue is the reason
}

func newQueueing(n backend.Node, name *label, polls func(node string, err error)) *Queueing {
	q := &Queueing{name: name, polls: polls}
	_, q.Scripts = backend.As[backend.Scripter](n)
	_, q.subscriptions = backend.As[backend.Subscriber](n)
	return q
}

// Notifies reports whether the node can notify waiters.
func (q *Queueing) Notifies() bool { return q.Scripts && q.subscriptions }

// Works reports whether releases on the node can notify queued waiters.
func (q *Queueing) Works() bool {
	if !q.Scripts {
		return false
	}
	until := q.refused.Load()
	return until == 0 || time.Now().UnixNano() > until
}

// Fail notes that the node refused to let this process use a queue. If that was a release,
// the user may instead lack the right to delete the lock. Then Alone decides what is
// reported.
func (q *Queueing) Fail(err error, releasing bool) {
	q.refused.Store(time.Now().Add(queueingAgain).UnixNano())
	if releasing {
		q.unsure.Store(&err)
		return
	}
	q.Tell(err)
}

// Alone notes how a release without the queue ended. If it worked after one with the queue
// was refused, the queue was the reason, and that is reported.
func (q *Queueing) Alone(err error) {
	why := q.unsure.Load()
	if why != nil && q.unsure.CompareAndSwap(why, nil) && err == nil {
		q.Tell(*why)
	}
}

// Answered notes whether the node has queued a ticket. It reports repeated failures in
// the server's own words, because the cause may be a missing right, a full server or a
// read-only one.
func (q *Queueing) Answered(r proto.Refusal) {
	switch {
	case r.Rank >= 0:
		q.rebuffs.Store(0)
	case q.rebuffs.Add(1) != manyRebuffs:
	case r.Why != "":
		q.Tell(errors.New("it queues no waiter: " + r.Why))
	default:
		q.Tell(errNotHeard)
	}
}

// Mute reports, in the server's own words, what kept a release from notifying the next
// waiter.
func (q *Queueing) Mute(why string) {
	q.Tell(errors.New("it releases locks, but does not notify waiters: " + why))
}

// Tell reports once that waiters have to poll, and why.
func (q *Queueing) Tell(err error) {
	if q.polls != nil && q.told.CompareAndSwap(false, true) {
		q.polls(q.name.String(), err)
	}
}
