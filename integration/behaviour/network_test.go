package behaviour

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// proxied returns a proxy in front of each server.
func proxied(t testing.TB, list []*servers.Server) []*netfault.Proxy {
	t.Helper()
	out := make([]*netfault.Proxy, len(list))
	for i, s := range list {
		out[i] = netfault.New(t, s.Addr())
	}
	return out
}

func proxyAddrs(list []*netfault.Proxy) []string {
	out := make([]string, len(list))
	for i, p := range list {
		out[i] = p.Addr()
	}
	return out
}

// The network's round trip is 90 ms, connection setup takes 240 ms, and the pools are empty. With
// a node timeout of 150 ms the first attempt cannot succeed, but the later ones use its
// connections. (One adapter of each family, because each takes 15 s.)
func TestSlowNetwork(t *testing.T) {
	eachFamily(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			for _, timeout := range []time.Duration{750 * time.Millisecond, 150 * time.Millisecond} {
				t.Run(fmt.Sprintf("N=%d/%v", n, timeout), func(t *testing.T) {
					list := servers.Start(t, servers.Any, n)
					proxies := proxied(t, list)
					for _, p := range proxies {
						p.DelayConnect(240 * time.Millisecond)
						p.Delay(netfault.ToServer, 45*time.Millisecond)
						p.Delay(netfault.ToClient, 45*time.Millisecond)
					}
					nodes := a.nodes(t, proxyAddrs(proxies)...)
					locker := newLocker(t, nodes, redlock.WithNodeTimeout(timeout))
					// The calls of a failed lock go on, and leave their connections in the pools.
					afresh := func() {
						if err := locker.Close(t.Context()); err != nil {
							t.Fatal(err)
						}
						locker = newLocker(t, nodes, redlock.WithNodeTimeout(timeout))
					}
					watch := stall.Begin()
					start := time.Now()
					lock, err := locker.TryLock(t.Context(), "first")
					end := time.Now()
					watch.End()
					if err != nil {
						t.Logf("the first lock, with empty pools: %v", err)
						if timeout > 500*time.Millisecond && watch.Within(start, end) < 200*time.Millisecond {
							t.Error("the first lock failed")
						}
						afresh()
					} else if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
					for i := range 10 {
						err := unlessStalled(t, 0, func(try int) error {
							if try > 0 {
								afresh()
							}
							lock, err := locker.TryLock(t.Context(), fmt.Sprint("then", i, try))
							if err != nil {
								return err
							}
							return errors.Join(lock.Extend(t.Context(), 15*time.Second), lock.Unlock(t.Context()))
						})
						if err != nil {
							t.Fatalf("lock %d: %v", i, err)
						}
					}
					servers.WaitEmpty(t, time.Second, list...)
				})
			}
		}
	})
}

// With a round trip of 140 ms, and 210 ms for a new connection, as with TLS, the first lock fails
// without connections. It does not fail if each node had a call before.
func TestFirstCallOpensConnections(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for client, node := range map[string]func(addr string) backend.Node{
			"the driver's client":  func(addr string) backend.Node { return a.Node(t, addr) },
			"the adapter's client": func(addr string) backend.Node { return a.FromURL(t, "redis://"+addr) },
		} {
			t.Run(client, func(t *testing.T) {
				list := servers.Start(t, servers.Any, 3)
				proxies := proxied(t, list)
				try := func(warm bool) error {
					return unlessStalled(t, 0, func(int) error {
						var nodes []backend.Node
						for _, p := range proxies {
							p.DelayConnect(0)
							p.Delay(netfault.ToServer, 0)
							p.Delay(netfault.ToClient, 0)
							nodes = append(nodes, node(p.Addr())) // rueidis connects here
							p.DelayConnect(210 * time.Millisecond)
							p.Delay(netfault.ToServer, 70*time.Millisecond)
							p.Delay(netfault.ToClient, 70*time.Millisecond)
						}
						if warm {
							var all sync.WaitGroup
							for _, n := range nodes {
								all.Go(func() {
									if _, err := n.EvalDelete(t.Context(), "unused", "nobody"); err != nil {
										t.Errorf("EvalDelete: %v", err)
									}
								})
							}
							all.Wait()
						}
						lock, err := newLocker(t, nodes).TryLock(t.Context(), fmt.Sprint("k", warm))
						if err != nil {
							return err
						}
						return lock.Unlock(t.Context())
					})
				}
				if err := try(true); err != nil {
					t.Errorf("after a first call: %v", err)
				}
				if err := try(false); !errors.Is(err, redlock.ErrUnavailable) {
					t.Errorf("without a first call: %v, want ErrUnavailable, so that the test proves something", err)
				}
			})
		}
	})
}

