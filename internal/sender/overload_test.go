package sender

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

// The policies that the tests of this file compare. Today's is how a node was sent to
// before there were classes, a brake for all failures, and a window: the negative control.
var policies = map[string]policy{"standard": standard, "today's": {}}

// A server is a node that executes one operation after the other, each of which takes its
// time, and that can fail in several ways. Work that nobody waits for any more is done all
// the same. If it thrashes, an operation takes the longer the more wait.
type server struct {
	cost    time.Duration
	thrash  bool
	mu      sync.Mutex
	state   serverState
	until   time.Time // it is busy
	waiting int       // operations
	keys    map[string]string

	calls, ops int
	most       int // operations under way
}

type serverState int

const (
	up      serverState = iota
	hung                // takes operations and does not answer
	refuses             // no connection can be made
	cuts                // takes connections and cuts them
	loading             // answers with an error that says "not now"
)

// set has the server do as the state says, and returns what it was sent in the last one.
func (s *server) set(state serverState) (calls, ops int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	calls, ops = s.calls, s.ops
	s.state, s.calls, s.ops = state, 0, 0
	return calls, ops
}

func (s *server) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := s.Batch(ctx, []backend.Op{{Kind: backend.OpSetNX, Key: key, Token: token, TTL: ttl}})[0]
	return r.OK, r.Err
}

func (s *server) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	r := s.Batch(ctx, []backend.Op{{Kind: backend.OpEvalDelete, Key: key, Token: token}})[0]
	return r.OK, r.Err
}

func (s *server) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := s.Batch(ctx, []backend.Op{{Kind: backend.OpExtend, Key: key, Token: token, TTL: ttl}})[0]
	return r.OK, r.Err
}

var errLoading = backend.MarkReply(errors.New("LOADING Redis is loading the dataset in memory"))

func (s *server) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	s.mu.Lock()
	s.calls++
	s.ops += len(ops)
	state := s.state
	now := time.Now()
	var done time.Time
	if state == up {
		s.waiting += len(ops)
		s.most = max(s.most, s.waiting)
		cost := s.cost
		if s.thrash {
			cost *= 1 + time.Duration(s.waiting/50)
		}
		if s.until.Before(now) {
			s.until = now
		}
		s.until = s.until.Add(time.Duration(len(ops)) * cost)
		done = s.until
	}
	s.mu.Unlock()
	results := make([]backend.Result, len(ops))
	fail := func(err error) []backend.Result {
		for i := range results {
			results[i] = backend.Result{Err: err}
		}
		return results
	}
	switch state {
	case hung:
		<-ctx.Done()
		return fail(ctx.Err())
	case refuses:
		return fail(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	case cuts:
		time.Sleep(s.cost)
		return fail(io.EOF)
	case loading:
		time.Sleep(s.cost)
		return fail(errLoading)
	}
	// The caller may be gone when the server gets to it, and then uses ops and results for
	// something else.
	sent, answers, finished := slices.Clone(ops), make([]backend.Result, len(ops)), make(chan struct{})
	time.AfterFunc(done.Sub(now), func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.waiting -= len(sent)
		for i, op := range sent {
			holder, held := s.keys[op.Key]
			switch op.Kind {
			case backend.OpSetNX:
				if !held {
					s.keys[op.Key] = op.Token
				}
				answers[i].OK = !held
			case backend.OpEvalDelete:
				if answers[i].OK = holder == op.Token; answers[i].OK {
					delete(s.keys, op.Key)
				}
			case backend.OpExtend:
				answers[i].OK = holder == op.Token
			}
		}
		close(finished)
	})
	select {
	case <-finished:
		return answers
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// A ticket is an operation of a caller that waits for it for a while.
type ticket struct {
	Item
	sender *Sender
	done   chan backend.Result
	gone   func() // nil, or told when a deletion is done
	left   atomic.Bool
}

var errLeft = backend.MarkNotExecuted(errors.New("not sent: the caller has left"))

func (t *ticket) Unwanted() error {
	if t.left.Load() {
		return errLeft
	}
	return nil
}

func (t *ticket) Leave() {}

func (t *ticket) Complete(r backend.Result, sent bool, now time.Time) {
	if t.Class == Acquiring && t.left.Load() && sent { // it may be there
		submit(t.sender, Deleting, backend.Op{Kind: backend.OpEvalDelete, Key: t.Key, Token: t.Op.Token}, nil)
	}
	if t.Class == Deleting && r.Err != nil && mono.Of(now) < t.Expires && t.sender.Doubt(&t.Item, now) {
		return
	}
	if t.gone != nil {
		t.gone()
	}
	select {
	case t.done <- r:
	default:
	}
}

const patience = 250 * time.Millisecond

// submit sends an operation without waiting for it.
func submit(s *Sender, class Class, op backend.Op, gone func()) *ticket {
	now := time.Now()
	t := &ticket{sender: s, done: make(chan backend.Result, 1), gone: gone}
	t.Item = Item{Op: op, Key: op.Key, Class: class, Expires: mono.Of(now).Add(patience), Wait: patience, Owner: t}
	if class == Deleting {
		t.Expires = mono.Of(now).Add(time.Hour)
	}
	if err := s.Submit(&t.Item, now); err != nil {
		t.done <- backend.Result{Err: err}
	}
	return t
}

// do sends an operation and waits for it, as long as a caller does.
func do(s *Sender, class Class, op backend.Op) (bool, error) {
	t := submit(s, class, op, nil)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case r := <-t.done:
		return r.OK, r.Err
	case <-timer.C:
		t.left.Store(true)
		return false, context.DeadlineExceeded
	}
}

