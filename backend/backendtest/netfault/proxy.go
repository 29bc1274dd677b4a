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

// A Direction is one of the two ways that bytes pass.
type Direction int

// The directions: commands go [ToServer], replies come [ToClient].
const (
	ToServer Direction = iota
	ToClient
)

// flow is what becomes of the bytes of one direction.
type flow int

const (
	pass flow = iota
	hold
	discard
)

// A Proxy stands in front of one server and shapes what passes. At first
// everything passes at once. Its methods may be called concurrently, also while
// connections are open; each takes effect before it returns, for all
// connections, those to come included.
type Proxy struct {
	port int
	ctx  context.Context // ends with the proxy
	stop context.CancelFunc

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced by whoever changes what is below
	target   string
	listener net.Listener // nil while refusing
	delay    [2]time.Duration
	setup    time.Duration
	flow     [2]flow
	faults   []*Fault
	counts   map[string]int
	conns    map[*conn]struct{}
	accepted int

	wg      sync.WaitGroup // every goroutine of the proxy
	release func()         // gives back the port
}

// New starts a proxy in front of target, a host and port, at a free port of
// loopback. It is closed when the test ends.
func New(t testing.TB, target string) *Proxy {
	t.Helper()
	p, err := Start(target)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

// Start starts a proxy in front of target, a host and port, at a free port of
// loopback. It does not reach out to target before a client connects. The caller
// must call [Proxy.Close].
func Start(target string) (*Proxy, error) {
	for {
		at, err := port.Take()
		if err != nil {
			return nil, err
		}
		p, err := StartAt(at, target)
		if err != nil {
			continue // another process was quicker
		}
		p.release = sync.OnceFunc(func() { port.Give(at) })
		return p, nil
	}
}

// StartAt is [Start] at a port of loopback that the caller has chosen.
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

// Addr returns the host and port to connect to. It stays the same.
func (p *Proxy) Addr() string { return port.Addr(p.port) }

// Close cuts every connection, ends the listener, and waits until the proxy's
// goroutines have ended. A second Close does nothing.
func (p *Proxy) Close() {
	p.stop()
	p.change(func() {
		p.unlisten()
		p.cut()
	})
	p.wg.Wait()
	p.release()
}

// Delay makes every byte that sets out in a direction from now on arrive d later.
// Bytes keep their order, and a delay does not limit how many are under way. 0,
// the default, ends it.
func (p *Proxy) Delay(dir Direction, d time.Duration) {
	p.change(func() { p.delay[dir] = d })
}

// DelayConnect makes the set-up of a connection that is accepted from now on take
// d: nothing passes on it before then, either way. 0, the default, ends it.
func (p *Proxy) DelayConnect(d time.Duration) {
	p.change(func() { p.setup = d })
}

// Hold stops the bytes of the given directions, or of both if none is given, as a
// network that has lost its way does: they wait, those under way included, and
// pass when [Proxy.Resume] is called, in order. Connections stay open and new
// ones are accepted.
func (p *Proxy) Hold(dirs ...Direction) { p.setFlow(hold, dirs) }

// Discard loses the bytes of the given directions, or of both if none is given.
// As a connection that has lost bytes is of no more use, [Proxy.Resume] cuts
// those. Discarding [ToClient] alone lets commands run and loses all replies,
// with the client left waiting.
func (p *Proxy) Discard(dirs ...Direction) { p.setFlow(discard, dirs) }

// Forget loses all bytes from now on, in both directions, of the connections that are
// open, and also the news that one of the two sides has closed. No side gets a
// reset: this is what a firewall does that has forgotten its connections. New
// connections work. [Proxy.Resume] cuts those that were forgotten.
func (p *Proxy) Forget() {
	p.change(func() {
		for c := range p.conns {
			c.forgotten, c.lossy = true, true
		}
	})
}

// Redirect sends the connections that are made from now on to target, another host
// and port. Those that are open stay where they are, as with a name in DNS that
// moves.
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

// Cut resets every connection that is open. What is held or delayed is lost; what
// has passed already may still be run.
func (p *Proxy) Cut() { p.change(p.cut) }

// Refuse cuts every connection and lets none be made: a connect is refused, as
// by a host where no server runs.
func (p *Proxy) Refuse() {
	p.change(func() {
		p.unlisten()
		p.cut()
	})
}

// Resume ends what [Proxy.Hold], [Proxy.Discard] and [Proxy.Refuse] began. Delays
// and faults stay. It fails only if another process has taken the port of a
// refusing proxy.
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

// Count returns how many commands of these names, or of any if none is given,
// have reached the proxy so far, whatever became of them. Case does not matter.
func (p *Proxy) Count(names ...string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count(names)
}

// WaitCount waits until [Proxy.Count] of these names is at least n. It returns
// ctx's error if that ends first.
func (p *Proxy) WaitCount(ctx context.Context, n int, names ...string) error {
	return p.wait(ctx, func() bool { return p.count(names) >= n })
}

// Connections returns how many connections are open now, and how many have been
// accepted in all.
func (p *Proxy) Connections() (open, accepted int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns), p.accepted
}

// WaitClosed waits until no connection is open. It returns ctx's error if that
// ends first.
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

// change runs f under the lock and wakes whoever waits for a change.
func (p *Proxy) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
	close(p.changed)
	p.changed = make(chan struct{})
}

// wait waits until met, which is called under the lock, returns true.
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

// cut and unlisten are called under the lock.

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
