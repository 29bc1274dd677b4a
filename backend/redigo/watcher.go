package redigo

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// grace is how much later than its reading a call's writing is ended, so that
// where both would do the error is the one that says more.
const grace = time.Millisecond

// ended returns the error of ctx if it has ended, which its deadline may tell
// before its timer does.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// watcher closes a connection under the call that uses it when its time is up:
// the time for a reply is given to redigo with the command, the time for
// writing is not, it is in the pool's settings or nowhere.
type watcher struct {
	mu    sync.Mutex
	conn  redis.Conn // nil when no call is on
	timer *time.Timer
	stop  func() bool // ends the watch; false if cut has begun
}

// newWatcher returns a watcher with a timer that does not run.
func newWatcher() any {
	w := new(watcher)
	w.timer = time.AfterFunc(time.Hour, w.cut)
	w.timer.Stop()
	w.stop = w.timer.Stop
	return w
}

// watch closes c at the deadline of ctx, or when ctx ends if it has none, until
// the watcher is given to over. It costs no goroutine. A cancellation before
// the deadline goes unnoticed: to hear of it would cost each call several
// allocations, and only a server that does not answer makes a call last.
func (s *supply) watch(ctx context.Context, c redis.Conn) *watcher {
	deadline, ok := ctx.Deadline()
	if !ok {
		return watchEnd(ctx, c)
	}
	w := s.watchers.Get().(*watcher)
	w.mu.Lock()
	w.conn = c
	w.mu.Unlock()
	w.timer.Reset(time.Until(deadline) + grace)
	return w
}

// over ends the watch. When it returns the connection is nobody's but the
// caller's.
func (s *supply) over(w *watcher) {
	if w != nil && w.end() && w.timer != nil {
		s.watchers.Put(w)
	}
}

// watchEnd closes c when ctx ends, until the watcher is given to over.
func watchEnd(ctx context.Context, c redis.Conn) *watcher {
	if ctx.Done() == nil {
		return nil
	}
	w := &watcher{conn: c}
	w.stop = context.AfterFunc(ctx, w.cut)
	return w
}

// cut breaks the connection, if the call is still on.
func (w *watcher) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		breakConn(w.conn)
	}
}

// end ends the watch, and reports whether cut has not begun and never will.
func (w *watcher) end() bool {
	stopped := w.stop()
	w.mu.Lock()
	w.conn = nil
	w.mu.Unlock()
	return stopped
}

// breakConn closes the network connection under c, whose calls then fail, and
// which the pool will drop. It may be called while another goroutine uses c,
// which c.Close may not: that gives c to the next taker as it is. Of what
// redigo exports only a method given a context that has ended does this.
func breakConn(c redis.Conn) {
	_, _ = redis.ReceiveContext(c, past)
}

// past is a context whose deadline has passed.
var past = func() context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	cancel()
	return ctx
}()
