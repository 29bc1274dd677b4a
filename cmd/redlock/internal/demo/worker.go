package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	key = "demo/counter"

	// rest is how long, on average, a worker does something else between two
	// additions.
	rest = 10 * time.Millisecond

	// nodeTimeout suits servers on the same machine, even a busy one. Two workers
	// that have got one server each wait that long for the third if it hangs.
	nodeTimeout = 75 * time.Millisecond

	// spare is how much longer the lock must last for a worker to write. A busy machine
	// may stop the worker after it has looked, and the servers of the demo run with it:
	// after a pause their clocks are ahead for a moment.
	spare = 150 * time.Millisecond
)

// counter is what the workers fight over. To add to it is to read it, to take a
// moment and to write it: who does so at the same time as another loses an
// update.
type counter struct{ value atomic.Int64 }

// add adds 1 unless valid says, before the writing, that it had better not.
func (c *counter) add(valid func() bool) bool {
	v := c.value.Load()
	time.Sleep(time.Millisecond + rand.N(3*time.Millisecond))
	if !valid() {
		return false
	}
	c.value.Store(v + 1)
	return true
}

// worker is as good as a process of its own: it shares no connection and no
// Locker with the others.
type worker struct {
	number  int
	locker  *redlock.Locker
	clients []*goredisdriver.Client
	pools   []*redigodriver.Pool
}

// newWorker connects a worker to the servers, to each with its driver.
func newWorker(number int, servers []server, ttl time.Duration, onResult func([]redlock.Outcome)) (*worker, error) {
	w := &worker{number: number}
	var nodes []backend.Node
	for _, s := range servers {
		url := "redis://" + s.Addr()
		switch s.driver {
		case driverGoRedis:
			client, err := goredis.NewClient(url)
			if err != nil {
				return nil, err
			}
			w.clients = append(w.clients, client)
			nodes = append(nodes, goredis.New(client, goredis.WithName(s.label)))
		case driverRedigo:
			pool, err := redigo.NewPool(url)
			if err != nil {
				return nil, err
			}
			w.pools = append(w.pools, pool)
			nodes = append(nodes, redigo.New(pool, redigo.WithName(s.label)))
		}
	}
	note := func(_ context.Context, e redlock.Event) {
		outcomes := make([]redlock.Outcome, len(e.Report))
		for i, n := range e.Report {
			outcomes[i] = n.Outcome
		}
		onResult(outcomes)
	}
	var err error
	w.locker, err = redlock.New(nodes, redlock.WithTTL(ttl), redlock.WithNodeTimeout(min(nodeTimeout, ttl/8)), redlock.WithOwner(fmt.Sprintf("worker %d", number)),
		redlock.WithHooks(redlock.Hooks{Locked: note, Unlocked: note}))
	return w, err
}

func (w *worker) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	_ = w.locker.Close(ctx)
	for _, c := range w.clients {
		_ = c.Close()
	}
	for _, p := range w.pools {
		_ = p.Close()
	}
}

// work adds to the counter, again and again, each time under the lock, until
// ctx ends. An error is one that should not be.
func (w *worker) work(ctx context.Context, c *counter, t *tally, say *narrator) error {
	for ctx.Err() == nil {
		start := time.Now()
		lock, err := w.locker.Lock(ctx, key)
		switch {
		case ctx.Err() != nil:
			if err == nil {
				_ = lock.Unlock(ctx)
			}
			return nil
		case errors.Is(err, redlock.ErrUnavailable):
			t.failure()
			say.sometimes("worker %d did not get two servers to answer in time, and tries again", w.number)
			continue
		case err != nil:
			return fmt.Errorf("worker %d: %w", w.number, err)
		}
		waited := time.Since(start)
		t.taken(waited)
		added := c.add(func() bool { return lock.Err() == nil && time.Until(lock.Until()) > spare })
		value := c.value.Load()
		if added {
			t.addition()
		} else {
			t.skip()
		}
		err = lock.Unlock(context.WithoutCancel(ctx)) // before it says anything, which takes long if nobody reads it
		if added && errors.Is(err, redlock.ErrNotHeld) {
			return fmt.Errorf("worker %d wrote under a lock that was lost: %w", w.number, err)
		}
		if added {
			say.sometimes("worker %d waited %s, had the lock from %s, and made the counter %d",
				w.number, milliseconds(waited), granting(lock.Report()), value)
		} else {
			say.sometimes("worker %d: this machine stood still, and the lock is about to end: it does not write", w.number)
		}
		sleep(ctx, rand.N(2*rest))
	}
	return nil
}

// granting names the servers that granted a lock by the time that sufficed.
func granting(r redlock.Report) string {
	var labels []string
	for _, n := range r {
		if n.Outcome == redlock.Granted {
			labels = append(labels, n.Node)
		}
	}
	return strings.Join(labels, " and ")
}
