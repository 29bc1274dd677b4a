// Package port allocates TCP ports on loopback for tests. A port stays allocated while
// nothing listens on it, so that the port of a killed server does not go to another one
// before the server is back.
package port

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The range is below the ports that Linux and the BSDs use for outgoing connections. An
// outgoing connection could otherwise take a port that is free for a moment.
const first, count = 20000, 10000

var (
	mu    sync.Mutex
	next  = rand.IntN(count) // random, so that processes running side by side rarely collide
	given = map[int]bool{}
)

// Take returns a port that nothing listens on and that this process has not allocated.
// Another process may still take it. If the bind fails, call Take again.
func Take() (int, error) {
	mu.Lock()
	defer mu.Unlock()
	for range count {
		p := first + next%count
		next++
		if given[p] {
			continue
		}
		l, err := Listen(p)
		if err != nil {
			continue
		}
		l.Close()
		given[p] = true
		return p, nil
	}
	return 0, errors.New("port: no free port")
}

// Give frees a port.
func Give(p int) {
	mu.Lock()
	defer mu.Unlock()
	delete(given, p)
}

// Listen listens on a loopback port.
func Listen(p int) (net.Listener, error) {
	return net.Listen("tcp", Addr(p))
}

// Addr returns the address of a port of loopback.
func Addr(p int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
}
