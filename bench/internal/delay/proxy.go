// Package delay puts a distance between a client and a server.
package delay

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// chunk is how much is forwarded at a time, at most.
const chunk = 16 << 10

// A Proxy forwards connections to a server, and holds back each byte for the same
// time, in either direction, as a network does: bytes under way do not delay those
// behind them. Connecting takes no longer than without it.
type Proxy struct {
	listener net.Listener
	target   string
	delay    time.Duration

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // nil when closed
	copies sync.WaitGroup
}

// Start returns a proxy of the server at target on a port of its own, which adds
// delay to either direction, so twice that to a round trip. It is to be closed.
// Delays below a millisecond come out as one (the runtime's timers).
func Start(target string, delay time.Duration) (*Proxy, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: l, target: target, delay: delay, conns: map[net.Conn]struct{}{}}
	p.copies.Go(p.accept)
	return p, nil
}

// Addr returns the host and port to connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Close cuts all connections and waits until nothing is forwarded any more.
func (p *Proxy) Close() error {
	p.mu.Lock()
	err := p.listener.Close()
	for conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.copies.Wait()
	return err
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.copies.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	if !p.own(client, server) {
		return
	}
	defer p.disown(client, server)
	var both sync.WaitGroup
	both.Go(func() { p.forward(server, client) })
	both.Go(func() { p.forward(client, server) })
	both.Wait()
}

// own has the connections closed with the proxy. It closes them and returns false
// if that has happened already.
func (p *Proxy) own(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		if p.conns == nil {
			conn.Close()
		} else {
			p.conns[conn] = struct{}{}
		}
	}
	return p.conns != nil
}

func (p *Proxy) disown(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range conns {
		conn.Close()
		delete(p.conns, conn)
	}
}

// parcel is what was read at once, and when it is to be written.
type parcel struct {
	data []byte
	due  time.Time
}

// forward copies from src to dst until either ends. What is under way then still
// arrives, and dst ends after it.
func (p *Proxy) forward(dst, src net.Conn) {
	way := make(chan parcel, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		for parcel := range way {
			if wait := time.Until(parcel.due); wait > 0 {
				time.Sleep(wait)
			}
			if _, err := dst.Write(parcel.data); err != nil {
				src.Close() // and take no more
				continue
			}
		}
		dst.Close()
	})
	data := make([]byte, chunk)
	for {
		n, err := src.Read(data)
		if n > 0 {
			way <- parcel{bytes.Clone(data[:n]), time.Now().Add(p.delay)}
		}
		if err != nil {
			break
		}
	}
	close(way)
	writer.Wait()
}
