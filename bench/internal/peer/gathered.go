package peer

import (
	"context"
	"errors"
	"runtime"
	"sync"
)

// Gathered is the name of the drivers' own pipelines with nothing but a queue before them.
const Gathered = "gathered"

// gathered is the least that a library has to do whose callers share the calls to a node: a
// caller puts its command into a queue and sleeps, a goroutine sends what is in the queue as one
// batch, and wakes the callers. There are no tokens, handles, timeouts or votes. What is between
// it and [Ceiling] is the price of goroutines. What is between this library and it is the price
// of the library.
func gathered() []*Implementation {
	var all []*Implementation
	for _, c := range Ceilings() {
		all = append(all, &Implementation{
			Library: Gathered, Driver: c.Driver, Module: ownModule, Alone: true,
			Open: func(addrs []string) (Client, error) { return newGatherer(c, addrs) },
		})
	}
	return all
}

// senders returns how many goroutines send. With two, one batch is under way while the callers of
// the other are woken. That makes more pairs on one node. On several nodes it makes none, and
// needs more CPU time.
func senders(nodes int) int {
	if nodes == 1 {
		return 2
	}
	return 1
}

type gatherer struct {
	nodes []Batch
	calls sync.Pool // of queued
	ended sync.WaitGroup

	mu     sync.Mutex
	filled *sync.Cond
	queue  []*queued
	closed bool
}

// A queued is a command in the queue.
type queued struct {
	command Command
	done    chan error // capacity 1
}

var errClosed = errors.New("gathered: closed")

func newGatherer(c *Ceiling, addrs []string) (*gatherer, error) {
	g := &gatherer{}
	g.filled = sync.NewCond(&g.mu)
	g.calls.New = func() any { return &queued{done: make(chan error, 1)} }
	for _, addr := range addrs {
		node, err := c.Open(addr)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.nodes = append(g.nodes, node)
	}
	for range senders(len(addrs)) {
		g.ended.Go(g.send)
	}
	return g, nil
}

func (g *gatherer) Hold(_ context.Context, key string, inside func()) error {
	if err := g.do(Command{Key: key}); err != nil {
		return err
	}
	inside()
	return g.do(Command{Key: key, Release: true})
}

// do puts the command into the queue, and waits for the answer.
func (g *gatherer) do(c Command) error {
	q := g.calls.Get().(*queued)
	q.command = c
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return errClosed
	}
	g.queue = append(g.queue, q)
	g.mu.Unlock()
	g.filled.Signal()
	err := <-q.done
	g.calls.Put(q)
	return err
}

// send sends what is in the queue, until the client is closed.
func (g *gatherer) send() {
	var batch []*queued
	var commands []Command
	for {
		runtime.Gosched() // the callers that were just woken come first, so that batches are large
		g.mu.Lock()
		for len(g.queue) == 0 && !g.closed {
			g.filled.Wait()
		}
		batch, g.queue = g.queue, batch[:0]
		closed := g.closed
		g.mu.Unlock()
		if len(batch) == 0 && closed {
			return
		}
		commands = commands[:0]
		for _, q := range batch {
			commands = append(commands, q.command)
		}
		err := g.toAll(commands)
		for _, q := range batch {
			q.done <- err
		}
	}
}

// toAll sends the commands to all nodes at the same time.
func (g *gatherer) toAll(commands []Command) error {
	if len(g.nodes) == 1 {
		return g.nodes[0].Send(context.Background(), commands)
	}
	errs := make([]error, len(g.nodes))
	var wg sync.WaitGroup
	for i, node := range g.nodes {
		wg.Go(func() { errs[i] = node.Send(context.Background(), commands) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (g *gatherer) Close() {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	g.filled.Broadcast()
	for _, node := range g.nodes {
		node.Close()
	}
	g.ended.Wait()
}
