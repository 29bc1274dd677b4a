package sender

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

// A network is a server that can be reached over connections, each of which carries one
// call at a time. A call takes one that is idle, or else makes one.
type network struct {
	*server
	mu      sync.Mutex
	idle    []*connection
	dials   int
	dialing time.Duration
	told    int // how often to reconnect
}

type connection struct{ dead bool }

func newNetwork() *network {
	return &network{server: &server{cost: time.Millisecond, keys: map[string]string{}}, dialing: 3 * time.Millisecond}
}

// forget has the network forget all connections. Nothing comes on them any more.
func (n *network) forget(conns []*connection) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range conns {
		c.dead = true
	}
}

// Reconnect implements [backend.Reconnecter].
func (n *network) Reconnect(string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = nil
	n.told++
}

func (n *network) take() *connection {
	n.mu.Lock()
	if at := len(n.idle) - 1; at >= 0 {
		defer n.mu.Unlock()
		c := n.idle[at]
		n.idle = n.idle[:at]
		return c
	}
	n.dials++
	n.mu.Unlock()
	time.Sleep(n.dialing)
	return new(connection)
}

func (n *network) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	c := n.take()
	n.mu.Lock()
	dead := c.dead
	n.mu.Unlock()
	if dead {
		<-ctx.Done()
		results := make([]backend.Result, len(ops))
		for i := range results {
			results[i].Err = ctx.Err()
		}
		return results
	}
	results := n.server.Batch(ctx, ops)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.idle = append(n.idle, c)
	return results
}

func (n *network) SetNX(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := n.Batch(ctx, []backend.Op{{Kind: backend.OpSetNX, Key: key, Token: token, TTL: ttl}})[0]
	return r.OK, r.Err
}

func (n *network) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	r := n.Batch(ctx, []backend.Op{{Kind: backend.OpEvalDelete, Key: key, Token: token}})[0]
	return r.OK, r.Err
}

func (n *network) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	r := n.Batch(ctx, []backend.Op{{Kind: backend.OpExtend, Key: key, Token: token, TTL: ttl}})[0]
	return r.OK, r.Err
}

// over runs f with the sender of a group of so many nodes, on a network whose connections
// are idle and dead. If the node cannot be told to make new ones, that is the negative
// control.
func over(t *testing.T, nodes int, told bool, f func(s *Sender, n *network)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		s := New(NewShared(nodes), n)
		if !told {
			s.reconnecter = nil
		}
		for i := range 10 {
			key := fmt.Sprint("held", i)
			if ok, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: key, Token: key, TTL: time.Hour}); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		for range 2 { // two more connections, which are idle
			n.mu.Lock()
			n.idle = append(n.idle, new(connection))
			n.mu.Unlock()
		}
		n.forget(n.idle)
		f(s, n)
		time.Sleep(time.Minute) // everything returns
		if l := s.Load(); l.Calls != 0 || l.Doubts != 0 || l.Waiting() != 0 || l.Deleting != 0 {
			t.Errorf("in the end: %+v", l)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.lost != 0 || s.flying != 0 || s.flyingDeletes != 0 || len(s.under) != 0 {
			t.Errorf("in the end %d calls are lost, %d operations under way, %d of them deletions, %d goroutines", s.lost, s.flying, s.flyingDeletes, len(s.under))
		}
	})
}

// until returns how long it takes until f succeeds.
func until(f func() error) time.Duration {
	start := time.Now()
	for f() != nil {
		time.Sleep(time.Millisecond)
	}
	return time.Since(start)
}

// The connections to a node are dead without a word. The next call on a new one begins
// beside those that hang, as soon as they have taken longer than callers wait.
func TestProbeBesideHangingCalls(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		for _, told := range []bool{true, false} {
			over(t, nodes, told, func(s *Sender, n *network) {
				dials := n.dials
				tries := 0
				took := until(func() error {
					tries++
					_, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint("new", tries), Token: "t", TTL: time.Hour})
					return err
				})
				t.Logf("%d nodes, told %v: after %v, %d connections", nodes, told, took, n.dials-dials)
				if soon := took <= 2*patience; soon != told {
					t.Errorf("%d nodes, told %v: an acquire succeeds after %v", nodes, told, took)
				}
				if told && n.dials-dials != 1 {
					t.Errorf("%d connections were made, want 1", n.dials-dials)
				}
			})
		}
	}
}

// A lock that is extended with every call until one succeeds, with nothing else to send.
func TestExtensionOverDeadConnection(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		for _, told := range []bool{true, false} {
			over(t, nodes, told, func(s *Sender, n *network) {
				var ticket *ticket
				took := until(func() error { // as a seat: one at a time
					ticket = submit(s, Extending, backend.Op{Kind: backend.OpExtend, Key: "held1", Token: "held1", TTL: time.Hour}, nil)
					return (<-ticket.done).Err
				})
				if soon := took <= 2*patience; soon != told {
					t.Errorf("%d nodes, told %v: an extension succeeds after %v", nodes, told, took)
				}
			})
		}
	}
}

