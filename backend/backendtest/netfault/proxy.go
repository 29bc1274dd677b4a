package netfault

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/port"
)

// A Direction is one of the two directions in which bytes pass.
type Direction int

// The directions: commands go [ToServer], and replies come [ToClient].
const (
	ToServer Direction = iota
	ToClient
)

// flow is what happens to the bytes of one direction.
type flow int

const (
	pass flow = iota
	hold
	discard
)

// A Proxy stands in front of one server and shapes the traffic. At first everything passes at
// once. Its methods may be called concurrently, and while connections are open. Each takes effect
// before it returns, for all existing and future connections.
type Proxy struct {
	port int
	ctx  context.Context // ends with the proxy
	stop context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced when a field below changes
	target   string
	listener net.Listener // nil while connections are refused
	delay    [2]time.Duration
	setup    time.Duration
	flow     [2]flow
	faults   []*Fault
	counts   map[string]int
	conns    map[*conn]struct{}
	accepted int

	wg      sync.WaitGroup // all goroutines of the proxy
	release func()         // frees the port
}

// New starts a proxy in front of target, a host and port, on a free loopback port. It is closed
// when the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Start starts a proxy in front of target, a host and port, on a free loopback port. It connects
// to target only when a client connects. The caller must call [Proxy.Close].
func Start(target string) (*Proxy, error) {
	for {
		at, err := port.Take()
		if err != nil {
			return nil, err
		}
		p, err := StartAt(at, target)
		if err != nil {
			continue // another process has taken the port
		}
		p.release = sync.OnceFunc(func() { port.Give(at) })
		return p, nil
	}
}

// StartAt is [Start] on a loopback port that the caller has chosen.
func StartAt(at int, target string) (*Proxy, error) {
	l, err := port.Listen(at)
	if err != nil {
		return nil, fmt.Errorf("netfault: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	p := &Proxy{
		target:   target,
		port:     at,
		ctx:      ctx,
		stop:     stop,
		release:  func() {},
		listener: l,
		changed:  make(chan struct{}),
		counts:   map[string]int{},
		conns:    map[*conn]struct{}{},
	}
	p.wg.Go(func() { p.accept(l) })
	return p, nil
}

// Addr returns the host and port to which clients connect. It does not change.
func (p *Proxy) Addr() string { return port.Addr(p.port) }

// Close cuts every connection, closes the listener, and waits until the proxy's goroutines have
// ended. A second Close does nothing.
func (p *Proxy) Close() {
	p.stop()
	p.change(func() {
		p.unlisten()
		p.cut()
	})
	p.wg.Wait()
	p.release()
}

// Delay delays every byte that is sent in a direction from now on by d. Bytes keep their order,
// and any number of them may be under way. The default, 0, ends the delay.
func (p *Proxy) Delay(dir Direction, d time.Duration) {
	p.change(func() { p.delay[dir] = d })
}

// DelayConnect makes the setup of connections that are accepted from now on take d. Until then
// nothing passes on them in either direction. The default, 0, ends the delay.
func (p *Proxy) DelayConnect(d time.Duration) {
	p.change(func() { p.setup = d })
}

// Hold stops the bytes of the given directions, or of both if none is given, like a network that
// has lost its route. All bytes wait, including those under way, and pass in order when
// [Proxy.Resume] is called. Connections stay open, and new ones are accepted.
func (p *Proxy) Hold(dirs ...Direction) { p.setFlow(hold, dirs) }

// Discard loses the bytes of the given directions, or of both if none is given. A connection that
// has lost bytes is useless, so [Proxy.Resume] cuts it. If only [ToClient] is discarded, commands
// run, but all replies are lost, and the client waits.
func (p *Proxy) Discard(dirs ...Direction) { p.setFlow(discard, dirs) }

// Forget loses all bytes of the open connections from now on, in both directions. If one side
// closes, the other does not learn of it, and no side gets a reset. A firewall that has forgotten
// its connections behaves in this way. New connections work. [Proxy.Resume] cuts the forgotten
// ones.
func (p *Proxy) Forget() {
	p.change(func() {
		for c := range p.conns {
			c.forgotten, c.lossy = true, true
		}
	})
}

// Redirect makes new connections go to target, another host and port. Open connections stay where
// they are, as when a DNS name moves.
func (p *Proxy) Redirect(target string) { p.change(func() { p.target = target }) }

func (p *Proxy) setFlow(f flow, dirs []Direction) {
	if len(dirs) == 0 {
		dirs = []Direction{ToServer, ToClient}
	}
	p.change(func() {
		for _, dir := range dirs {
			p.flow[dir] = f
		}
	})
}

// Cut resets every open connection. Held and delayed bytes are lost. The server may still run
// what has already passed.
func (p *Proxy) Cut() { p.change(p.cut) }

// Refuse cuts every connection and refuses new ones, like a host without a server.
func (p *Proxy) Refuse() {
	p.change(func() {
		p.unlisten()
		p.cut()
	})
}

// Resume ends [Proxy.Hold], [Proxy.Discard], [Proxy.Forget] and [Proxy.Refuse]. Delays and faults
// stay. It fails only if another process has taken the port of a refusing proxy.
func (p *Proxy) Resume() error {
	var err error
	p.change(func() {
		p.flow = [2]flow{}
		for c := range p.conns {
			if c.lossy {
				c.cut()
			}
		}
		if p.listener != nil || p.ctx.Err() != nil {
			return
		}
		var l net.Listener
		if l, err = port.Listen(p.port); err != nil {
			err = fmt.Errorf("netfault: resume: %w", err)
			return
		}
		p.listener = l
		p.wg.Go(func() { p.accept(l) })
	})
	return err
}

// Count returns how many commands of these names, or of any name if none is given, have reached
// the proxy so far, whatever happened to them. Case does not matter.
func (p *Proxy) Count(names ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count(names)
}

// WaitCount waits until [Proxy.Count] of these names is at least n. If ctx ends first, it returns
// ctx's error.
func (p *Proxy) WaitCount(ctx context.Context, n int, names ...string) error {
	return p.wait(ctx, func() bool { return p.count(names) >= n })
}

// Connections returns the number of open connections, and of all connections accepted so far.
func (p *Proxy) Connections() (open, accepted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns), p.accepted
}

// WaitClosed waits until no connection is open. If ctx ends first, it returns ctx's error.
func (p *Proxy) WaitClosed(ctx context.Context) error {
	return p.wait(ctx, func() bool { return len(p.conns) == 0 })
}

func (p *Proxy) count(names []string) int {
	sum := 0
	for name, n := range p.counts {
		if len(names) == 0 {
			sum += n
		}
		for _, wanted := range names {
			if strings.EqualFold(name, wanted) {
				sum += n
			}
		}
	}
	return sum
}

// change runs f under the lock and wakes everything that waits for a change.
func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits until met returns true. It calls met under the lock.
func (p *Proxy) wait(ctx context.Context, met func() bool) error {
	for {
		p.mu.Lock()
		ok, changed := met(), p.changed
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The caller of cut and unlisten must hold the lock.

func (p *Proxy) cut() {
	for c := range p.conns {
		c.cut()
	}
}

func (p *Proxy) unlisten() {
	if p.listener != nil {
		p.listener.Close()
		p.listener = nil
	}
}

func (p *Proxy) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // closed: nothing else ends a loopback listener
		}
		p.wg.Go(func() { p.serve(l, client.(*net.TCPConn)) })
	}
}
