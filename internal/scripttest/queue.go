package scripttest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// A queue is a lock and its queue, on the node under check.
type queue struct {
	t          *trial
	lock, name string
	called     *time.Duration // when a script that may notify was last sent, on the clock of the check
}

// queue returns a free lock with an empty queue.
func (t *trial) queue() queue { return t.queueOf(t.Name()) }

// queueOf returns a lock and its queue, which is in the same slot of a Cluster.
func (t *trial) queueOf(lock string) queue {
	has[backend.Scripter](t, "Scripter")
	return queue{t, lock, lock + "{" + lock + "}", new(time.Duration)}
}

// eval runs a script on the lock and its queue, which must not fail.
func (q queue) eval(s *backend.Script, args ...string) backend.Reply {
	if s == lua.Release || s == lua.Rollback {
		q.sends()
	}
	return q.t.EvalKeys(s, []string{q.lock, q.name}, args...)
}

// sends notes that a script that may notify a waiter is about to be sent.
func (q queue) sends() { *q.called = q.t.Clock() }

// fails fails the check unless the script returns an error for these arguments.
func (q queue) fails(s *backend.Script, keys []string, args ...string) {
	q.t.Eval(lua.Inspect, q.t.Name()) // skips the check if scripts are not supported
	ctx, cancel := context.WithTimeout(q.t.Ctx, call)
	defer cancel()
	r := backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}.Do(ctx, q.t.Node)
	if r.Err == nil {
		q.t.Failf("%s with the arguments %q answers %v, want an error", s.Name(), args, check.Brief(r.Reply))
	}
}

// A waiter has a ticket, and is subscribed to its channel.
type waiter struct {
	*check.Listener
	channel, ticket string
	grace           time.Duration // how long a lock is reserved for it
}

// waiter returns a waiter. grace is in milliseconds.
func (q queue) waiter(grace int) waiter { return q.waiterOn(grace, q.t.Name()) }

func (q queue) waiterOn(grace int, channel string) waiter {
	w := waiter{
		q.t.Listen(q.t.Ctx, channel, 0), channel, strconv.Itoa(grace) + ":" + channel,
		min(time.Duration(grace)*time.Millisecond, lua.MaxGrace),
	}
	w.AwaitReady()
	return w
}

// waits fails the check unless w is refused, and then is in the queue behind rank others.
// w claims to have waited for waited milliseconds.
func (q queue) waits(w waiter, waited int, rank int64, situation string) {
	r := q.eval(lua.Acquire, q.t.Name(), "60000", w.ticket, strconv.Itoa(waited))
	if n, err := r.Int(0); err != nil || n != 0 || len(r) != 4 || r[2] != rank {
		q.t.Failf("acquire by a waiter, %s, answers %v, want {0, a time to live, %d, the owner}", situation, check.Brief(r), rank)
	}
}

// turnsAway fails the check unless the waiter with the ticket is refused and not queued.
// failed is the command that caused this, or "".
func (q queue) turnsAway(ticket, situation, failed string) {
	r := q.eval(lua.Acquire, q.t.Name(), "60000", ticket, "0")
	n, err := r.Int(0)
	ok := err == nil && n == 0 && len(r) >= 4 && r[2] == int64(-1)
	if failed == "" {
		ok = ok && len(r) == 4
	} else {
		why, err := r.Text(4)
		ok = ok && err == nil && len(r) == 5 && strings.HasPrefix(why, failed+": ") && len(why) > len(failed)+2
		failed = ", " + failed + ": its error"
	}
	if !ok {
		q.t.Failf("acquire with the ticket %s, %s, answers %v, want {0, a time to live, -1, the owner%s}", check.Quote(ticket), situation, check.Brief(r), failed)
	}
}

// inQueue fails the check unless the queue consists of these waiters, in this order.
func (q queue) inQueue(when string, want ...waiter) {
	count, tickets, _ := q.look("100")
	if count != int64(len(want)) || !slices.Equal(tickets, ticketsOf(want)) {
		q.t.Failf("%s, the queue has %d waiters, %q, want %q", when, count, tickets, ticketsOf(want))
	}
}

// holds fails the check unless the lock holds value, and lives for at most ttl and not
// much less.
func (q queue) holds(value string, ttl time.Duration, when string) {
	r := q.t.Eval(lua.Inspect, q.lock)
	if len(r) != 3 || r[0] != int64(1) || r[1] != value {
		q.t.Failf("%s, the lock is %v, want {1, %s, its time to live}", when, check.Brief(r), check.Quote(value))
	}
	if left, _ := r.Int(2); left > ttl.Milliseconds() || left < (ttl-call).Milliseconds() {
		q.t.Failf("%s, the lock lives for %d ms, want at most %v and about that", when, left, ttl)
	}
}

