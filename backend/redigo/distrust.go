package redigo

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

// replacePause is how often the connections to a server that turned out to be a replica are
// replaced at most. It may stay one, and others may read from it.
const replacePause = time.Second

// distrust decides when the idle connections of a pool are not to be used any more. A
// fault of one connection has usually broken the others too: the server was restarted, or a
// firewall has forgotten them. Each of them would fail a call, or let it time out.
type distrust struct {
	faults   atomic.Uint64 // how many there were
	stale    atomic.Bool   // the idle connections are to be closed
	closing  sync.Mutex
	replaced atomic.Int64 // when those to a replica were, since supply.epoch; 0: never
}

// heard takes the outcome of a call on c, before c is given back. Faults is how many faults
// there were when c was taken: a call that began before the last one met the same one.
// Replica says that the server answered that it is one.
func (s *supply) heard(ctx context.Context, c redis.Conn, faults uint64, replica bool) {
	switch {
	case replica && s.mayReplace():
		breakConn(c)
		demoted(s.key)
	case c.Err() == nil || ctx.Err() == context.Canceled:
		return
	}
	if s.own != nil && s.faults.CompareAndSwap(faults, faults+1) {
		s.stale.Store(true)
	}
}

// Reconnect implements [backend.Reconnecter]: the calls that begin from now on use none of
// the pool's idle connections. With a [Pool] that is no [*redis.Pool] it does nothing.
func (n *Node) Reconnect(string) {
	if s := n.conns; s.own != nil {
		s.faults.Add(1) // a call that is under way hangs for the same reason
		s.stale.Store(true)
	}
}

// mayReplace reports whether a connection to a replica is to be replaced now.
func (s *supply) mayReplace() bool {
	now := int64(time.Since(s.epoch))
	last := s.replaced.Load()
	return (last == 0 || now-last > int64(replacePause)) && s.replaced.CompareAndSwap(last, now)
}

// closeStale closes the idle connections if they are not to be used. It may dial, if
// somebody else takes the last of them meanwhile.
func (s *supply) closeStale(ctx context.Context) {
	if !s.stale.Load() {
		return
	}
	s.closing.Lock() // nobody is to take one of them meanwhile
	defer s.closing.Unlock()
	if !s.stale.Load() {
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
	s.stale.Store(false)
}
