package goredis

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
)

// replacePause is how often the connections to a server that turned out to be a replica are
// replaced at most. It may stay one, and others may read from it.
const replacePause = time.Second

// distrust decides when the idle connections of a client are not to be used any more. A
// fault of one connection has usually broken the others too: the server was restarted, or a
// firewall has forgotten them. The driver notices that of some, but not of those with TLS, or
// of those that are swallowed. Each of them would fail a call, or let it time out.
type distrust struct {
	faults   atomic.Uint64 // how many there were
	stale    atomic.Bool   // the idle connections are to be closed
	closing  sync.Mutex
	replaced atomic.Int64 // when those to a replica were, in Unix nanoseconds; 0: never
}

// heard takes what came of cs, which were sent together. Faults is how many faults there
// were before: what was sent before the last one met the same one.
func (d *distrust) heard(ctx context.Context, faults uint64, cs ...*command) {
	for _, c := range cs {
		switch {
		case c.err == nil || isNil(c.err):
			continue
		case isReply(c.err):
			if !errors.Is(backend.MarkReply(c.err), backend.ErrNotMaster) || !d.mayReplace() {
				continue
			}
		case !c.written.Load() || ctx.Err() == context.Canceled:
			continue
		}
		if d.faults.CompareAndSwap(faults, faults+1) {
			d.stale.Store(true)
		}
		return
	}
}

// Reconnect implements [backend.Reconnecter]: the calls that begin from now on use none of
// the idle connections to the server of key. With a client of an unknown type it does
// nothing.
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

// reconnect has the calls that begin from now on use none of the idle connections.
func (d *distrust) reconnect() {
	d.faults.Add(1) // a call that is under way hangs for the same reason
	d.stale.Store(true)
}

// mayReplace reports whether connections to a replica are to be replaced now.
func (d *distrust) mayReplace() bool {
	now, last := time.Now().UnixNano(), d.replaced.Load()
	return now-last > int64(replacePause) && d.replaced.CompareAndSwap(last, now)
}

// closeStale closes the idle connections of client if they are not to be used. That needs no
// I/O, unless somebody else takes the last of them meanwhile.
func (d *distrust) closeStale(ctx context.Context, client *redis.Client) {
	if !d.stale.Load() {
		return
	}
	d.closing.Lock() // nobody is to take one of them meanwhile
	defer d.closing.Unlock()
	if !d.stale.Load() {
		return
	}
	for range client.PoolStats().IdleConns {
		if client.PoolStats().IdleConns == 0 {
			break
		}
		var c command
		c.init(ctx, "", append(c.args[:0], "ping", unusable{}))
		_ = client.Process(ctx, &c)
	}
	d.stale.Store(false)
}

// unusable is an argument that cannot be written. The driver closes the connection to which
// it should have been, and has sent nothing.
type unusable struct{}

var errUnusable = errors.New("goredis: the connection is closed because another one to the same server has failed")

// MarshalBinary implements [encoding.BinaryMarshaler].
func (unusable) MarshalBinary() ([]byte, error) { return nil, errUnusable }
