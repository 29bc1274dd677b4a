package waiting

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A deafNode loses the messages for a subscriber, as a proxy may.
type deafNode struct {
	backend.Node
	backend.Scripter
	backend.Subscriber
}

func (n deafNode) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	events.Message = func(string) {}
	return n.Subscriber.Subscribe(ctx, channel, events)
}

// drain makes each of peers lock a key that another peer holds, and release it at once. It
// returns the time from the holder's release until all of them have had it, without the time for
// which the machine stood still.
func drain(t testing.TB, holder *peer, peers []*peer, key string) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	lock := lockOn(t, holder, key)
	var all sync.WaitGroup
	for _, p := range peers {
		all.Go(func() {
			l, err := p.Lock(ctx, key)
			if err != nil {
				t.Error(err)
				return
			}
			unlock(t, l)
		})
	}
	time.Sleep(500 * time.Millisecond) // until all of them wait
	watch := stall.Begin()
	start := time.Now()
	unlock(t, lock)
	all.Wait()
	return time.Since(start) - watch.End()
}

// If no messages arrive, or the server does not let scripts publish, waiters poll. They get the
// lock about as fast as waiters whose nodes have no subscriptions. Each logs this once.
func TestWaitingWithoutMessages(t *testing.T) {
	const waiters = 20
	for _, tc := range []struct {
		name, says string
		start      func(t *testing.T) *servers.Server
		behind     func(backend.Node) backend.Node
	}{
		{"messages are lost", "they do not arrive", func(t *testing.T) *servers.Server {
			return servers.Start(t, servers.Any, 1)[0]
		}, func(n backend.Node) backend.Node {
			s, _ := backend.As[backend.Scripter](n)
			sub, _ := backend.As[backend.Subscriber](n)
			return deafNode{n, s, sub}
		}},
		{"no PUBLISH in scripts", "it does not let scripts notify waiters", func(t *testing.T) *servers.Server {
			realServers(t, "commands that are renamed")
			return servers.Start(t, servers.Any, 1, servers.WithArgs("--rename-command", "PUBLISH", ""))[0]
		}, func(n backend.Node) backend.Node { return n }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := tc.start(t)
			eachAdapter(t, func(t *testing.T, d drivers.Driver) {
				newPeers := func(behind func(backend.Node) backend.Node) (list []*peer) {
					for range waiters {
						list = append(list, newPeer(t, []backend.Node{behind(d.Node(t, s.Addr()))}))
					}
					return list
				}
				holder := newPeer(t, []backend.Node{d.Node(t, s.Addr())})
				polling := drain(t, holder, newPeers(faulty.Bare), "polling "+d.Name)
				all := newPeers(tc.behind)
				took := drain(t, holder, all, "deaf "+d.Name)
				t.Logf("%d waiters had the lock after %v, by polling after %v", waiters, took.Round(time.Millisecond), polling.Round(time.Millisecond))
				if most := 2*polling + time.Second; took > most {
					t.Errorf("the last of %d waiters had the lock after %v, want at most %v", waiters, took, most)
				}
				time.Sleep(time.Second) // the problem may be noticed only later
				said := 0
				for _, p := range all {
					list := p.polling()
					said += len(list)
					if len(list) > 1 || len(list) == 1 && !strings.Contains(list[0], tc.says) {
						t.Errorf("the peer logged %q, want %q once", list, tc.says)
					}
				}
				if said < waiters/2 {
					t.Errorf("%d of %d waiters logged that they poll", said, waiters)
				}
			})
		})
	}
}

// If the state of a server prevents waiters from queueing, the log contains the server's reason.
func TestServerErrorIsLogged(t *testing.T) {
	realServers(t, "CONFIG SET and REPLICAOF")
	for _, tc := range []struct {
		name, says string
		fault      func(t *testing.T, s *servers.Server)
	}{
		{"full", "OOM ", func(t *testing.T, s *servers.Server) { s.Do(t, "CONFIG", "SET", "maxmemory", "1") }},
		{"a replica", "READONLY ", func(t *testing.T, s *servers.Server) { s.Do(t, "REPLICAOF", "127.0.0.1", "1") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			eachAdapter(t, func(t *testing.T, d drivers.Driver) {
				t.Parallel()
				s := servers.Start(t, servers.Any, 1, servers.WithoutReuse())[0]
				holder, waiter := newPeer(t, []backend.Node{d.Node(t, s.Addr())}), newPeer(t, []backend.Node{d.Node(t, s.Addr())})
				lockOn(t, holder, key, redlock.WithTTL(time.Minute))
				ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
				defer cancel()
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, _ = waiter.Lock(ctx, key)
				}()
				waitQueued(t, s, key, 1)
				tc.fault(t, s)
				for len(waiter.polling()) == 0 && ctx.Err() == nil {
					time.Sleep(10 * time.Millisecond)
				}
				cancel()
				<-done
				list := waiter.polling()
				if len(list) != 1 || !strings.Contains(list[0], tc.says) || strings.Contains(list[0], "right") {
					t.Errorf("the peer logged %q, want %q, and nothing about rights", list, tc.says)
				}
			})
		})
	}
}
