package embedded

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// relay passes connections on to a server, and can make it look dead or hung.
type relay struct {
	addr string // where it listens, always the same

	mu       sync.Mutex
	target   string
	listener net.Listener
	conns    map[net.Conn]struct{}
	open     chan struct{} // closed while bytes pass
	work     sync.WaitGroup
}

// newRelay returns a relay to target that is up.
func newRelay(target string) (*relay, error) {
	r := &relay{addr: "127.0.0.1:0"}
	if err := r.up(context.Background(), target); err != nil {
		return nil, err
	}
	r.addr = r.listener.Addr().String()
	return r, nil
}

// up makes the relay listen, at the same address as before.
func (r *relay) up(ctx context.Context, target string) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", r.addr)
	for errors.Is(err, syscall.EADDRINUSE) {
		// Somebody's outgoing connection has the port, for a moment.
		select {
		case <-ctx.Done():
			return err
		case <-time.After(50 * time.Millisecond):
		}
		listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", r.addr)
	}
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target, r.listener = target, listener
	r.conns = make(map[net.Conn]struct{})
	r.open = make(chan struct{})
	close(r.open)
	r.work.Go(func() { r.accept(listener) })
	return nil
}

// down breaks all connections; further ones are refused.
func (r *relay) down() {
	r.mu.Lock()
	_ = r.listener.Close()
	for c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
	r.flow()
	r.mu.Unlock()
	r.work.Wait()
}

// stall accepts connections and passes nothing on until resume.
func (r *relay) stall() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = make(chan struct{})
}

// resume passes on what came while the relay was stalled, and what comes.
func (r *relay) resume() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flow()
}

func (r *relay) flow() {
	select {
	case <-r.open:
	default:
		close(r.open)
	}
}

func (r *relay) accept(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		r.mu.Lock()
		if r.conns == nil { // it went down meanwhile
			r.mu.Unlock()
			_, _ = client.Close(), server.Close()
			return
		}
		r.conns[client], r.conns[server] = struct{}{}, struct{}{}
		r.work.Go(func() { r.pass(client, server) })
		r.work.Go(func() { r.pass(server, client) })
		r.mu.Unlock()
	}
}

// pass copies until one side has closed, then closes both.
func (r *relay) pass(from, to net.Conn) {
	defer func() {
		_, _ = from.Close(), to.Close()
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, from)
		delete(r.conns, to)
	}()
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		r.mu.Lock()
		open := r.open
		r.mu.Unlock()
		<-open
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
