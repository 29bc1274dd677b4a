package waiting

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Any number of dead waiters may be queued before a live one, for example all processes of a
// deployment. The live one has the lock a few round trips after the release.
func TestDeadWaitersInFront(t *testing.T) {
	for _, n := range []int{1, 3} {
		list := servers.Start(t, servers.Any, n)
		eachAdapter(t, func(t *testing.T, d drivers.Driver) {
			for _, dead := range []int{17, 600, 3000} {
				key := fmt.Sprintf("dead %s %d %d", d.Name, n, dead)
				// On a busy machine, embedded servers need a long time to remove thousands of
				// tickets.
				holder := newPeer(t, nodesOf(t, d, addrsOf(list)), redlock.WithNodeTimeout(time.Second))
				live := newPeer(t, nodesOf(t, d, addrsOf(list)))
				lock := lockOn(t, holder, key)
				type result struct {
					lock *redlock.Lock
					err  error
					at   time.Time
				}
				got := make(chan result, 1)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				go func() {
					lock, err := live.Lock(ctx, key)
					got <- result{lock, err, time.Now()}
				}()
				for _, s := range list {
					waitQueued(t, s, key, 1)
					for first := 0; first < dead; first += 500 {
						command := []any{"ZADD", queueOf(key)}
						for i := first; i < min(first+500, dead); i++ {
							command = append(command, i, fmt.Sprintf("20:dead %d", i))
						}
						s.Do(t, command...)
					}
				}
				watch := stall.Begin()
				start := time.Now()
				unlock(t, lock)
				r := <-got
				watch.End()
				stood := watch.Within(start, r.at) // with embedded servers, this process also does the work of the servers
				cancel()
				if r.err != nil {
					t.Fatal(r.err)
				}
				within(t, fmt.Sprintf("with %d servers and %d dead, the hand-over", n, dead), r.at.Sub(start)-stood, 0, 300*time.Millisecond)
				unlock(t, r.lock)
			}
		})
	}
}