// reserved fails the check unless the script that was just sent has reserved the lock for
// w, for its grace. It then extends the reservation for the rest of the check. If the
// check is too slow to see the reservation, reserved skips it.
func (q queue) reserved(w waiter, when string) {
	r := q.t.Eval(lua.Inspect, q.lock)
	least := w.grace - (q.t.Clock() - *q.called)
	if len(r) == 3 && r[0] == int64(0) && least <= 0 {
		q.t.Skipf("the server or this machine is too slow for this check")
	}
	if len(r) != 3 || r[0] != int64(1) || r[1] != "~"+w.ticket {
		q.t.Failf("%s, the lock is %v, want {1, %s, its time to live}", when, check.Brief(r), check.Quote("~"+w.ticket))
	}
	// Two clocks differ slightly, and servers count whole milliseconds.
	least -= w.grace/100 + 2*time.Millisecond
	if left, _ := r.Int(2); left > w.grace.Milliseconds() || left < max(least.Milliseconds(), 0) {
		q.t.Failf("%s, the lock is reserved for another %d ms, want %v since the notification", when, left, w.grace)
	}
	if !q.t.TryExtend(q.lock, "~"+w.ticket, long) {
		if q.t.Clock()-*q.called >= w.grace {
			q.t.Skipf("the server or this machine is too slow for this check")
		}
		q.t.Failf("%s, the lock is no longer reserved before the end of the grace, %v", when, w.grace)
	}
	q.staysReserved(w, when)
}

// staysReserved fails the check unless the lock is still reserved for w. It must have
// been reserved before.
func (q queue) staysReserved(w waiter, when string) {
	q.holds("~"+w.ticket, long, when)
	q.t.SetNX(q.lock, q.t.Name(), long, false, "a reserved lock")
}

// free fails the check unless the lock is free.
func (q queue) free(when string) {
	if r := q.t.Eval(lua.Inspect, q.lock); len(r) == 0 || r[0] != int64(0) {
		q.t.Failf("%s, the lock is %v, want it free", when, check.Brief(r))
	}
}

// take takes the free lock for a new token.
func (q queue) take() (token string) {
	token = q.t.Name()
	q.t.SetNX(q.lock, token, long, true, "a free key")
	return token
}

// neighbour returns another lock and its queue. They are in the same slot of a Cluster, and
// therefore on the same master.
func (q queue) neighbour() queue {
	return q.t.queueOf(fmt.Sprintf("%s{%s}%d", q.lock, q.lock, q.t.Number()))
}

// mark makes the server send a message to w, and returns it. When the message arrives,
// all earlier ones have arrived too.
func (q queue) mark(w waiter) string {
	other := q.neighbour()
	token := other.take()
	other.waits(w, 0, 0, "the only waiter")
	q.t.Answer(other.eval(lua.Release, token), "release of a key by its holder", 1)
	return other.call()
}

// receivesOnly fails the check unless w has received the messages want and no others. Use it
// once for each waiter.
func (q queue) receivesOnly(w waiter, want ...string) {
	w.Hears(append(slices.Clone(want), q.mark(w))...)
}

// leaves ends the subscription of w, and waits until the server knows. The masters of a
// Cluster learn of it at different times.
func (q queue) leaves(w waiter) {
	w.Cancel()
	w.AwaitEnd(patience, "its ctx ended")
	other := q.neighbour()
	other.take()
	q.t.Eventually("the subscriber has left, but its inbox still counts as open", func(context.Context) error {
		r := other.eval(lua.Acquire, q.t.Name(), "60000", w.ticket, "0")
		if rank, err := r.Int(2); err != nil || rank >= 0 {
			return errors.New("acquire answers " + check.Brief(r))
		}
		return nil
	})
}

// spoil replaces the queue by a value that is not a queue.
func (q queue) spoil() {
	q.t.SetOther(q.name)
}

// call is the message that a notified waiter receives, and next the message to the
// waiters behind it.
func (q queue) call() string { return "g" + q.lock }

func (q queue) next(head waiter) string {
	return "n" + strconv.FormatInt(head.grace.Milliseconds(), 10) + ":" + q.lock
}

// badNumbers returns texts that are not a valid time waited.
func badNumbers() []string {
	return []string{"", "-1", "+1", "1.5", " 1", "1 ", "soon", "0x10", "1e3", "inf", "nan", "9999999999999999"}
}

// badTickets returns invalid tickets, although channel has a subscriber.
func badTickets(channel string) []string {
	return []string{
		channel, ":" + channel, "0:" + channel, "020:" + channel, "+20:" + channel, "-20:" + channel, " 20:" + channel, "20 :" + channel,
		"2.5:" + channel, "1e3:" + channel, "0x9:" + channel, "100000:" + channel, "99999999999999999999:" + channel,
		"20", "20:", ":", "~20:" + channel, "20:" + channel + " ", "20:" + channel + "\x00", "20::" + channel,
	}
}
