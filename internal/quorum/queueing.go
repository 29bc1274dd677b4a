package quorum

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// queueingAgain is how long the queues of a node are not used after it refused. Access
// rules may change.
const queueingAgain = time.Minute

// manyRebuffs is how many tickets in a row a node must fail to queue before this is
// reported. One or two are normal while a subscription breaks or during a failover.
const manyRebuffs = 3

var errNotHeard = errors.New("it queues no waiter: it does not know of the waiter's subscription")

// queueing is whether waiters can use the queues of a node and be notified there.
type queueing struct {
	scripts, subscriptions bool // the node supports this

	name    *label
	polls   func(node string, err error) // called once when waiters have to poll; may be nil
	told    atomic.Bool
	refused atomic.Int64 // in Unix nanoseconds: until then the node's queues are not used
	rebuffs atomic.Int32 // tickets in a row that the node did not queue
}

func newQueueing(g *Group, n backend.Node, name *label) *queueing {
	q := &queueing{name: name, polls: g.cfg.Polls}
	_, q.scripts = backend.As[backend.Scripter](n)
	_, q.subscriptions = backend.As[backend.Subscriber](n)
	return q
}

// notifies reports whether the node can notify waiters.
func (q *queueing) notifies() bool { return q.scripts && q.subscriptions }

// works reports whether releases on the node can notify queued waiters.
func (q *queueing) works() bool {
	if !q.scripts {
		return false
	}
	until := q.refused.Load()
	return until == 0 || time.Now().UnixNano() > until
}

// fail notes that the node refused to let this process use a queue.
func (q *queueing) fail(err error) {
	q.refused.Store(time.Now().Add(queueingAgain).UnixNano())
	q.tell(err)
}

// answered notes whether the node has queued a ticket. It reports repeated failures in
// the server's own words, because the cause may be a missing right, a full server or a
// read-only one.
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

// mute reports, in the server's own words, what kept a release from notifying the next
// waiter.
func (q *queueing) mute(why string) {
	q.tell(errors.New("it releases locks, but does not notify waiters: " + why))
}

// tell reports once that waiters have to poll, and why.
func (q *queueing) tell(err error) {
	if q.polls != nil && q.told.CompareAndSwap(false, true) {
		q.polls(q.name.String(), err)
	}
}
