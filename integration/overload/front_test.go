//go:build unix

package overload

import (
	"io"
	"net"
	"sync"
	"testing"
)

// A front stands between a client and one server. It passes bytes on, or refuses connections like
// a machine without a server. It can also accept each connection and close it at once, like a
// proxy without a server, or a server that has its maximum number of clients.
//
// Package netfault does much more, but it reads every command, which takes more CPU
// than these loads leave it.
type front struct {
	t    testing.TB
	addr string
	to   string

	mu       sync.Mutex
	listener net.Listener // nil while it refuses
	cutting  bool
	farewell string            // what it sends before it closes a connection
	conns    map[net.Conn]bool // both sides
	accepted int
}

func newFront(t testing.TB, to string) *front {
	f := &front{t: t, to: to, conns: map[net.Conn]bool{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.addr, f.listener = l.Addr().String(), l
	go f.accept(l)
	t.Cleanup(f.refuse)
	return f
}

// refuse cuts all connections and refuses new ones.
func (f *front) refuse() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.listener != nil {
		f.listener.Close()
		f.listener = nil
	}
	f.cutAll()
}

// cut cuts all connections, and closes each new one as soon as it is accepted and
// the farewell was sent.
func (f *front) cut(farewell string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cutting, f.farewell = true, farewell
	f.cutAll()
}

// count returns how many connections it has accepted so far.
func (f *front) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted
}

func (f *front) cutAll() {
	for conn := range f.conns {
		reset(conn)
		delete(f.conns, conn)
	}
}

// reset closes a connection so that the other side sees a reset.
func reset(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

func (f *front) accept(l net.Listener) {
	for {
		client, err := l.Accept()
		if err != nil {
			return // closed by refuse
		}
		f.mu.Lock()
		f.accepted++
		cutting, farewell := f.cutting, f.farewell
		f.mu.Unlock()
		if cutting {
			io.WriteString(client, farewell)
			client.Close()
			continue
		}
		go f.pass(l, client)
	}
}

// pass connects a client to the server until either side ends.
func (f *front) pass(l net.Listener, client net.Conn) {
	server, err := net.Dial("tcp", f.to)
	if err != nil {
		reset(client)
		return
	}
	f.mu.Lock()
	if f.cutting || f.listener != l {
		f.mu.Unlock()
		reset(client)
		server.Close()
		return
	}
	f.conns[client], f.conns[server] = true, true
	f.mu.Unlock()
	var wg sync.WaitGroup
	forward := func(from, to net.Conn) {
		io.Copy(to, from)
		from.Close()
		to.Close()
	}
	wg.Go(func() { forward(client, server) })
	wg.Go(func() { forward(server, client) })
	wg.Wait()
	f.mu.Lock()
	delete(f.conns, client)
	delete(f.conns, server)
	f.mu.Unlock()
}
