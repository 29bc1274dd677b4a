package waiting

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// healed is within how long waiters are notified again after the masters of a Cluster
// have changed.
const healed = 8 * time.Second

// eachCluster runs f in parallel for every adapter that supports Clusters, on a Cluster of
// three masters and one spare server. The key belongs to the first master.
func eachCluster(t *testing.T, f func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string)) {
	realServers(t, "Clusters that change")
	for _, d := range drivers.All {
		if d.Cluster == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			c := servers.StartClusterWithSpares(t, servers.Any, 1)
			key := ""
			for i := 0; key == "" || c.NodeOf(t, key) != c.Nodes[0]; i++ {
				key = fmt.Sprint("k", i)
			}
			f(t, d, c, key)
		})
	}
}

// A round is one lock that a peer waited for.
type round struct {
	queued bool          // its ticket was in the queue
	took   time.Duration // from the release to the lock
}

// wait has first hold the lock while second waits for it, and looks into the queue on
// master meanwhile, unless that is nil.
func wait(t *testing.T, first, second *peer, key string, master *servers.Server) round {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lock, err := first.Lock(ctx, key)
	if err != nil {
		t.Fatal("the first: ", err)
	}
	got := make(chan time.Time, 1)
	go func() {
		defer close(got)
		lock, err := second.Lock(ctx, key)
		if err != nil {
			t.Error("the second: ", err)
			return
		}
		got <- time.Now()
		if err := lock.Unlock(ctx); err != nil {
			t.Error("the second unlocks: ", err)
		}
	}()
	time.Sleep(300 * time.Millisecond) // for it to wait
	var queued any
	if master != nil {
		if queued, err = master.Query(ctx, "ZCARD", queue(key)); err != nil {
			t.Error(err)
		}
	}
	watch := stall.Begin()
	start := time.Now()
	if err := lock.Unlock(ctx); err != nil {
		t.Error("the first unlocks: ", err)
	}
	at := <-got
	<-got
	return round{queued == int64(1), at.Sub(start) - watch.End()}
}

// queue returns the key of the queue of a key without a hash tag.
func queue(key string) string { return key + "{" + key + "}:queue" }

// heals fails the test unless waiters are notified again soon after a change, at start, to
// master, and then always.
func heals(t *testing.T, first, second *peer, key string, master *servers.Server, start time.Time) {
	t.Helper()
	unqueued := 0
	for r := wait(t, first, second, key, master); !r.queued; r = wait(t, first, second, key, master) {
		unqueued++
		if time.Since(start) > healed {
			t.Fatalf("%d rounds in %v, and none was queued", unqueued, time.Since(start))
		}
	}
	t.Logf("queued again %v after the change, %d rounds were not", time.Since(start).Round(time.Millisecond), unqueued)
	var longest time.Duration
	for i := range 8 {
		r := wait(t, first, second, key, master)
		longest = max(longest, r.took)
		if !r.queued || r.took > 100*time.Millisecond {
			t.Errorf("round %d after that: queued: %v, had the lock %v after the release", i, r.queued, r.took)
		}
	}
	t.Logf("notified within %v", longest.Round(10*time.Microsecond))
}

// Waiters are notified by the new master soon after a replica was made the master while
// they waited, without a pause in the waiting.
func TestClusterFailover(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		replica := c.AddReplica(t, c.Nodes[0])
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		if r := wait(t, first, second, key, c.Nodes[0]); !r.queued {
			t.Fatal("not queued before the failover")
		}
		lock := lockOn(t, first, key)
		got := make(chan error, 1)
		go func() { got <- lockAndUnlock(t.Context(), second, key) }()
		time.Sleep(300 * time.Millisecond) // for it to wait
		c.Failover(t, replica)
		start := time.Now()
		time.Sleep(time.Second)
		unlock(t, lock)
		if err := <-got; err != nil {
			t.Error("the one who waited: ", err)
		}
		heals(t, first, second, key, replica, start)

		c.Failover(t, c.Nodes[0])
		heals(t, first, second, key, c.Nodes[0], time.Now())
	})
}

// Waiters are notified by a master that has joined the Cluster, once it has the slot.
func TestClusterGrows(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		if r := wait(t, first, second, key, c.Nodes[0]); !r.queued {
			t.Fatal("not queued before the change")
		}
		master := c.AddMaster(t)
		c.OpenMigration(t, key, c.Nodes[0], master).Close(t)
		heals(t, first, second, key, master, time.Now())
	})
}

