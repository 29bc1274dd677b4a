package goredis

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

// replacePause is the shortest time between two replacements of the connections to a
// replica. The server may remain a replica, and others may read from it.
const replacePause = time.Second

// distrust decides when the idle connections of a client must no longer be used. If one
// connection fails, the others are usually broken too, because the server was restarted
// or a firewall has forgotten them. The driver notices that for some connections, but not
// for those with TLS and those that silently swallow data. Each of them would fail a
// call, or let it time out.
type distrust struct {
	faults   atomic.Uint64 // the number of faults so far
	renewed  atomic.Uint64 // faults at the last Reconnect: a call that began with fewer used an older connection
	stale    atomic.Uint64 // above 0: the idle connections have to be closed; it grows with each reason
	closing  chan struct{} // holds a value while somebody closes them
	closer   *redis.Client // shares the client's connections, but not its Limiter
	replaced atomic.Int64  // when connections to a replica were last replaced, in Unix nanoseconds; 0 if never
}

func newDistrust(client *redis.Client) distrust {
	closer := clone(client)
	closer.Options().Limiter = nil // it must not stop the closing of a connection, or count it as a failure
	return distrust{closing: make(chan struct{}, 1), closer: closer}
}

// heard processes the results of cs, which were sent together. faults is the number of
// faults before that. Commands that were sent before the last fault met the same one, so
// it counts once.
func (d *distrust) heard(ctx context.Context, faults uint64, cs ...*command) {
	idle := false // the connection was put back
	for _, c := range cs {
		switch {
		case c.err == nil || isNil(c.err):
			idle = true
			continue
		case isReply(c.err):
			if !errors.Is(backend.MarkReply(c.err), backend.ErrNotMaster) || !d.mayReplace() {
				idle = true
				continue
			}
		case !c.written.Load() || ctx.Err() == context.Canceled:
			continue
		}
		if d.faults.CompareAndSwap(faults, faults+1) {
			d.stale.Add(1)
		}
		return
	}
	if idle && faults < d.renewed.Load() { // it may lead to the old server of a name that has moved
		d.stale.Add(1)
	}
}

// Reconnect implements [backend.Reconnecter]. Calls that begin later do not use the
// connections to the server of key that are idle now, or that calls of n use: they are
// closed once they are idle. Those that somebody else uses at the moment are not noticed,
// and a call that waits for a connection may get one that another call has just put back.
// With a client of an unknown type it does nothing.
func (n *Node) Reconnect(key string) {
	switch r := n.route.(type) {
	case *single:
		r.reconnect()
	case *cluster:
		if m := r.known(key); m != nil {
			m.reconnect()
		}
	}
}

// reconnect makes calls that begin later open new connections instead of using idle ones.
func (d *distrust) reconnect() {
	d.stale.Add(1)
	faults := d.faults.Add(1) // a call that is under way hangs for the same reason
	for r := d.renewed.Load(); r < faults && !d.renewed.CompareAndSwap(r, faults); r = d.renewed.Load() {
	}
	d.stale.Add(1) // for a call that has seen the new number, or has ended, in between
}

// mayReplace reports whether the connections to a replica may be replaced now.
func (d *distrust) mayReplace() bool {
	now, last := time.Now().UnixNano(), d.replaced.Load()
	return now-last > int64(replacePause) && d.replaced.CompareAndSwap(last, now)
}

// aMoment is how long closing one connection may take. It needs no I/O. But if the driver
// finds that the server has closed those that it takes, it dials in the background, also
// after that time. Such a connection is then in the pool.
const aMoment = 20 * time.Millisecond

// begin returns the number of faults with which a call begins. Before that it closes the
// idle connections, if they must not be used. It returns by the deadline of ctx.
func (d *distrust) begin(ctx context.Context) (faults uint64) {
	faults = d.faults.Load() // first, so that a Reconnect in between applies to this call
	if d.stale.Load() == 0 {
		return faults
	}
	select {
	case d.closing <- struct{}{}: // so that no other call takes one of them meanwhile
	case <-ctx.Done():
		return faults
	}
	defer func() { <-d.closing }()
	stale := d.stale.Load()
	if stale == 0 {
		return faults
	}
	failures := 0 // many of them mean that the driver has to dial, so it knows which connections are closed
	for n := d.closer.PoolStats().IdleConns; n > 0 && failures < 3 && d.closer.PoolStats().IdleConns > 0; {
		if d.closeOne(ctx) {
			n--
		} else {
			failures++
		}
	}
	if ctx.Err() == nil {
		d.stale.CompareAndSwap(stale, 0) // not if there is a new reason
	}
	return faults
}

// closeOne closes an idle connection, or a new one if somebody else takes the last. It
// reports whether it did.
func (d *distrust) closeOne(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, aMoment)
	defer cancel()
	var c command
	c.init(ctx, "", append(c.args[:0], "ping", unusable{}))
	return errors.Is(d.closer.Process(ctx, &c), errUnusable)
}

// unusable is an argument that cannot be written. When the driver fails to write it, it
// sends nothing and closes the connection.
type unusable struct{}

var errUnusable = errors.New("goredis: the connection is closed because another one to the same server has failed")

// MarshalBinary implements [encoding.BinaryMarshaler].
func (unusable) MarshalBinary() ([]byte, error) { return nil, errUnusable }
