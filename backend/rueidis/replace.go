package rueidis

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// replacePause is how often the connection to a server that turned out to be a replica is
// replaced at most. It may stay one, and others may read from it.
const replacePause = time.Second

// replacement decides when that is done.
type replacement struct{ last atomic.Int64 } // in Unix nanoseconds

// due reports whether it is to be done now.
func (r *replacement) due() bool {
	now, last := time.Now().UnixNano(), r.last.Load()
	return now-last > int64(replacePause) && r.last.CompareAndSwap(last, now)
}

// Reconnect implements [backend.Reconnecter]. The driver has no call that replaces the
// connection that calls share: it gives up a dead one only after ConnWriteTimeout, 10 s by
// default. Until the server has answered on that connection or on its successor, calls
// take connections from the client's pool for blocking commands.
func (n *Node) Reconnect(key string) {
	g := &n.gates[n.gate(key)]
	g.aside.Store(true)
	g.open.Store(false)
}

// pass returns when a call may go to the server of a gate, or the error with which it may
// not. Aside reports that it has to take a connection of its own.
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

// aside returns a command that takes a connection of its own. The driver does that for
// commands that block. It keeps the connection for others that do if it was answered, and
// closes it if not.
func (n *Node) aside(key string, cmd rueidis.Completed) rueidis.Completed {
	own := keep(n.client.B().Arbitrary(cmd.Commands()...).Blocking())
	if n.cluster {
		return own.SetSlot(key)
	}
	return n.route(own)
}

// replace has the driver make a new connection if err says that the server is a replica:
// after a failover another server may be behind the name, and the driver keeps a connection
// that works. Of a Cluster it knows by itself which server is a master.
//
// The driver has no call that closes a connection, but the server closes it when it is told
// to. What other users of the client have under way on it fails then.
func (n *Node) replace(ctx context.Context, err error) {
	if n.cluster || !errors.Is(err, backend.ErrNotMaster) || !n.replacement.due() {
		return
	}
	quit := n.route(n.client.B().Arbitrary("QUIT").Build())
	for _, r := range n.client.DoMulti(ctx, quit, n.ping("")) {
		if r.NonRedisError() != nil { // it is closed, and the next call has to connect
			n.gates[0].open.Store(false)
		}
	}
}
