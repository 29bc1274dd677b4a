// Package delay adds a network delay between a client and a server.
package delay

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// chunk is the largest amount that is forwarded at a time.
const chunk = 16 << 10

// A Proxy forwards connections to a server, and delays each byte by the same time in both
// directions. As in a network, bytes under way do not delay later ones. Connecting takes no
// longer than without it.
type Proxy struct {
	listener net.Listener
	target   string
	delay    time.Duration

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // nil when closed
	copies sync.WaitGroup
}

// Start returns a proxy of the server at target, on its own port. It adds delay in each
// direction, which is twice that for a round trip. The caller must close it. Delays below a
// millisecond become one millisecond, because of the runtime's timers.
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

// Close cuts all connections and waits until nothing is forwarded.
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

// own makes Close close the connections. If the proxy is already closed, own closes them and
// returns false.
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

// parcel is data that was read at once, and the time at which it must be written.
type parcel struct {
	data []byte
	due  time.Time
}

// forward copies from src to dst until one of them ends. Data under way then still arrives, and
// dst ends afterwards.
func (p *Proxy) forward(dst, src net.Conn) {
	way := make(chan parcel, 1024)
	var writer sync.WaitGroup
	writer.Go(func() {
		for parcel := range way {
			if wait := time.Until(parcel.due); wait > 0 {
				time.Sleep(wait)
			}
			if _, err := dst.Write(parcel.data); err != nil {
				src.Close() // and stop reading
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
