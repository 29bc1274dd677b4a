package quarantine

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
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
						t.Errorf("the second has the token %d, the first %d", b.Fence(), a.Fence())
					}
				}
			})
		})
	}
}

// A pool has connections to the old server and to the new one. Within two seconds after the new
// server has reported its quarantine, the client leaves the old one.
func TestPoolOfTwoServers(t *testing.T) {
	realServers(t)
	list := servers.Start(t, servers.Any, 2, servers.WithoutReuse())
	n := newName(t, list[0])
	client, err := goredis.NewClient("redis://" + n.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	locker := onNodes(t, []backend.Node{goredis.New(client)}, redlock.WithTTL(ttl), redlock.WithQuarantine(length))
	mustEndQuarantine(t, locker)

	// Every second idle connection leads to the old server.
	const each = 8
	open := func() (c *driver.Conn) {
		c = client.Conn()
		if err := c.Ping(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	var before, after []*driver.Conn
	for range each {
		before = append(before, open())
	}
	n.move(list[1])
	for range each {
		after = append(after, open())
	}
	for i := range each {
		before[i].Close()
		after[i].Close()
	}

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
	for time.Since(start) < 2*time.Second {
		try()
	}
	if after := time.Since(start); after > length-time.Second {
		t.Skipf("this machine is too slow: %v of the quarantine of %v have passed", after, length)
	}
	for range 5 {
		if granted, err := try(); granted > 0 || !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("%d locks were granted, the others failed with %v, want the quarantine of the new server", granted, err)
		}
	}
}
