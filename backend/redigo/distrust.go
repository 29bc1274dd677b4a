package redigo

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
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
	closing  chan struct{} // holds a value while somebody closes them
	replaced atomic.Int64  // when connections to a replica were last replaced, since supply.epoch; 0 if never
}

// A remark is what a server's reply says about the connection.
type remark int

const (
	nothing   remark = iota
	isReplica        // the server has become a replica
	hangsUp          // the server closes the connection after the reply
)

// remarkIn returns the remark in the error of a command.
func remarkIn(err error) remark {
	if err == nil {
		return nothing
	}
	if errors.Is(err, backend.ErrNotMaster) {
		return isReplica
	}
	reply, _ := backend.ServerReply(err)
	if strings.HasPrefix(reply, "ERR max number of clients") || strings.HasPrefix(reply, "DENIED ") {
		return hangsUp
	}
	return nothing
}

// heard processes the outcome of a call on c, before c is returned. faults is the number
// of faults when c was taken. A call that began before the last fault met the same one,
// so it counts once.
func (s *supply) heard(ctx context.Context, c redis.Conn, faults uint64, said remark) {
	switch {
	case said == hangsUp:
		breakConn(c)
		return // the other connections are sound
	case said == isReplica && s.mayReplace():
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

// Reconnect implements [backend.Reconnecter]. Calls that begin later do not use the
// connections that are idle now, or that calls of n use: those are closed when their call
// ends. Those that somebody else uses at the moment are not noticed. With a [Pool] that is
// not a [*redis.Pool] it does nothing.
func (n *Node) Reconnect(string) {
	s := n.conns
	if s.own == nil {
		return
	}
	s.stale.Add(1)
	faults := s.faults.Add(1) // a call that is under way hangs for the same reason
	for r := s.renewed.Load(); r < faults && !s.renewed.CompareAndSwap(r, faults); r = s.renewed.Load() {
	}
	s.stale.Add(1) // for a call that has seen the new number in between
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
	long := time.NewTimer(briefly)
	defer long.Stop()
	select {
	case s.closing <- struct{}{}: // so that no other call takes one of them meanwhile
	case <-ctx.Done():
		return
	case <-long.C: // it may hang, for example in TestOnBorrow, so others go on and may get one of them
		return
	}
	defer func() { <-s.closing }()
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
			return
		}
		breakConn(c)
		_ = c.Close()
	}
	s.stale.CompareAndSwap(stale, 0) // not if there is a new reason
}
