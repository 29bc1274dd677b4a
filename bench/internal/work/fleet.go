package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/delay"
	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/peer"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

// errTwoInside reports that a lock did not exclude.
var errTwoInside = errors.New("two clients were inside at once")

// fleet is a set of clients that compete for keys. Each has its own connections, as if it were a
// process.
type fleet struct {
	clients []peer.Client
	hold    time.Duration
	inside  atomic.Int32 // number of holders now
	broken  atomic.Bool  // there was more than one
	key     func() string
}

// newFleet opens n clients and makes each of them lock once, alone, so that it is connected.
// addrs returns the addresses at which a client finds the nodes.
func (b *Bench) newFleet(ctx context.Context, i *peer.Implementation, cell measure.Cell, addrs func(client int) []string, n int) (*fleet, error) {
	f := &fleet{hold: b.Plan.Hold, key: func() string { return b.freshKey(cell) }}
	for at := range n {
		client, err := i.Open(addrs(at))
		if err != nil {
			f.close()
			return nil, err
		}
		f.clients = append(f.clients, client)
	}
	errs := f.each(func(at int) error {
		return f.clients[at].Hold(ctx, fmt.Sprintf("%s:%d", f.key(), at), func() {})
	})
	if err := errors.Join(errs...); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// each calls do for every client at once. When all have returned, it returns their errors.
func (f *fleet) each(do func(client int) error) []error {
	errs := make([]error, len(f.clients))
	gate := make(chan struct{})
	var wg sync.WaitGroup
	for at := range f.clients {
		wg.Go(func() {
			<-gate
			errs[at] = do(at)
		})
	}
	close(gate)
	wg.Wait()
	return errs
}

// visit is the work of a client while it has the lock.
func (f *fleet) visit() {
	if f.inside.Add(1) > 1 {
		f.broken.Store(true)
	}
	time.Sleep(f.hold)
	f.inside.Add(-1)
}

func (f *fleet) close() {
	var wg sync.WaitGroup
	for _, c := range f.clients {
		wg.Go(c.Close)
	}
	wg.Wait()
}

// drained is the result of a drain.
type drained struct {
	took, longestWait time.Duration
	left              int // clients that did not get the lock
}

// drain makes all clients lock one key once, at the same time.
func (f *fleet) drain(ctx context.Context, patience time.Duration) (drained, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var (
		key     = f.key()
		waits   = make([]time.Duration, len(f.clients))
		entered = make([]bool, len(f.clients))
		start   = time.Now()
	)
	errs := f.each(func(at int) error {
		return f.clients[at].Hold(ctx, key, func() {
			waits[at], entered[at] = time.Since(start), true
			f.visit()
		})
	})
	d := drained{took: time.Since(start)}
	for at, err := range errs {
		switch {
		case !entered[at]:
			d.left++
			d.longestWait = d.took
		case err != nil:
			return d, fmt.Errorf("a client had the lock and failed to release it: %w", err)
		}
		d.longestWait = max(d.longestWait, waits[at])
	}
	if f.broken.Load() {
		return d, errTwoInside
	}
	return d, nil
}

// looped is the result of a closed loop.
type looped struct {
	shares      []int // acquisitions by client
	took        time.Duration
	longestWait time.Duration // for one acquisition, including waits that lasted until the end
}

// loop makes every client lock one key, release it, and lock it again, until d has passed.
func (f *fleet) loop(ctx context.Context, d time.Duration) (looped, error) {
	ctx, cancel := context.WithCancel(ctx) // has no deadline, because some clients give up before a deadline
	defer cancel()
	defer time.AfterFunc(d, cancel).Stop()
	var (
		key   = f.key()
		l     = looped{shares: make([]int, len(f.clients))}
		waits = make([]time.Duration, len(f.clients))
		start = time.Now()
	)
	errs := f.each(func(at int) error {
		for ctx.Err() == nil {
			asked, entered := time.Now(), false
			err := f.clients[at].Hold(ctx, key, func() {
				entered = true
				waits[at] = max(waits[at], time.Since(asked))
				l.shares[at]++
				f.visit()
			})
			if !entered {
				waits[at] = max(waits[at], time.Since(asked))
			}
			if err != nil && (entered || ctx.Err() == nil) {
				return err
			}
		}
		return nil
	})
	l.took = time.Since(start)
	for _, wait := range waits {
		l.longestWait = max(l.longestWait, wait)
	}
	err := errors.Join(errs...)
	if f.broken.Load() {
		err = errors.Join(errTwoInside, err)
	}
	return l, err
}

// secondRounds returns for how many locks the nodes were asked twice, according to the clients
// that report it.
func (f *fleet) secondRounds() int {
	sum := 0
	for _, c := range f.clients {
		if r, ok := c.(peer.Rounds); ok {
			sum += r.SecondRounds()
		}
	}
	return sum
}

// all returns the number of acquisitions.
func (l looped) all() int {
	sum := 0
	for _, n := range l.shares {
		sum += n
	}
	return sum
}

// sameFor makes all clients find the nodes at the same addresses.
func sameFor(addrs []string) func(int) []string { return func(int) []string { return addrs } }

// farFirst makes the first client find the nodes farther away. closeAll removes the distance.
func farFirst(addrs []string, d time.Duration) (where func(client int) []string, closeAll func(), err error) {
	far, closeAll, err := distant(addrs, d)
	if err != nil {
		return nil, nil, err
	}
	return func(client int) []string {
		if client == 0 {
			return far
		}
		return addrs
	}, closeAll, nil
}

// distant returns addresses at which the servers are farther away, by d in each direction.
func distant(addrs []string, d time.Duration) (far []string, closeAll func(), err error) {
	var proxies []*delay.Proxy
	closeAll = func() {
		for _, p := range proxies {
			p.Close()
		}
	}
	for _, addr := range addrs {
		p, err := delay.Start(addr, d)
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		proxies = append(proxies, p)
		far = append(far, p.Addr())
	}
	return far, closeAll, nil
}

// counted calls f and returns how many commands the nodes executed during f and shortly
// afterwards.
func counted(ctx context.Context, nodes []*server.Server, f func() error) (int64, error) {
	before, err := server.Count(ctx, nodes)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	time.Sleep(afterwards)
	after, err := server.Count(ctx, nodes)
	if err != nil {
		return 0, err
	}
	return after.Since(before), nil
}

// afterwards is how long the rest of the last call may take to reach the servers.
const afterwards = 20 * time.Millisecond