// A caller that is cancelled at any time leaves no key on any server.
func TestCancelledCallerLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		for _, n := range []int{1, 3, 5} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, kind, n)
				proxies := proxied(t, list)
				nodes := a.nodes(t, proxyAddrs(proxies)...)
				warm(t, nodes)
				locker := newLocker(t, nodes)
				for i, p := range proxies { // nodes answer one after another
					p.Delay(netfault.ToServer, time.Duration(i+1)*time.Millisecond)
					p.Delay(netfault.ToClient, time.Duration(i+1)*time.Millisecond)
				}
				const tries = 40
				cancelled := 0
				for i := range tries {
					ctx, cancel := context.WithCancel(t.Context())
					stop := time.AfterFunc(rand.N(time.Duration(4*n+2)*time.Millisecond), cancel)
					lock, err := locker.Lock(ctx, fmt.Sprint("k", i))
					if ctx.Err() != nil { // with one node, the call may succeed all the same
						cancelled++
					}
					if err == nil {
						err = lock.Unlock(ctx)
					}
					if err != nil && !errors.Is(err, context.Canceled) {
						t.Errorf("attempt %d: %v", i, err)
					}
					stop.Stop()
					cancel()
				}
				t.Logf("%d of %d were cancelled before Lock returned", cancelled, tries)
				if cancelled == 0 {
					t.Error("no call was cancelled before it returned; want some, so that the test proves something")
				}
				servers.WaitEmpty(t, time.Second, list...)
			})
		}
	})
}

// If a reply is lost after the command ran, the lock is never reported as taken, and the key is
// gone after the release. The library sends the command at most once more, and the driver never
// does.
func TestLostReply(t *testing.T) {
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, kind, n)
				proxies := proxied(t, list)
				nodes := a.nodes(t, proxyAddrs(proxies)...)
				warm(t, nodes)
				locker := newLocker(t, nodes)
				cycle(t, locker, "first") // the first acquire on a node is a script
				servers.WaitEmpty(t, time.Second, list...)
				// How often a command was sent is counted on the node in the middle. Most nodes have
				// answered an operation when it ends. The others may count one more of the
				// operation before.
				lose := func(commands ...string) (sent func() int) {
					before := make([]int, n)
					for i, p := range proxies {
						before[i] = p.Count(commands...)
						p.LoseReply(1, netfault.Command(commands...))
					}
					return func() int {
						counts := make([]int, n)
						for i, p := range proxies {
							counts[i] = p.Count(commands...) - before[i]
						}
						slices.Sort(counts)
						return counts[n/2]
					}
				}

				sets := lose("SET")
				lock, err := locker.TryLock(t.Context(), "set")
				if err != nil {
					t.Fatalf("with every reply to SET lost once: %v", err)
				}
				if got := sets(); got != 1 {
					t.Errorf("SET was sent %d times to a node, want 1", got)
				}

				scripts := lose("EVALSHA", "EVAL")
				if err := lock.Extend(t.Context(), 15*time.Second); err != nil {
					t.Errorf("Extend with every reply lost once: %v", err)
				}
				if got := scripts(); got != 2 {
					t.Errorf("Extend was sent %d times to a node that lost a reply, want 2", got)
				}
				scripts = lose("EVALSHA", "EVAL")
				if err := lock.Unlock(t.Context()); err != nil {
					t.Errorf("Unlock with every reply lost once: %v", err)
				}
				if got := scripts(); got != 2 {
					t.Errorf("Unlock was sent %d times to a node that lost a reply, want 2", got)
				}
				servers.WaitEmpty(t, time.Second, list...)
			})
		}
	})
}

// On a node that cannot run the acquire script, the outcome of a set with a lost reply stays
// unknown. It does not count as taken, and is cleaned up.
func TestLostReplyOnBareNodes(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		proxies := proxied(t, list)
		nodes := []backend.Node{faulty.Bare(a.Node(t, proxies[0].Addr()))}
		warm(t, nodes)
		locker := newLocker(t, nodes)
		proxies[0].LoseReply(1, netfault.Command("SET"))
		_, err := locker.TryLock(t.Context(), "k")
		if !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
		servers.WaitEmpty(t, time.Second, list...)
		if err := free(t.Context(), locker, "k"); err != nil {
			t.Error(err)
		}
	})
}

// The server has closed idle connections. No call fails because of that: an operation on a closed
// connection is sent again.
func TestStaleConnections(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers do not close connections: they have no CLIENT KILL")
	}
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n, servers.WithOutages())
				locker := a.locker(t, addrs(list))
				cycle(t, locker, "warm")
				for _, s := range list {
					s.Do(t, "CLIENT", "KILL", "TYPE", "normal")
				}
				cycle(t, locker, "k")
				servers.WaitEmpty(t, time.Second, list...)
			})
		}
	})
}

// A set that arrives after its attempt has failed is deleted.
func TestLateSet(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		t.Parallel() // because it mostly sleeps
		list := servers.Start(t, servers.Any, 1)
		proxies := proxied(t, list)
		nodes := a.nodes(t, proxyAddrs(proxies)...)
		warm(t, nodes)
		locker := newLocker(t, nodes)
		cycle(t, locker, "first") // the first acquire on a node is a script
		stalled := proxies[0].StallRequest(1, netfault.Command("SET"))
		if _, err := locker.TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrUnavailable) {
			t.Fatalf("got %v, want ErrUnavailable", err)
		}
		// The call ends 2 s later, and the deletions after it find nothing.
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := proxies[0].WaitCount(ctx, proxies[0].Count("EVALSHA", "EVAL")+3, "EVALSHA", "EVAL"); err != nil {
			t.Fatal("nothing was deleted: ", err)
		}
		stalled.Remove() // the set arrives
		eventually(t, time.Second, func() error {
			if list[0].Do(t, "GET", "k") != nil {
				return errors.New("the late key still exists")
			}
			return nil
		})
		if err := locker.Close(ctx); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}
