package waiting

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A whole Cluster is one node, and notifies the waiters for keys of any master.
func TestCluster(t *testing.T) {
	cluster := servers.StartCluster(t, servers.Any)
	keys := make(map[*servers.Server]string) // one on each master
	for i := 0; len(keys) < len(cluster.Nodes); i++ {
		k := fmt.Sprint("k", i)
		keys[cluster.NodeOf(t, k)] = k
	}
	for _, d := range drivers.All {
		if d.Cluster == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			first := newPeer(t, []backend.Node{d.Cluster(t, cluster.Addrs())})
			second := newPeer(t, []backend.Node{d.Cluster(t, cluster.Addrs())})
			for _, k := range keys {
				took, tries := handOff(t, first, second, k, 500*time.Millisecond)
				notified(t, took, tries)
			}
			took, tries := handOff(t, first, second, "{tagged}key", 500*time.Millisecond)
			notified(t, took, tries)
			if left := cluster.Keys(t); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

// A Sentinel set is one node. If its master is replaced, a waiter gets the lock soon after its
// release on the new master, which notifies waiters from then on.
func TestSentinel(t *testing.T) {
	for _, d := range drivers.All {
		if d.Sentinel == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			t.Parallel()
			set := servers.StartSentinel(t, servers.Any, 1)
			peers := [2]*peer{}
			for i := range peers {
				peers[i] = newPeer(t, []backend.Node{d.Sentinel(t, set.Addrs(), set.Name)}, redlock.WithTTL(time.Minute))
			}
			took, tries := handOff(t, peers[0], peers[1], "before", 500*time.Millisecond)
			notified(t, took, tries)

			lock, err := peers[0].Lock(t.Context(), key)
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan error, 1)
			go func() {
				_, err := peers[1].Lock(t.Context(), key, redlock.WithWait(time.Minute))
				got <- err
			}()
			time.Sleep(500 * time.Millisecond) // until the waiter waits
			start := time.Now()
			set.Master.Kill(t)
			set.WaitFailover(t)
			over := time.Now()
			if err := lock.Unlock(t.Context()); err != nil { // the deletion goes on until it is done
				t.Log("unlocked while the driver looks for the new master: ", err)
			}
			if err := <-got; err != nil {
				t.Error("the waiter: ", err)
			}
			took = time.Since(over)
			t.Logf("a new master after %v, and the lock after another %v", over.Sub(start).Round(time.Millisecond), took.Round(time.Millisecond))
			// The driver takes time as well: it asks the sentinels about once a second.
			if most := lookAgain + 3*time.Second; took > most {
				t.Errorf("locked %v after the failover, want at most %v", took, most)
			}

			// Until the inbox is open on the new master, a waiter polls.
			for tries = 5; tries > 4 && time.Since(over) < 10*time.Second; {
				took, tries = handOff(t, peers[0], peers[1], "after", 500*time.Millisecond)
			}
			notified(t, took, tries)
		})
	}
}
