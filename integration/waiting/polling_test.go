package waiting

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Some keys have no queue, because there is no name for it in the same slot with the same
// beginning. Their waiters poll, and no key stays behind.
func TestKeysWithoutQueue(t *testing.T) {
	list := servers.Start(t, servers.Any, 1)
	eachAdapter(t, func(t *testing.T, d drivers.Driver) {
		for _, key := range []string{"a}b", "{}x", "a{b"} {
			t.Run(key, func(t *testing.T) {
				t.Parallel()
				first := newPeer(t, nodesOf(t, d, addrsOf(list)))
				second := newPeer(t, nodesOf(t, d, addrsOf(list)))
				took, tries := handOff(t, first, second, d.Name+key, 600*time.Millisecond)
				polled(t, took, tries)
			})
		}
	})
	servers.WaitEmpty(t, time.Second, list...)
}

// Nodes with only the three basic methods are polled, alone and together with other nodes. If two
// of three nodes can notify, a waiter is notified.
func TestBareNodes(t *testing.T) {
	list := servers.Start(t, servers.Any, 3)
	eachAdapter(t, func(t *testing.T, d drivers.Driver) {
		for bare := 1; bare <= 3; bare++ {
			t.Run(fmt.Sprintf("%d of 3", bare), func(t *testing.T) {
				t.Parallel()
				nodes := func() []backend.Node {
					nodes := nodesOf(t, d, addrsOf(list))
					for i := range bare {
						nodes[i] = faulty.Bare(nodes[i])
					}
					return nodes
				}
				took, tries := handOff(t, newPeer(t, nodes()), newPeer(t, nodes()), fmt.Sprint(d.Name, bare), 600*time.Millisecond, list...)
				if bare == 1 {
					notified(t, took, tries)
				} else {
					polled(t, took, tries)
				}
			})
		}
	})
}

// The ways in which a waiter gets the lock.
type way int

const (
	isCalled way = iota
	polls        // and logs this once
	looks        // is queued but cannot be notified, and looks from time to time; the releasing client logs this once
)

// check fails the test unless the peer got a lock, which was held for a while, in that way.
func (w way) check(t testing.TB, p *peer, took time.Duration, tries int) {
	t.Helper()
	least, most := 0, 0
	switch w {
	case isCalled:
		notified(t, took, tries)
	case polls:
		polled(t, took, tries)
		least, most = 1, 1
	case looks:
		if took > lookAgain {
			t.Errorf("locked %v after the release, want at most %v", took, lookAgain)
		}
		most = 1 // because of its own release
	}
	if told := p.polling(); len(told) < least || len(told) > most {
		t.Errorf("the log says %d times that the peer polls, want from %d to %d: %q", len(told), least, most, told)
	}
}

// Access rules of servers forbid something that waiting needs. Locks still work and are released
// at once, and waiters get them in another way.
func TestForbidden(t *testing.T) {
	realServers(t, "rules of access")
	all := []string{
		"resetchannels", "-@all", "~lock:*", "&lock:redlock:inbox:*", "+set", "+get", "+del", "+pttl", "+pexpire", "+eval", "+evalsha", "+time",
		"+zadd", "+zrem", "+zpopmin", "+zrank", "+zrange", "+zcard", "+publish", "+subscribe", "+unsubscribe", "+ping", "+pubsub",
	}
	with := func(rules ...string) []string { return append(all[:len(all):len(all)], rules...) }
	for _, test := range []struct {
		name  string
		rules []string
		way   way
	}{
		{"nothing", all, isCalled},
		{"the queue", with("resetkeys", "~lock:goredis", "~lock:redigo", "~lock:rueidis", "~lock:valkey"), polls},
		{"the channel", with("resetchannels"), polls},
		{"SUBSCRIBE", with("-subscribe"), polls},
		{"PUBSUB", with("-pubsub"), polls},
		{"ZADD", with("-zadd"), polls},
		{"PUBLISH", with("-publish"), polls},
		{"ZPOPMIN", with("-zpopmin"), looks},
		{"ZRANGE", with("-zrange"), looks},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.name == "the channel" && servers.Kinds(t)[0].Before(6, 2) {
				t.Skip("before Redis 6.2 there are no rights to channels")
			}
			s := servers.Start(t, servers.Any, 1, servers.WithUser("locker", "secret", test.rules...))[0]
			handOffs(t, s, test.way, redlock.WithKeyPrefix("lock:"))
		})
	}
}

// handOffs makes a waiter with each adapter get a lock on s, twice.
func handOffs(t *testing.T, s *servers.Server, w way, opts ...redlock.Option) {
	eachAdapter(t, func(t *testing.T, d drivers.Driver) {
		t.Parallel()
		first := newPeer(t, []backend.Node{d.FromURL(t, s.URL())}, opts...)
		second := newPeer(t, []backend.Node{d.FromURL(t, s.URL())}, opts...)
		for range 2 {
			took, tries := handOff(t, first, second, d.Name, 600*time.Millisecond)
			w.check(t, second, took, tries)
		}
		if told := first.polling(); w == looks && (len(told) != 1 || !strings.Contains(told[0], "does not notify waiters: ")) {
			t.Errorf("the log of the releasing peer says %d times that it cannot notify, want once: %q", len(told), told)
		}
		for _, k := range s.Keys(t) {
			if strings.HasSuffix(k, d.Name) {
				t.Errorf("the lock %q is left behind", k)
			}
		}
	})
}

// Servers may lack commands that waiting needs, as proxies and managed services do.
func TestUnknownCommands(t *testing.T) {
	realServers(t, "commands that are renamed")
	for command, w := range map[string]way{"SUBSCRIBE": polls, "PUBSUB": polls, "ZADD": polls, "PUBLISH": polls} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			s := servers.Start(t, servers.Any, 1, servers.WithArgs("--rename-command", command, ""))[0]
			handOffs(t, s, w)
		})
	}
}
