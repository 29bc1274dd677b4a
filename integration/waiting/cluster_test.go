package waiting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// healed is the longest time until waiters are notified again after the masters of a Cluster have
// changed.
const healed = 8 * time.Second

// eachCluster runs f in parallel for every adapter that supports Clusters, on a Cluster of three
// masters and a spare server. The key belongs to the first master.
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

// A round is one lock for which a peer waited.
type round struct {
	queued bool          // its ticket was in the queue
	took   time.Duration // from the release to the lock
}

// wait makes first hold the lock while second waits for it. Unless master is nil, it checks the
// queue there meanwhile.
func wait(t *testing.T, first, second *peer, key string, master *servers.Server) round {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lock, err := first.Lock(ctx, key)
	if err != nil {
		t.Fatal("the first: ", err)
	}
	got := make(chan time.Time, 1)
	before := second.rounds.Load()
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
	queued := false
	if master == nil {
		time.Sleep(300 * time.Millisecond) // until second waits
	} else {
		queued = isQueued(ctx, t, second, before, key, master)
	}
	watch := stall.Begin()
	start := time.Now()
	if err := lock.Unlock(ctx); err != nil {
		t.Error("the first unlocks: ", err)
	}
	at := <-got
	<-got
	watch.End()
	return round{queued, at.Sub(start) - watch.Within(start, at)}
}

// isQueued waits until the ticket of p is in the queue of key at master, and reports whether it came
// there. A caller that polls instead makes one attempt after another. before is the number of
// rounds of p before its call.
func isQueued(ctx context.Context, t *testing.T, p *peer, before int64, key string, master *servers.Server) bool {
	t.Helper()
	for {
		many := p.rounds.Load() > before+3
		n, err := master.Query(ctx, "ZCARD", queue(key))
		if err != nil {
			t.Fatal(err)
		}
		if n == int64(1) || many {
			return n == int64(1)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// queue returns the key of the queue of a key without a hash tag.
func queue(key string) string { return key + "{" + key + "}:queue" }

// heals fails the test unless waiters are notified again soon after start, at which master
// changed, and always from then on.
func heals(t *testing.T, first, second *peer, key string, master *servers.Server, start time.Time) {
	t.Helper()
	untilQueued(t, first, second, key, master, start)
	var took []time.Duration
	for i := range 8 {
		r := wait(t, first, second, key, master)
		took = append(took, r.took)
		if !r.queued || r.took > 500*time.Millisecond { // a queued caller that is not notified needs 1.5 s
			t.Errorf("round %d after that: queued: %v, locked %v after the release", i, r.queued, r.took)
		}
	}
	slices.Sort(took)
	t.Logf("notified within %v", took[len(took)-1].Round(10*time.Microsecond))
	// Other tests run at the same time, so a single round may take longer.
	if median := took[len(took)/2]; median > 100*time.Millisecond {
		t.Errorf("the median of the times after the release is %v, want at most 100ms", median)
	}
}

// untilQueued fails the test unless second is queued at master soon after start, at which the
// masters changed or the peers began.
func untilQueued(t *testing.T, first, second *peer, key string, master *servers.Server, start time.Time) {
	t.Helper()
	unqueued := 0
	for r := wait(t, first, second, key, master); !r.queued; r = wait(t, first, second, key, master) {
		unqueued++
		if time.Since(start) > healed {
			t.Fatalf("%d rounds in %v, none of them queued", unqueued, time.Since(start))
		}
	}
	t.Logf("queued %v after the start or the change, after %d rounds without a ticket", time.Since(start).Round(time.Millisecond), unqueued)
}

// A replica becomes the master while callers wait. Soon afterwards the new master notifies
// waiters, and waiting never stops.
func TestClusterFailover(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		replica := c.AddReplica(t, c.Nodes[0])
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		untilQueued(t, first, second, key, c.Nodes[0], time.Now())
		lock := lockOn(t, first, key)
		got := make(chan error, 1)
		go func() { got <- lockAndUnlock(t.Context(), second, key) }()
		time.Sleep(300 * time.Millisecond) // until the waiter waits
		c.Failover(t, replica)
		start := time.Now()
		time.Sleep(time.Second)
		unlock(t, lock)
		if err := <-got; err != nil {
			t.Error("the waiter: ", err)
		}
		heals(t, first, second, key, replica, start)

		c.Failover(t, c.Nodes[0])
		heals(t, first, second, key, c.Nodes[0], time.Now())
	})
}

// A master that has joined the Cluster notifies waiters once it has the slot.
func TestClusterGrows(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		untilQueued(t, first, second, key, c.Nodes[0], time.Now())
		master := c.AddMaster(t)
		c.OpenMigration(t, key, c.Nodes[0], master).Close(t)
		heals(t, first, second, key, master, time.Now())
	})
}

