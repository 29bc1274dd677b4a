package rueidis

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

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
