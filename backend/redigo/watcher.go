package redigo

import (
	"context"
	"sync"
	"time"

	"github.com/gomodule/redigo/redis"
)

// grace is how much later than the reading the writing of a call is ended. If both would
// end the call, the error is then that of the reading, which says more.
const grace = time.Millisecond

// ended returns the error of ctx if it has ended. It also checks the deadline, because
// the timer of ctx may be late.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// A watcher closes the connection of a call when the call's time is over. The time for
// the reply is given to redigo with the command. The time for writing is not: it is in
// the pool's settings, or unlimited.
type watcher struct {
	mu    sync.Mutex
	conn  redis.Conn // nil when there is no call
	timer *time.Timer
	stop  func() bool // ends the watch; false if cut has begun
}

// newWatcher returns a watcher whose timer does not run.
func newWatcher() any {
	w := new(watcher)
	w.timer = time.AfterFunc(time.Hour, w.cut)
	w.timer.Stop()
	w.stop = w.timer.Stop
	return w
}

// watch closes c at the deadline of ctx, or when ctx ends if it has no deadline. over
// ends the watch. It needs no goroutine. It does not notice a cancellation before the
// deadline, because that would cost each call several allocations, and only a server that
// does not answer makes a call last.
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

// over ends the watch. When it returns, only the caller uses the connection.
func (s *supply) over(w *watcher) {
	if w != nil && w.end() && w.timer != nil {
		s.watchers.Put(w)
	}
}

// watchEnd closes c when ctx ends. over ends the watch.
func watchEnd(ctx context.Context, c redis.Conn) *watcher {
	if ctx.Done() == nil {
		return nil
	}
	w := &watcher{conn: c}
	w.stop = context.AfterFunc(ctx, w.cut)
	return w
}

// cut breaks the connection, if there is still a call.
func (w *watcher) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		breakConn(w.conn)
	}
}

// end ends the watch. It reports whether cut has not begun and never will.
func (w *watcher) end() bool {
	stopped := w.stop()
	w.mu.Lock()
	w.conn = nil
	w.mu.Unlock()
	return stopped
}

// breakConn closes the network connection under c. Calls on c then fail, and the pool
// will drop it. Unlike c.Close, which returns c to the pool, it may be called while
// another goroutine uses c. The only exported methods of redigo that do this are those
// with a context, if that has ended.
func breakConn(c redis.Conn) {
	_, _ = redis.ReceiveContext(c, past)
}

// past is a context whose deadline has passed.
var past = func() context.Context {
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(0, 0))
	cancel()
	return ctx
}()