// While a slot is on the move plain locks in it are acquired, waited for and released.
// When the slot has moved waiters are notified again.
func TestClusterMigration(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		from, to := c.Nodes[0], c.Nodes[1]
		locker := newLocker(t, []backend.Node{d.Cluster(t, c.Addrs())})
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		tagged := func(i int) string { return fmt.Sprintf("{%s}:%d", key, i) }

		held := lockOn(t, first, key)
		got := make(chan error, 1)
		go func() { got <- lockAndUnlock(t.Context(), second, key) }()
		early := lockOn(t, first, tagged(1))
		moved := lockOn(t, first, tagged(2))
		time.Sleep(300 * time.Millisecond) // for second to wait, in the queue
		if n := from.Do(t, "ZCARD", queue(key)); n != int64(1) {
			t.Fatalf("%v tickets in the queue before the migration, want 1", n)
		}

		m := c.OpenMigration(t, key, from, to)
		m.Move(t, queue(key), tagged(2))
		for what, lock := range map[string]*redlock.Lock{
			"whose queue has moved before it": held,
			"that has no queue":               early,
			"that has moved":                  moved,
		} {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			if err := lock.Extend(ctx, time.Minute); err != nil {
				t.Errorf("extend a lock %s: %v", what, err)
			}
			if err := lock.Unlock(ctx); err != nil {
				t.Errorf("unlock a lock %s: %v", what, err)
			}
			cancel()
		}
		start := time.Now()
		if err := <-got; err != nil {
			t.Error("the one who waited: ", err)
		}
		within(t, "its wait", time.Since(start), 0, lookAgain)

		// What begins while the slot is on the move.
		if r := wait(t, first, second, key, nil); r.took > 300*time.Millisecond {
			t.Errorf("during the migration the second had the lock %v after the release", r.took)
		}
		results := make(chan error, 50)
		for i := range cap(results) {
			go func() { results <- lockAndUnlock(t.Context(), locker, tagged(10+i)) }() // shares calls
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error("one of many at once: ", err)
			}
		}
		late := lockOn(t, first, tagged(3))
		m.Close(t)
		start = time.Now()
		unlock(t, late)
		heals(t, first, second, key, to, start)
		for _, left := range append(from.Keys(t), to.Keys(t)...) {
			t.Errorf("left behind: %q", left)
		}
	})
}

// A lock with a fencing token needs its counter beside it. While the two are on different
// servers an extension waits for them to be together again.
func TestClusterMigrationOfFencedLock(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		from, to := c.Nodes[0], c.Nodes[1]
		p := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}, redlock.WithFencing(), redlock.WithNodeTimeout(500*time.Millisecond))
		lock := lockOn(t, p, key)
		m := c.OpenMigration(t, key, from, to)
		m.Move(t, key)
		done := make(chan error, 1)
		go func() { done <- lock.Extend(t.Context(), time.Minute) }()
		time.Sleep(50 * time.Millisecond) // for it to be tried in vain
		m.Move(t)
		if err := <-done; err != nil {
			t.Error("extend while the keys move: ", err)
		}

		// A free lock cannot be acquired while its slot is on the move; it is as soon as
		// that has ended, and tokens go on.
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error("unlock before the slot has moved: ", err)
		}
		if _, err := p.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("try during the migration: %v, want ErrUnavailable", err)
		}
		got := make(chan *redlock.Lock, 1)
		go func() { got <- lockOn(t, p, key) }()
		time.Sleep(300 * time.Millisecond)
		m.Close(t)
		start := time.Now()
		next := <-got
		t.Logf("locked %v after the slot had moved", time.Since(start).Round(time.Millisecond))
		within(t, "the wait after the slot had moved", time.Since(start), 0, 500*time.Millisecond)
		if next.Fence() <= lock.Fence() {
			t.Errorf("token %d after %d", next.Fence(), lock.Fence())
		}
		unlock(t, next)
	})
}

// lockAndUnlock locks and unlocks key.
func lockAndUnlock(ctx context.Context, l interface {
	Lock(context.Context, string, ...redlock.LockOption) (*redlock.Lock, error)
}, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	lock, err := l.Lock(ctx, key)
	if err != nil {
		return err
	}
	return lock.Unlock(ctx)
}
