package redigo

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	// maxAsking is how many calls may ask the pool for a connection at once, after the pool
	// has kept one of them past its deadline. Each is a goroutine, and often another one of
	// redigo, which waits for the answer to AUTH or for TLS.
	maxAsking = 2

	// patience is how long such calls may block all others. It matters only for a pool that
	// dials without any time limit.
	patience = 30 * time.Second

	// starving is how long a call waits for a connection before the subscriptions give up
	// theirs.
	starving = 100 * time.Millisecond

	// briefly is how long a call waits for another one that closes idle connections.
	briefly = 10 * time.Millisecond
)

// A supply takes connections from a pool and returns them.
//
// GetContext may take longer than its context allows, because Pool.Dial and TestOnBorrow
// have no context, and a DialContext may ignore its own. So it runs in a goroutine. The
// call abandons the goroutine at its deadline, and the goroutine returns a late
// connection to the pool, for the next call. A goroutine costs about a third of a round
// trip, because the scheduler wakes a second thread for it. So a connection that is idle
// in the pool is taken without one.
type supply struct {
	pool Pool
	own  *redis.Pool // pool, if it is one, else nil
	key  any         // of the pool's hub

	// turn is held while a call looks for an idle connection and takes it, and while a
	// goroutine that will ask is counted.
	turn chan struct{}

	held     atomic.Int64 // connections taken and not given back
	lastBack atomic.Int64 // when a sound one was last given back, since epoch
	epoch    time.Time

	checked atomic.Bool // the pool's connections have all necessary methods
	address address
	distrust

	// Idle watchers. A watcher belongs to one call, from watch to over. If its timer has
	// fired, over does not put it back, because cut may still use it. Each supply has its
	// own, because their timers must not leave or enter a bubble of testing/synctest.
	watchers sync.Pool

	mu        sync.Mutex
	asking    int           // the number of goroutines in GetContext
	late      int           // of these, the number whose call has returned
	lastAsked time.Time     // when the latest began
	fewer     chan struct{} // closed when one of them ends; nil if nobody waits for that
}

func newSupply(pool Pool, own *redis.Pool) *supply {
	s := &supply{
		pool:     pool,
		own:      own,
		turn:     make(chan struct{}, 1),
		distrust: distrust{closing: make(chan struct{}, 1)},
		epoch:    time.Now(),
		watchers: sync.Pool{New: newWatcher},
	}
	s.key = hubKey(pool, s)
	return s
}

// take returns a connection on which nothing is pending. The caller returns it with back.
// take returns by the deadline of ctx. The error is the driver's or that of ctx.
func (s *supply) take(ctx context.Context) (redis.Conn, error) {
	if err := ended(ctx); err != nil {
		return nil, err
	}
	c, err, ok := s.idle(ctx)
	if !ok {
		c, err = s.ask(ctx)
		if errors.Is(err, redis.ErrPoolExhausted) && giveUp(ctx, s.key) {
			c, err = s.ask(ctx)
		}
	}
	if err != nil {
		return nil, s.explain(err)
	}
	if !s.checked.Load() {
		if err := check(c); err != nil {
			s.back(c)
			return nil, err
		}
		s.checked.Store(true)
	}
	return c, nil
}

// back returns c to the pool, which keeps it unless it is broken.
func (s *supply) back(c redis.Conn) {
	sound := s.own != nil && s.own.IdleTimeout > 0 && c.Err() == nil
	_ = c.Close() // it cannot fail, because nothing is pending
	s.held.Add(-1)
	if sound {
		s.lastBack.Store(int64(time.Since(s.epoch)))
	}
}

// idle takes a connection from the pool if this certainly needs no I/O. Otherwise ok is
// false.
//
// A call of this Node cannot take the connection that another one has just seen. Other
// users of the pool can, between the look and the taking. So there must be more idle
// connections than connections in use by others. If they are all taken nevertheless, the
// pool dials here, which a DialContext ends at the deadline.
func (s *supply) idle(ctx context.Context) (c redis.Conn, err error, ok bool) {
	p := s.own
	if p == nil || s.stale.Load() > 0 || p.TestOnBorrow != nil || p.TestOnBorrowContext != nil || p.MaxConnLifetime != 0 {
		return nil, nil, false
	}
	if p.IdleTimeout > 0 {
		age := time.Since(s.epoch) - time.Duration(s.lastBack.Load())
		if s.lastBack.Load() == 0 || age > p.IdleTimeout/2 {
			return nil, nil, false // all of them may be too old for the pool
		}
	}
	select {
	case s.turn <- struct{}{}:
	default:
		return nil, nil, false
	}
	defer func() { <-s.turn }()
	s.mu.Lock()
	asking := s.asking
	s.mu.Unlock()
	stats := p.Stats()
	others := stats.ActiveCount - stats.IdleCount - int(s.held.Load())
	if stats.IdleCount <= max(asking, others, 0) {
		return nil, nil, false
	}
	if c, err = p.GetContext(ctx); err == nil {
		s.held.Add(1)
	}
	return c, err, true
}

