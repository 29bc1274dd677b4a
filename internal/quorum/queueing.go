package quorum

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// queueingAgain is for how long a node that refused to let us use a queue is not
// asked again: rules of access change.
const queueingAgain = time.Minute

// manyRebuffs is how many tickets in a row a node does not queue before that is told: one
// or two may come while a subscription breaks, or a replica takes its master's place.
const manyRebuffs = 3

var errNotHeard = errors.New("it queues no waiter: it does not know of the waiter's subscription")

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

// answered notes whether the node has queued a ticket. If not, it tells that in the server's
// words, because a right may be missing, but the server may as well be full or read-only.
func (q *queueing) answered(r proto.Refusal) {
	switch {
	case r.Rank >= 0:
		q.rebuffs.Store(0)
	case q.rebuffs.Add(1) != manyRebuffs:
	case r.Why != "":
		q.tell(errors.New("it queues no waiter: " + r.Why))
	default:
		q.tell(errNotHeard)
	}
}

// mute notes what kept a release from notifying the next waiter, in the server's words.
func (q *queueing) mute(why string) {
	q.tell(errors.New("it releases locks, but does not notify waiters: " + why))
}

// tell tells, once, that waiters have to poll, and why.
func (q *queueing) tell(err error) {
	if q.polls != nil && q.told.CompareAndSwap(false, true) {
		q.polls(q.name.String(), err)
	}
}
