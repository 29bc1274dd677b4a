package redigo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// replacePause is the shortest time between two replacements of the connections to a
// replica. The server may remain a replica, and others may read from it.
const replacePause = time.Second

// distrust decides when the idle connections of a pool must no longer be used. If one
// connection fails, the others are usually broken too, because the server was restarted
// or a firewall has forgotten them. Each of them would fail a call, or let it time out.
type distrust struct {
	faults   atomic.Uint64 // the number of faults so far
	renewed  atomic.Uint64 // faults at the last Reconnect: a call that began with fewer used an older connection
	stale    atomic.Uint64 // above 0: the idle connections have to be closed; it grows with each reason
	closing  sync.Mutex
	replaced atomic.Int64 // when connections to a replica were last replaced, since supply.epoch; 0 if never
}

// heard processes the outcome of a call on c, before c is returned. faults is the number
// of faults when c was taken. A call that began before the last fault met the same one,
// so it counts once. replica is true if the server answered that it is one.
func (s *supply) heard(ctx context.Context, c redis.Conn, faults uint64, replica bool) {
	switch {
	case replica && s.mayReplace():
		breakConn(c)
		demoted(s.key)
	case c.Err() == nil && faults < s.renewed.Load():
		breakConn(c) // it may lead to the old server of a name that has moved
		return
	case c.Err() == nil || ctx.Err() == context.Canceled:
		return
	}
	if s.own != nil && s.faults.CompareAndSwap(faults, faults+1) {
		s.stale.Add(1)
	}
}

// Reconnect implements [backend.Reconnecter]. Calls that begin later use none of the
// pool's present connections: idle ones are closed, and others when their call ends. With a
// [Pool] that is not a [*redis.Pool] it does nothing.
func (n *Node) Reconnect(string) {
	if s := n.conns; s.own != nil {
		s.renewed.Store(s.faults.Add(1)) // a call that is under way hangs for the same reason
		s.stale.Add(1)
	}
}

// mayReplace reports whether a connection to a replica may be replaced now.
func (s *supply) mayReplace() bool {
	now := int64(time.Since(s.epoch))
	last := s.replaced.Load()
	return (last == 0 || now-last > int64(replacePause)) && s.replaced.CompareAndSwap(last, now)
}

// closeStale closes the idle connections if they must not be used. It may dial, if
// somebody else takes the last of them meanwhile.
func (s *supply) closeStale(ctx context.Context) {
	if s.stale.Load() == 0 {
		return
	}
	s.closing.Lock() // so that no other call takes one of them meanwhile
	defer s.closing.Unlock()
	stale := s.stale.Load()
	if stale == 0 {
		return
	}
	for range s.own.IdleCount() {
		if s.own.IdleCount() == 0 {
			break
		}
		c, err := s.own.GetContext(ctx)
		if err != nil {
			break
		}
		breakConn(c)
		_ = c.Close()
	}
	s.stale.CompareAndSwap(stale, 0) // not if there is a new reason
}
