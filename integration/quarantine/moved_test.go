package quarantine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A name is an address that can move, like a DNS name: its new connections then lead to another
// server, and existing ones stay where they are.
type name struct {
	listener net.Listener

	mu     sync.Mutex
	leads  string
	joined []net.Conn
}

// newName returns a name that leads to s until it is moved. It ends with the test.
func newName(t testing.TB, s *servers.Server) *name {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &name{listener: l, leads: s.Addr()}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { n.join(client, &all) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		n.mu.Lock()
		for _, c := range n.joined {
			c.Close()
		}
		n.mu.Unlock()
		all.Wait()
	})
	return n
}

// join connects client with the server to which the name leads now.
func (n *name) join(client net.Conn, all *sync.WaitGroup) {
	n.mu.Lock()
	defer n.mu.Unlock()
	server, err := net.Dial("tcp", n.leads)
	if err != nil {
		client.Close()
		return
	}
	n.joined = append(n.joined, client, server)
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		all.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // until one of them is closed
			way[0].Close()
			way[1].Close()
		})
	}
}

func (n *name) move(s *servers.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.leads = s.Addr()
}

// A name moves to another, empty server while A holds the lock. A keeps its connections, and
// extends on the old server. B has new connections. Without a quarantine it gets the lock, too.
// With a quarantine it gets the lock only after A's lock has ended.
func TestNameThatMoves(t *testing.T) {
	realServers(t)
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			fenced(t, func(t *testing.T, opts ...redlock.Option) {
				t.Parallel() // it waits more than it works
				for _, quarantined := range []bool{false, true} {
					list := servers.Start(t, servers.Any, 2, servers.WithoutReuse())
					opts := opts
					if quarantined {
						opts = append(opts[:len(opts):len(opts)], redlock.WithQuarantine(length))
					}
					n := newName(t, list[0])
					locker := func() *redlock.Locker {
						return onNodes(t, []backend.Node{d.Node(t, n.listener.Addr().String())}, opts...)
					}
					first := locker()
					if quarantined {
						mustEndQuarantine(t, first)
					}
					a := mustLock(t, first)
					n.move(list[1])
					if err := a.Extend(t.Context(), ttl); err != nil {
						t.Errorf("the first holder extends over its old connection: %v", err)
					}
					second := locker()
					if quarantined {
						wantQuarantined(t, second, 1)
					}
					b := mustLock(t, second)
					if both := time.Now().Before(a.Until()); both == quarantined {
						t.Errorf("unsafe: quarantine %v: both hold the lock: %v", quarantined, both)
					}
					if quarantined && a.Fence() > 0 && b.Fence() <= a.Fence() {
						t.Errorf("unsafe: the second has the token %d, the first %d", b.Fence(), a.Fence())
					}
				}
			})
		})
	}
}

// As before, but A's lock extends itself over the old connections, which still work. Even a
// quarantine does not help then, because it is over while A's lock is not. Only the fencing token
// protects the resource. Somebody has to stop the old server, or cut its connections.
func TestNameThatMovesFromAHolder(t *testing.T) {
	realServers(t)
	for _, d := range drivers.All {
		for _, cut := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/connections cut: %v", d.Name, cut), func(t *testing.T) {
				t.Parallel() // it waits more than it works
				list := servers.Start(t, servers.Any, 2, servers.WithoutReuse())
				n := newName(t, list[0])
				locker := func(opts ...redlock.Option) *redlock.Locker {
					return onNodes(t, []backend.Node{d.Node(t, n.listener.Addr().String())},
						append(opts, redlock.WithTTL(ttl), redlock.WithQuarantine(length), redlock.WithFencing())...)
				}
				first := locker(redlock.WithAutoExtend())
				mustEndQuarantine(t, first)
				a := mustLock(t, first)
				held := a.Context(t.Context())
				n.move(list[1])
				if cut {
					list[0].Do(t, "CLIENT", "KILL", "TYPE", "normal")
				}
				b := mustLock(t, locker())
				switch both := held.Err() == nil; {
				case both && cut:
					t.Error("unsafe: both hold the lock, although the old connections were cut")
				case !both && !cut:
					t.Error("the first has lost the lock, although its old connections work: say so in docs/safety.md")
				}
				if b.Fence() <= a.Fence() {
					t.Errorf("unsafe: the second has the token %d, the first %d", b.Fence(), a.Fence())
				}
			})
		}
	}
}

