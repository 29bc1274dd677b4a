// Package peer holds the lock libraries that the benchmark compares, each used as
// its documentation recommends and as the module that is published.
package peer

import (
	"context"
	"runtime/debug"
	"time"
)

// TTL is how long a lock lives with every library.
const TTL = 10 * time.Second

// MaxClients is how many goroutines of a workload share a client at most: pools are
// that large, so that none waits for a connection.
const MaxClients = 64

// closing bounds how long a client waits at its end for what it has under way.
const closing = 5 * time.Second

// An Implementation is a lock library over a driver.
type Implementation struct {
	Library string // "redsync"
	Driver  string // "go-redis"
	Module  string // the library's module path, for its version
	OneNode bool   // it knows one server only
	Alone   bool   // it does not wait: for keys that nobody else uses
	Same    bool   // it waits just as the same library does over another driver: once is enough where clients compete
	Open    func(addrs []string) (Client, error)

	// OpenKeeper opens a client whose locks extend themselves. It is nil if the
	// library has none.
	OpenKeeper func(addrs []string, ttl time.Duration) (Keeper, error)
}

// Name returns what the implementation is called in results, as in
// "redsync/go-redis".
func (i *Implementation) Name() string { return i.Library + "/" + i.Driver }

// A Client is what a process has that locks: an object of the library, and
// connections of its own. Its methods may be called concurrently.
type Client interface {
	// Hold waits until it has the lock on key or ctx ends, calls inside while it
	// has it, and releases it, whatever became of ctx. An error says that it was
	// never held, or that it was not released in order.
	Hold(ctx context.Context, key string, inside func()) error

	// Close closes the connections. Calls under way return, with an error. It may be
	// called again.
	Close()
}

// All is every implementation, by library.
func All() []*Implementation {
	var all []*Implementation
	all = append(all, quorumlock()...)
	all = append(all, fenced()...)
	all = append(all, raw()...)
	all = append(all, redsyncs()...)
	all = append(all, bsm(), rueidisLock())
	return all
}

// Version returns the version of a module that this program was built with, or
// "in this tree" for one that is part of it.
func Version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, m := range info.Deps {
		if m.Path != module {
			continue
		}
		if m.Replace != nil || m.Version == "(devel)" {
			return "in this tree"
		}
		return m.Version
	}
	return "in this tree" // the workspace's modules are not always listed
}
