package waiting

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/redlock"
)

// key is the lock that all clients use.
const key = "k"

// A client stands for a process: a Locker on connections of its own. Its label is in its tokens
// and in the name of its inbox.
type client struct {
	label   string
	driver  drivers.Driver
	life    *lifetime
	locker  *redlock.Locker
	proxies []*netfault.Proxy // one in front of each server; none without faults
	log     *log

	mu     sync.Mutex
	cancel context.CancelFunc // ends the current wait
	won    int
	waits  []time.Duration // one for each lock
	errs   []error         // errors other than those of cancelled waits
}

// newClient returns a client of the servers at addrs, with proxies in between if requested.
func newClient(t testing.TB, l *log, label string, d drivers.Driver, addrs []string, proxied bool, opts ...redlock.Option) *client {
	t.Helper()
	c := &client{label: label, driver: d, life: newLifetime(t), log: l}
	for _, addr := range addrs {
		if proxied {
			p := netfault.New(c.life, addr)
			c.proxies = append(c.proxies, p)
		}
	}
	if proxied {
		addrs = nil
		for _, p := range c.proxies {
			addrs = append(addrs, p.Addr())
		}
	}
	c.locker = newLocker(t, nodesOf(c.life, d, addrs), append(opts, redlock.WithOwner(label))...)
	return c
}

// newClients returns n clients, one of each adapter in turn.
func newClients(t testing.TB, l *log, n int, addrs []string, opts ...redlock.Option) []*client {
	t.Helper()
	var list []*client
	for i := range n {
		d := drivers.All[i%len(drivers.All)]
		list = append(list, newClient(t, l, label(i), d, addrs, false, opts...))
	}
	return list
}

// warm opens the client's connections, and lets it measure the round trips to the servers without
// their setup.
func (c *client) warm(ctx context.Context) {
	for range 12 {
		lock, err := c.locker.Lock(ctx, "warm "+c.label)
		if err == nil {
			err = lock.Unlock(ctx)
		}
		if err != nil && ctx.Err() == nil {
			c.fail(err)
		}
	}
}

// loop locks, holds for hold and unlocks until ctx ends.
func (c *client) loop(ctx context.Context, hold time.Duration) {
	for ctx.Err() == nil {
		c.once(ctx, hold)
	}
}

// once locks, holds for hold and unlocks.
func (c *client) once(ctx context.Context, hold time.Duration) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c.mu.Lock()
	c.cancel = cancel
	c.mu.Unlock()
	start := time.Now()
	c.log.waits(c)
	lock, err := c.locker.Lock(ctx, key)
	if err != nil {
		c.log.leaves(c)
		if !errors.Is(err, context.Canceled) {
			c.fail(err)
		}
		return
	}
	c.log.holds(c, lock.Until())
	c.mu.Lock()
	c.won++
	c.waits = append(c.waits, time.Since(start))
	c.mu.Unlock()
	time.Sleep(hold) // the work under the lock
	c.log.releases(c)
	if err := lock.Unlock(context.WithoutCancel(ctx)); err != nil {
		c.fail(err)
	}
}

func (c *client) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.errs = append(c.errs, err)
}

// failures returns all errors except those of cancelled waits.
func (c *client) failures() []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.errs)
}

// count returns how often the client has had the lock.
func (c *client) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.won
}

// giveUp cancels the current wait.
func (c *client) giveUp() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cancel != nil {
		c.cancel()
	}
}

// hold stops all traffic between the client and the servers until resume, as if the client's
// machine were frozen.
func (c *client) hold() {
	for _, p := range c.proxies {
		p.Hold()
	}
}

func (c *client) resume() {
	for _, p := range c.proxies {
		if err := p.Resume(); err != nil {
			c.life.Error(err)
		}
	}
}

// slow delays all traffic between the client and the servers by d in each direction.
func (c *client) slow(d time.Duration) {
	for _, p := range c.proxies {
		p.Delay(netfault.ToServer, d)
		p.Delay(netfault.ToClient, d)
	}
}

// die cuts the client off at one moment, so that nothing is sent after it. Then it closes the
// driver's clients.
func (c *client) die() {
	for _, p := range c.proxies {
		p.Refuse()
	}
	c.giveUp()
	c.life.end()
}