// A crowd is the callers of one process.
type crowd struct {
	*Sender
	server *server
	stop   chan struct{}
	all    sync.WaitGroup

	mu       sync.Mutex
	lost     int // locks whose lease ended
	deleted  int
	pairs    int
	failed   int
	took     []time.Duration // of pairs
	attempts int
}

func newCrowd(p policy, server *server) *crowd {
	server.keys = map[string]string{}
	c := &crowd{Sender: New(NewShared(1), server), server: server, stop: make(chan struct{})}
	if c.policy = p; !p.window {
		c.brake.window = c.full()
	}
	return c
}

func (c *crowd) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-c.stop:
		return false
	}
}

// hold keeps n locks of that TTL, each of which is extended after a third of it, and soon
// again if that fails.
func (c *crowd) hold(n int, ttl time.Duration) {
	for i := range n {
		key := fmt.Sprint("held", i)
		c.server.keys[key] = key
		c.all.Go(func() {
			until := time.Now().Add(ttl)
			for pause := ttl / 3; c.sleep(pause); {
				start := time.Now()
				ok, err := do(c.Sender, Extending, backend.Op{Kind: backend.OpExtend, Key: key, Token: key, TTL: ttl})
				switch {
				case err == nil && ok:
					until, pause = start.Add(ttl), ttl/3
				default:
					pause = ttl / 12
				}
				if !time.Now().Before(until) {
					c.mu.Lock()
					c.lost++
					c.mu.Unlock()
					return
				}
			}
		})
	}
}

// work has n callers lock and unlock a key of their own, with a pause.
func (c *crowd) work(n int, pause time.Duration) {
	for i := range n {
		c.all.Go(func() {
			for round := 0; c.sleep(pause/2 + rand.N(pause)); round++ {
				key, token := fmt.Sprint("work", i), fmt.Sprint("t", round)
				start := time.Now()
				ok, err := do(c.Sender, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: key, Token: token, TTL: time.Minute})
				if ok {
					submit(c.Sender, Deleting, backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: token}, nil)
				}
				c.mu.Lock()
				c.attempts++
				if err == nil && ok {
					c.pairs++
					c.took = append(c.took, time.Since(start))
				} else {
					c.failed++
				}
				c.mu.Unlock()
			}
		})
	}
}

// counts returns what the workers have done, and begins anew.
func (c *crowd) counts() (pairs, failed int, median time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	pairs, failed = c.pairs, c.failed
	if len(c.took) > 0 {
		slices.Sort(c.took)
		median = c.took[len(c.took)/2]
	}
	c.pairs, c.failed, c.took = 0, 0, nil
	return pairs, failed, median
}

func (c *crowd) release(keys int) {
	for i := range keys {
		key := fmt.Sprint("released", i)
		submit(c.Sender, Deleting, backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: key}, func() {
			c.mu.Lock()
			c.deleted++
			c.mu.Unlock()
		})
	}
}

