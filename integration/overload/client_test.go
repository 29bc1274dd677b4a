//go:build unix

package overload

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	"github.com/quorumlock/quorumlock/backend/rueidis"
	"github.com/quorumlock/quorumlock/redlock"
)

// openers make a node of the server at an address, by the name of the adapter,
// with the client that the adapter recommends.
var openers = map[string]func(addr string) (backend.Node, error){
	"goredis": func(addr string) (backend.Node, error) {
		client, err := goredis.NewClient("redis://" + addr)
		if err != nil {
			return nil, err
		}
		return goredis.New(client), nil
	},
	"redigo": func(addr string) (backend.Node, error) {
		pool, err := redigo.NewPool("redis://" + addr)
		if err != nil {
			return nil, err
		}
		return redigo.New(pool, redigo.WithName(addr)), nil
	},
	"rueidis": func(addr string) (backend.Node, error) {
		client, err := rueidis.NewClient("redis://" + addr)
		if err != nil {
			return nil, err
		}
		return rueidis.New(client, rueidis.WithName(addr)), nil
	},
}

// open returns a Locker on servers. Its clients are closed with the process.
func open(adapter string, addrs []string, opts ...redlock.Option) (*redlock.Locker, error) {
	var nodes []backend.Node
	for _, addr := range addrs {
		node, err := openers[adapter](addr)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, node)
	}
	return redlock.New(nodes, opts...)
}

// kindOf names what an error of the library matches.
func kindOf(err error) string {
	for _, kind := range []error{redlock.ErrUnavailable, redlock.ErrTaken, redlock.ErrNotHeld} {
		if errors.Is(err, kind) {
			return kind.Error()
		}
	}
	return err.Error()
}

// acquire locks n distinct keys, many at a time.
func acquire(locker *redlock.Locker, prefix string, n int, opts ...redlock.LockOption) ([]*redlock.Lock, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	locks := make([]*redlock.Lock, n)
	return locks, spread(n, 128, func(i int) (err error) {
		locks[i], err = locker.Lock(ctx, fmt.Sprint(prefix, i), opts...)
		return err
	})
}

// spread calls f for 0 to n-1 on some goroutines, until one call fails.
func spread(n, goroutines int, f func(int) error) error {
	var (
		next   atomic.Int64
		failed atomic.Bool
		wg     sync.WaitGroup
		errs   = make([]error, goroutines)
	)
	for g := range goroutines {
		wg.Go(func() {
			for !failed.Load() {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if errs[g] = f(i); errs[g] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// lost returns how many locks are no longer held.
func lost(locks []*redlock.Lock) int {
	n := 0
	for _, lock := range locks {
		if lock.Err() != nil {
			n++
		}
	}
	return n
}

// callers are goroutines that lock and unlock distinct keys in a loop. They stand for
// the other work of a process.
type callers struct {
	phase  atomic.Pointer[tally]
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// startCallers starts n callers, which pause between two keys.
func startCallers(locker *redlock.Locker, n int, pause time.Duration) *callers {
	ctx, cancel := context.WithCancel(context.Background())
	c := &callers{cancel: cancel}
	c.phase.Store(newTally())
	for caller := range n {
		c.wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				c.once(ctx, locker, fmt.Sprintf("caller %d %d", caller, i))
				if pause > 0 {
					time.Sleep(pause)
				}
			}
		})
	}
	return c
}

// once makes two calls. A call that fails because the callers stop is not counted.
func (c *callers) once(ctx context.Context, locker *redlock.Locker, key string) {
	start := time.Now()
	lock, err := locker.TryLock(ctx, key)
	took := time.Since(start)
	if ctx.Err() == nil {
		c.phase.Load().add(took, err)
	}
	if err != nil {
		time.Sleep(10 * time.Millisecond) // a call that fails at once does not take all of the CPU
		return
	}
	start = time.Now()
	err = lock.Unlock(ctx)
	c.phase.Load().add(time.Since(start), err)
}

// next ends a phase, begins another and returns the figures of the first.
func (c *callers) next() *tally { return c.phase.Swap(newTally()).close() }

// stop ends the callers and returns the figures of the last phase.
func (c *callers) stop() *tally {
	c.cancel()
	c.wg.Wait()
	return c.next()
}
