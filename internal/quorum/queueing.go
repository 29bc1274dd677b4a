package quorum

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// queueingAgain is for how long a node that refused to let us use a queue is not
// asked again: rules of access change.
const queueingAgain = time.Minute

// manyRebuffs is how many tickets in a row a node does not queue before that is told: one
// or two may come while a subscription breaks.
const manyRebuffs = 3

var errNotQueued = errors.New("it runs the scripts, but queues no waiter: either it does not hear the waiter's subscription, " +
	"or this user has no right to PUBSUB, TIME, ZADD, PEXPIRE or ZRANK")

// queueing is whether waiters can stand in queues on a node and be called.
type queueing struct {
	scripts, subscriptions bool // the node can

	name    *label
	polls   func(node string, err error) // nil, or told when waiters have to poll, once
	told    atomic.Bool
	refused atomic.Int64 // until then the node is not asked, in Unix nanoseconds
	rebuffs atomic.Int32 // tickets in a row that the node did not queue
}

func newQueueing(g *Group, n backend.Node, name *label) *queueing {
	q := &queueing{name: name, polls: g.cfg.Polls}
	_, q.scripts = backend.As[backend.Scripter](n)
	_, q.subscriptions = backend.As[backend.Subscriber](n)
	return q
}

// calls reports whether the node can call waiters.
func (q *queueing) calls() bool { return q.scripts && q.subscriptions }

// works reports whether locks are released to those who stand in a queue.
func (q *queueing) works() bool {
	if !q.scripts {
		return false
	}
	until := q.refused.Load()
	return until == 0 || time.Now().UnixNano() > until
}

// fail notes that the node refused to let us use a queue.
func (q *queueing) fail(err error) {
	q.refused.Store(time.Now().Add(queueingAgain).UnixNano())
	q.tell(err)
}

// answered notes whether the node has queued a ticket.
func (q *queueing) answered(queued bool) {
	if queued {
		q.rebuffs.Store(0)
	} else if q.rebuffs.Add(1) == manyRebuffs {
		q.tell(errNotQueued)
	}
}

// mute notes what kept a release from calling the next waiter.
func (q *queueing) mute(r backend.Reply) {
	if why, err := r.Text(1); err == nil {
		q.tell(errors.New("it releases locks, but does not call who waits: " + why))
	}
}

// tell tells, once, that waiters have to poll, and why.
func (q *queueing) tell(err error) {
	if q.polls != nil && q.told.CompareAndSwap(false, true) {
		q.polls(q.name.String(), err)
	}
}