func (c *crowd) end() {
	close(c.stop)
	c.all.Wait()
}

// finish has the server do what is left.
func (c *crowd) finish() {
	c.server.mu.Lock()
	c.server.cost, c.server.until = 0, time.Time{}
	c.server.mu.Unlock()
	for c.Load().Calls > 0 || c.Load().Doubts > 0 {
		time.Sleep(time.Second)
	}
	time.Sleep(time.Hour) // for what was executed after its caller had gone
}

// Many locks are released at once. The extensions of others, and their calls, do not
// wait behind all these deletions, and each of these is done in the end.
func TestFloodOfDeletions(t *testing.T) {
	const locks = 20_000
	for name, p := range policies {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(p, &server{cost: 200 * time.Microsecond})
			for i := range locks {
				key := fmt.Sprint("released", i)
				c.server.keys[key] = key
			}
			c.hold(100, 3*time.Second)
			c.work(20, 20*time.Millisecond)
			time.Sleep(5 * time.Second)
			_, _, idle := c.counts()
			c.release(locks)
			time.Sleep(5 * time.Second) // it takes 4
			pairs, failed, busy := c.counts()
			c.end()
			time.Sleep(time.Second)
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Logf("%s: a pair takes %v, and %v in the flood (%d done, %d failed); %d locks lost, %d deletions done", name, idle, busy, pairs, failed, c.lost, c.deleted)
			if c.deleted != locks {
				t.Errorf("%s: %d deletions are done, want %d", name, c.deleted, locks)
			}
			well := c.lost == 0 && failed == 0 && busy < 100*time.Millisecond
			if want := p == standard; well != want {
				t.Errorf("%s: it went well: %v, want %v", name, well, want)
			}
		})
	}
}

// Many locks are released while their node is away, in any way that a node can be. It
// costs no more than a few probes, and all are released soon after it answers again.
func TestReleaseWhileAway(t *testing.T) {
	const locks, outage = 1000, 5 * time.Second
	for state, name := range map[serverState]string{hung: "hung", refuses: "refuses", cuts: "cuts", loading: "loading"} {
		for policyName, p := range policies {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(p, &server{cost: 20 * time.Microsecond})
				for i := range locks {
					key := fmt.Sprint("released", i)
					c.server.keys[key] = key
				}
				c.work(20, 20*time.Millisecond)
				time.Sleep(time.Second)
				c.server.set(state)
				c.release(locks)
				time.Sleep(outage)
				calls, ops := c.server.set(up)
				time.Sleep(4 * time.Second)
				c.end()
				c.mu.Lock()
				left := locks - c.deleted
				c.mu.Unlock()
				time.Sleep(time.Minute)
				t.Logf("%s, %s: %d calls and %d operations in %v; %d keys are left 4s after it", name, policyName, calls, ops, outage, left)
				few := calls < 200 && ops < 1000
				if p == standard && (!few || left > 0) {
					t.Errorf("%s: %d calls and %d operations while away; %d keys are left", name, calls, ops, left)
				}
				if p != standard && state != hung && few {
					t.Errorf("%s, %s: few calls without a brake", name, policyName)
				}
			})
		}
	}
}

// Thousands of callers want more than a node can do, which gets slower the more it is sent.
// It is not sent more than it can do in time, also when it comes back from an outage.
func TestMoreThanANodeCanDo(t *testing.T) {
	for name, p := range policies {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(p, &server{cost: 400 * time.Microsecond, thrash: true})
			c.hold(100, 3*time.Second)
			c.work(1000, 500*time.Millisecond)
			time.Sleep(10 * time.Second)
			for range 3 {
				c.server.set(refuses)
				time.Sleep(800 * time.Millisecond)
				c.server.set(up)
				time.Sleep(5 * time.Second)
			}
			c.counts()
			time.Sleep(5 * time.Second)
			pairs, failed, median := c.counts()
			c.mu.Lock()
			lost := c.lost
			c.mu.Unlock()
			c.end()
			c.finish()
			t.Logf("%s: %d pairs a second, %d failed, median %v, %d of 100 locks lost", name, pairs/5, failed/5, median, lost)
			well := lost == 0 && pairs/5 > 50
			if want := p == standard; well != want {
				t.Errorf("%s: it went well: %v, want %v", name, well, want)
			}
		})
	}
}
