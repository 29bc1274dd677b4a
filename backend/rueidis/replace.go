package rueidis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// replacePause is the shortest time between two replacements of the connection to a
// replica. The server may remain a replica, and others may read from it.
const replacePause = time.Second

// A replacement decides when the connection is replaced. Its times are in Unix nanoseconds.
type replacement struct {
	last        atomic.Int64
	quarantined atomic.Int64 // when the server of the shared connection last was in quarantine
}

// due reports whether the connection may be replaced now.
func (r *replacement) due() bool {
	now, last := time.Now().UnixNano(), r.last.Load()
	return now-last > int64(replacePause) && r.last.CompareAndSwap(last, now)
}

// knows reports whether the server of the shared connection has just answered that it is in
// quarantine. Then it is not the old server of a name that has moved. It reports this once for
// each answer, because the connection may die after it.
func (r *replacement) knows() bool {
	return time.Now().UnixNano()-r.quarantined.Swap(0) < int64(replacePause)
}

// Reconnect implements [backend.Reconnecter]. The driver has no call that replaces its
// shared connection: it gives up a dead one only after ConnWriteTimeout, 10 s by default.
// So calls take connections from the client's pool for blocking commands, until the
// server has answered on the shared connection or its successor.
func (n *Node) Reconnect(key string) {
	g := &n.gates[n.gate(key)]
	if g.open.Load() && n.replacement.knows() {
		return
	}
	g.aside.Store(true)
	g.open.Store(false)
}

// pass returns when a call may go to the server of a gate, or the error with which it
// must fail. aside is true if the call has to use a connection of its own.
func (n *Node) pass(ctx context.Context, gate int, key string) (aside bool, err error) {
	g := &n.gates[gate]
	if g.open.Load() {
		return false, nil
	}
	t := n.try(gate, key)
	if g.aside.Load() {
		return true, nil
	}
	return false, t.wait(ctx)
}

// aside returns a command that uses a connection of its own. The driver does that for
// blocking commands. It keeps the connection for other blocking commands if the command
// was answered, and closes it otherwise.
func (n *Node) aside(key string, cmd rueidis.Completed) rueidis.Completed {
	own := keep(n.client.B().Arbitrary(cmd.Commands()...).Blocking())
	if n.cluster {
		return own.SetSlot(key)
	}
	return n.route(own)
}

// Spares are the connections that calls aside leave in the driver's pool. It keeps them for
// ever and takes the last one first. After the name of the server has moved, they would
// lead to the old one. So they are closed when calls share a connection again.
type spares struct {
	mu    sync.Mutex
	calls int // under way

	// Since the spares were last closed: how many calls there were at once, and how many
	// were answered. There are at most as many spares, because the driver closes the
	// connection of a call without an answer.
	most, answered int
}

// begin counts a call aside, until [Node.spare].
func (s *spares) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.most = max(s.most, s.calls)
}

// take returns how many spares there may be, and forgets them. While a call is under way it
// returns 0.
func (s *spares) take() (most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls == 0 {
		most = min(s.most, s.answered)
		s.most, s.answered = 0, 0
	}
	return most
}

// spare ends a call aside.
func (n *Node) spare(g *gate, answered bool) {
	n.spares.mu.Lock()
	n.spares.calls--
	if answered {
		n.spares.answered++
	}
	n.spares.mu.Unlock()
	if !g.aside.Load() {
		n.closeSpares()
	}
}

// closeSpares closes the spares. If the pool has fewer connections than expected, the
// driver opens one, which is closed again. In a Cluster nothing is closed: the driver
// learns from redirections when another server has the keys.
func (n *Node) closeSpares() {
	if n.cluster {
		return
	}
	for range n.spares.take() {
		go func() { // the driver may have to wait for the server; it stops when the client is closed
			conn, _ := n.client.Dedicate()
			conn.Close()
		}()
	}
}

// replace makes the driver open a new connection if err says that the shared one leads to
// the wrong server. The driver keeps a connection that works. In a Cluster it knows which
// servers are masters.
//
// A server is wrong if it is a replica, because after a failover another server may be
// behind the name. It is also wrong if a connection beside the shared one leads to a server
// in quarantine. That server may be new behind the name, because connections aside are newer
// than the shared one, except those that blocking commands of other users have left. If the
// old server answers again later, it must not grant any lock.
func (n *Node) replace(ctx context.Context, err error, aside bool) {
	switch {
	case n.cluster:
	case errors.Is(err, backend.ErrNotMaster):
		if n.replacement.due() {
			n.quit(ctx)
		}
	case !errors.Is(err, backend.ErrQuarantined):
	case !aside:
		n.replacement.quarantined.Store(time.Now().UnixNano())
	case n.replacement.due():
		go func() { // the shared connection may hang
			ctx, cancel := context.WithTimeout(context.Background(), trialTime)
			defer cancel()
			n.quit(ctx)
		}()
	}
}

// quit tells the server to close the shared connection, because the driver has no call for
// that. Commands of other users of the client that are under way on it fail.
func (n *Node) quit(ctx context.Context) {
	quit := n.route(n.client.B().Arbitrary("QUIT").Build())
	for _, r := range n.client.DoMulti(ctx, quit, n.ping("")) {
		if r.NonRedisError() != nil { // the connection is closed, so the next call has to connect
			n.gates[0].open.Store(false)
		}
	}
}