// ask takes a connection from the pool in a goroutine.
func (s *supply) ask(ctx context.Context) (redis.Conn, error) {
	if err := s.enter(ctx); err != nil {
		return nil, fmt.Errorf("waiting for the pool: %w", err)
	}
	a := &asked{came: make(chan struct{})}
	go a.get(ctx, s)
	s.await(ctx, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.done {
		a.late = true
		s.late++
		return nil, fmt.Errorf("waiting for a connection: %w", ctx.Err())
	}
	if a.err == nil {
		s.held.Add(1)
	}
	return a.conn, a.err
}

// await waits until a is done or ctx ends. If that takes long because all connections of
// the pool are in use, the subscriptions give up theirs.
func (s *supply) await(ctx context.Context, a *asked) {
	var long <-chan time.Time
	if s.own != nil && s.own.MaxActive > 0 {
		t := time.NewTimer(starving)
		defer t.Stop()
		long = t.C
	}
	select {
	case <-a.came:
		return
	case <-ctx.Done():
		return
	case <-long:
	}
	if stats := s.own.Stats(); stats.ActiveCount >= s.own.MaxActive && stats.IdleCount == 0 {
		giveUp(ctx, s.key)
	}
	select {
	case <-a.came:
	case <-ctx.Done():
	}
}

// enter waits until another goroutine may ask the pool, and counts it.
func (s *supply) enter(ctx context.Context) error {
	for {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		s.mu.Lock()
		free := s.late == 0 || s.asking < maxAsking || time.Since(s.lastAsked) > patience
		var fewer chan struct{}
		if free {
			s.asking++
			s.lastAsked = time.Now()
		} else {
			if s.fewer == nil {
				s.fewer = make(chan struct{})
			}
			fewer = s.fewer
		}
		s.mu.Unlock()
		<-s.turn
		if free {
			return nil
		}
		select {
		case <-fewer:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// asked is one goroutine's request for a connection. supply.mu guards its fields.
type asked struct {
	came chan struct{} // closed when done
	conn redis.Conn
	err  error
	done bool // conn and err are set
	late bool // the call has returned
}

func (a *asked) get(ctx context.Context, s *supply) {
	s.closeStale(ctx)
	conn, err := s.pool.GetContext(s.address.watch(ctx))
	s.mu.Lock()
	a.conn, a.err, a.done = conn, err, true
	if a.late && err == nil {
		s.mu.Unlock()
		_ = conn.Close() // return it to the pool before waiting calls look there
		s.mu.Lock()
	}
	s.asking--
	if a.late {
		s.late--
	}
	if s.fewer != nil {
		close(s.fewer)
		s.fewer = nil
	}
	s.mu.Unlock()
	close(a.came)
}

// The errors of redigo for a connection without time-outs or contexts, which it does not
// export.
var (
	_, errNoTimeout = redis.DoWithTimeout(struct{ redis.Conn }{}, 0, "")
	_, errNoContext = redis.DoContext(struct{ redis.Conn }{}, context.Background(), "")
)

// check returns an error if calls on c could not be ended at their deadline. It uses an
// empty command, which does nothing on a connection on which nothing is pending.
func check(c redis.Conn) error {
	_, err := redis.DoWithTimeout(c, time.Second, "")
	if !errors.Is(err, errNoTimeout) {
		_, err = redis.DoContext(c, context.Background(), "")
	}
	if errors.Is(err, errNoTimeout) || errors.Is(err, errNoContext) {
		return fmt.Errorf("%w: the pool's connections hide what redigo's own have: %w", errors.ErrUnsupported, err)
	}
	return nil
}