// A pool has connections to the old server and to the new one. Within two seconds after the new
// server has reported its quarantine, the client leaves the old one. (A client of rueidis or
// valkey-go has one connection for all calls. See TestOldServerAnswersAgain.)
func TestPoolOfTwoServers(t *testing.T) {
	realServers(t)
	// pools make a node, and a function that takes a connection and returns how to give it back.
	pools := map[string]func(t *testing.T, url string) (backend.Node, func() (back func())){
		"goredis": func(t *testing.T, url string) (backend.Node, func() func()) {
			client, err := goredis.NewClient(url)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { client.Close() })
			return goredis.New(client), func() func() {
				c := client.Conn()
				if err := c.Ping(t.Context()).Err(); err != nil {
					t.Fatal(err)
				}
				return func() { c.Close() }
			}
		},
		"redigo": func(t *testing.T, url string) (backend.Node, func() func()) {
			pool, err := redigo.NewPool(url)
			if err != nil {
				t.Fatal(err)
			}
			pool.MaxIdle, pool.MaxActive = 2*each, 2*each
			t.Cleanup(func() { pool.Close() })
			return redigo.New(pool), func() func() {
				c := pool.Get()
				if _, err := c.Do("PING"); err != nil {
					t.Fatal(err)
				}
				return func() { c.Close() }
			}
		},
	}
	for name, make := range pools {
		t.Run(name, func(t *testing.T) {
			list := servers.Start(t, servers.Any, 2, servers.WithoutReuse())
			n := newName(t, list[0])
			node, open := make(t, "redis://"+n.listener.Addr().String())
			locker := onNodes(t, []backend.Node{node}, redlock.WithTTL(ttl), redlock.WithQuarantine(time.Minute))
			mustEndQuarantine(t, locker)

			// Every second idle connection leads to the old server, and so does the one that came
			// back last, which both pools use first.
			var before, after []func()
			for range each {
				before = append(before, open())
			}
			n.move(list[1])
			for range each {
				after = append(after, open())
			}
			for i := range each {
				after[i]()
				before[i]()
			}
			leavesOldServer(t, locker)
		})
	}
}

// each is how many connections a pool has to each of two servers.
const each = 8

// leavesOldServer fails the test unless all calls meet the quarantine of the new server, from two
// seconds after the first of them on.
func leavesOldServer(t *testing.T, locker *redlock.Locker) {
	t.Helper()
	try := func() (granted int, last error) {
		var all sync.WaitGroup
		var mu sync.Mutex
		for i := range 16 {
			all.Go(func() {
				lock, err := locker.TryLock(t.Context(), fmt.Sprint("k", i))
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					last = err
					return
				}
				granted++
				if err := lock.Unlock(t.Context()); err != nil {
					t.Logf("Unlock: %v", err) // it may have met the other server
				}
			})
		}
		all.Wait()
		return granted, last
	}
	start := time.Now()
	old := 0 // the new server grants nothing
	for time.Since(start) < 2*time.Second {
		granted, _ := try()
		old += granted
	}
	if old == 0 {
		t.Error("the old server granted no lock; want some, so that the test proves something")
	}
	for range 5 {
		if granted, err := try(); granted > 0 || !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("%d locks were granted, the others failed with %v, want the quarantine of the new server", granted, err)
		}
	}
}

// The old server hangs, its name moves, and then it answers again on the old connections. A client
// that has met the new server meanwhile does not go back.
func TestOldServerAnswersAgain(t *testing.T) {
	realServers(t)
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			list := servers.Start(t, servers.Any, 2, servers.WithOutages(), servers.WithoutReuse())
			n := newName(t, list[0])
			locker := onNodes(t, []backend.Node{d.Node(t, n.listener.Addr().String())}, redlock.WithTTL(ttl), redlock.WithQuarantine(time.Minute))
			mustEndQuarantine(t, locker)
			try := func(i int) error {
				lock, err := locker.TryLock(t.Context(), fmt.Sprint("k", i))
				if err == nil {
					_ = lock.Unlock(t.Context())
				}
				return err
			}
			var all sync.WaitGroup
			for i := range 50 { // so that the client has connections that many calls use
				all.Go(func() {
					if err := try(i); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			list[0].Pause(t)
			n.move(list[1])
			for i := 0; !strings.Contains(fmt.Sprint(try(i)), "QUARANTINE"); i++ {
				if i == 100 {
					t.Fatal("the client does not meet the new server")
				}
			}
			list[0].Resume(t)
			granted, quarantined := 0, 0
			i := 100 // not a key that the old server may have
			for start := time.Now(); time.Since(start) < 3*time.Second; time.Sleep(10 * time.Millisecond) {
				i++
				err := try(i)
				if err == nil && time.Since(start) > time.Second {
					granted++
				}
				if strings.Contains(fmt.Sprint(err), "QUARANTINE") {
					quarantined++
				}
			}
			if granted > 0 {
				t.Errorf("unsafe: the old server granted %d locks more than a second after it answered again", granted)
			}
			if quarantined == 0 {
				t.Error("no call met the new server after the old one answered again; want some, so that the test proves something")
			}
		})
	}
}