// A release meets a dead connection. It is repeated on another one, and the key is free for
// the next attempt.
func TestDeletionOverDeadConnection(t *testing.T) {
	for _, told := range []bool{true, false} {
		over(t, 3, told, func(s *Sender, n *network) {
			start := time.Now()
			gone := make(chan time.Duration, 1)
			submit(s, Deleting, backend.Op{Kind: backend.OpEvalDelete, Key: "held1", Token: "held1"}, func() { gone <- time.Since(start) })
			took := until(func() error {
				ok, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "held1", Token: "other", TTL: time.Hour})
				if err == nil && !ok {
					err = errors.New("taken")
				}
				return err
			})
			if soon := took <= 2*patience; soon != told {
				t.Errorf("told %v: the key is free after %v", told, took)
			}
			if d := <-gone; d > took {
				t.Errorf("told %v: the deletion is done after %v, the acquire after %v", told, d, took)
			}
		})
	}
}

// An extension tells whether it was sent.
type extension struct {
	Item
	done chan bool
}

func (e *extension) Unwanted() error                                   { return nil }
func (e *extension) Leave()                                            {}
func (e *extension) Complete(_ backend.Result, sent bool, _ time.Time) { e.done <- sent }

// While the node fails in whatever way, no extension is refused: each is sent with the next
// probe if its caller waits for that.
func TestExtensionIsNotRefused(t *testing.T) {
	for state, name := range map[serverState]string{hung: "hung", refuses: "refuses", cuts: "cuts", loading: "loading"} {
		for _, nodes := range []int{1, 3} {
			synctest.Test(t, func(t *testing.T) {
				server := newNetwork()
				s := New(NewShared(nodes), server)
				do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "k", TTL: time.Hour})
				server.set(state)
				stop := time.Now().Add(5 * time.Second)
				var others sync.WaitGroup
				for i := range 20 { // the probes are mostly theirs
					others.Go(func() {
						for time.Now().Before(stop) {
							do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint(i), Token: "t", TTL: time.Hour})
							time.Sleep(7 * time.Millisecond)
						}
					})
				}
				for sent := 0; time.Now().Before(stop); sent++ {
					start := time.Now()
					e := &extension{done: make(chan bool, 1)}
					e.Item = Item{
						Op:  backend.Op{Kind: backend.OpExtend, Key: "k", Token: "k", TTL: time.Hour},
						Key: "k", Class: Extending, Expires: mono.Of(start).Add(patience), Wait: patience, Owner: e,
					}
					if err := s.Submit(&e.Item, start); err != nil || !<-e.done {
						t.Errorf("%s, %d nodes: extension %d was not sent, after %v: %v", name, nodes, sent, time.Since(start), err)
						break
					}
					time.Sleep(500 * time.Millisecond)
				}
				others.Wait()
				server.set(up)
				time.Sleep(time.Minute)
			})
		}
	}
}

// A node that answers later than callers wait does not lose its connections each time.
func TestSlowNodeKeepsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		n.cost = 400 * time.Millisecond
		s := New(NewShared(1), n)
		for i := range 20 {
			submit(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: fmt.Sprint(i), Token: "t", TTL: time.Hour}, nil)
			time.Sleep(time.Second)
		}
		if n.told > 1 {
			t.Errorf("it was told to reconnect %d times, want once at most", n.told)
		}
	})
}

// A server that says that it is in quarantine may be another one than before. The node is
// told to leave the connections that it has, once a second at most.
func TestQuarantineReplacesConnections(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			n := &quarantined{newNetwork()}
			s := New(NewShared(nodes), n)
			start := time.Now()
			for time.Since(start) < 5500*time.Millisecond {
				_, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "t", TTL: time.Hour})
				if !errors.Is(err, backend.ErrQuarantined) {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			if n.told != 6 {
				t.Errorf("%d nodes: it was told to reconnect %d times in 5.5s, want 6", nodes, n.told)
			}
		})
	}
}

// quarantined is a server in quarantine.
type quarantined struct{ *network }

func (*quarantined) SetNX(context.Context, string, string, time.Duration) (bool, error) {
	return false, backend.MarkReply(errors.New("QUARANTINE for another 5 ms: this server has restarted"))
}

// A call is not lost while one of its callers still waits, even if somebody who waits for
// less time submits something meanwhile.
func TestImpatientCallerLosesNoCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		s := New(NewShared(1), n)
		do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "t", TTL: time.Hour})
		n.cost = 150 * time.Millisecond
		extended := submit(s, Extending, backend.Op{Kind: backend.OpExtend, Key: "k", Token: "t", TTL: time.Hour}, nil)
		time.Sleep(time.Millisecond)
		other := &ticket{sender: s, done: make(chan backend.Result, 1)}
		other.Item = Item{
			Op:  backend.Op{Kind: backend.OpEvalDelete, Key: "other", Token: "t"},
			Key: "other", Class: Deleting, Expires: mono.Of(time.Now()).Add(time.Hour), Wait: 20 * time.Millisecond, Owner: other,
		}
		if err := s.Submit(&other.Item, time.Now()); err != nil {
			t.Fatal(err)
		}
		if r := <-extended.done; r.Err != nil || !r.OK {
			t.Errorf("the extension: %v, %v", r.OK, r.Err)
		}
		time.Sleep(time.Minute)
	})
}
