// Package port hands out TCP ports of loopback that stay free for whoever got
// them while they are not listening there: a killed server's port must not go to
// another before the server is back.
package port

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// The range lies below the ports that Linux and the BSDs give to outgoing
// connections, which would otherwise take a port that is free for a moment.
const first, count = 20000, 10000

var (
	mu    sync.Mutex
	next  = rand.IntN(count) // so that processes side by side seldom meet
	given = map[int]bool{}
)

// Take returns a port where nothing listens now and that this process was not
// given before. Another process may still take it: a caller whose bind fails
// takes another.
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

// Give puts back a port that is of no use any more.
func Give(p int) {
	mu.Lock()
	defer mu.Unlock()
	delete(given, p)
}

// Listen listens at a port of loopback.
func Listen(p int) (net.Listener, error) {
	return net.Listen("tcp", Addr(p))
}

// Addr returns the address of a port of loopback.
func Addr(p int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(p))
}