// One master of a Cluster is down, and has no replica. Callers that wait for a lock of another
// master then poll, so they have it soon after its release. When the master is back, they are
// notified again.
func TestClusterMasterDown(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		for _, node := range c.Nodes {
			node.Do(t, "CONFIG", "SET", "cluster-require-full-coverage", "no")
		}
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		untilQueued(t, first, second, key, c.Nodes[0], time.Now())
		down := c.Nodes[1]
		down.Kill(t)
		for i := range 8 {
			r := wait(t, first, second, key, c.Nodes[0])
			t.Logf("round %d: queued: %v, locked %v after the release", i, r.queued, r.took.Round(time.Millisecond))
			if !r.queued && r.took > 400*time.Millisecond { // it asks at least every 250 ms
				t.Errorf("round %d: a caller that polls had the lock %v after its release", i, r.took)
			}
		}
		down.Start(t)
		heals(t, first, second, key, c.Nodes[0], time.Now())
	})
}

// While a slot migrates, plain locks in it can be acquired, waited for and released. When the
// migration has ended, waiters are notified again.
func TestClusterMigration(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		from, to := c.Nodes[0], c.Nodes[1]
		locker := newLocker(t, []backend.Node{d.Cluster(t, c.Addrs())}, redlock.WithNodeTimeout(time.Second)) // for many callers at once
		first, second := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}), newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())})
		tagged := func(i int) string { return fmt.Sprintf("{%s}:%d", key, i) }

		held := lockOn(t, first, key)
		got := make(chan error, 1)
		go func() { got <- lockAndUnlock(t.Context(), second, key) }()
		early := lockOn(t, first, tagged(1))
		moved := lockOn(t, first, tagged(2))
		waitQueued(t, from, key, 1)

		m := c.OpenMigration(t, key, from, to)
		m.Move(t, queue(key), tagged(2))
		for what, lock := range map[string]*redlock.Lock{
			"whose queue has moved before its key": held,
			"that has no queue":                    early,
			"that has moved":                       moved,
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
			t.Error("the waiter: ", err)
		}
		within(t, "its wait", time.Since(start), 0, lookAgain)

		// Calls that begin during the migration.
		if r := wait(t, first, second, key, nil); r.took > 300*time.Millisecond {
			t.Errorf("during the migration the second had the lock %v after the release", r.took)
		}
		results := make(chan error, 50)
		for i := range cap(results) {
			go func() { results <- lockAndUnlock(t.Context(), locker, tagged(10+i)) }() // shares calls
		}
		for range cap(results) {
			if err := <-results; err != nil {
				t.Error("one of many concurrent callers: ", err)
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

// A fencing counter must be on the same server as its lock. While the two are on different
// servers, an extension waits until both have moved.
func TestClusterMigrationOfFencedLock(t *testing.T) {
	eachCluster(t, func(t *testing.T, d drivers.Driver, c *servers.Cluster, key string) {
		from, to := c.Nodes[0], c.Nodes[1]
		p := newPeer(t, []backend.Node{d.Cluster(t, c.Addrs())}, redlock.WithFencing(), redlock.WithNodeTimeout(500*time.Millisecond))
		lock := lockOn(t, p, key)
		m := c.OpenMigration(t, key, from, to)
		m.Move(t, key)
		done := make(chan error, 1)
		go func() { done <- lock.Extend(t.Context(), time.Minute) }()
		time.Sleep(50 * time.Millisecond) // until an attempt has failed
		m.Move(t)
		if err := <-done; err != nil {
			t.Error("extend while the keys move: ", err)
		}

		// A free fenced lock cannot be acquired while its slot migrates. It can be as soon as the
		// migration has ended, with a higher token.
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error("unlock before the slot has moved: ", err)
		}
		if _, err := p.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("attempt during the migration: %v, want ErrUnavailable", err)
		}
		type result struct {
			lock *redlock.Lock
			err  error
		}
		got := make(chan result, 1)
		go func() {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			lock, err := p.Lock(ctx, key)
			got <- result{lock, err}
		}()
		time.Sleep(300 * time.Millisecond)
		m.Close(t)
		start := time.Now()
		r := <-got
		if r.err != nil {
			t.Fatal("the wait for the end of the migration: ", r.err)
		}
		next := r.lock
		t.Logf("locked %v after the slot had moved", time.Since(start).Round(time.Millisecond))
		within(t, "the wait after the slot had moved", time.Since(start), 0, 500*time.Millisecond)
		if next.Fence() <= lock.Fence() {
			t.Errorf("unsafe: the token %d follows %d", next.Fence(), lock.Fence())
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
