// Package peer has the lock libraries that the benchmark compares. Each is the published module,
// and is used as its documentation recommends.
package peer

import (
	"context"
	"runtime/debug"
	"time"
)

// TTL is the TTL of all locks, with every library.
const TTL = 10 * time.Second

// MaxClients is the largest number of goroutines of a workload that share a client. Pools have
// that size, so that no goroutine waits for a connection.
const MaxClients = 64

// closing limits how long a client waits at its end for its calls.
const closing = 5 * time.Second

// An Implementation is a lock library with a driver.
type Implementation struct {
	Library string // "redsync"
	Driver  string // "go-redis"
	Module  string // the library's module path, for its version
	OneNode bool   // it supports only one server
	Alone   bool   // it does not wait, or shares, so it is only for keys without contention
	Same    bool   // it waits in the same way as the library does with another driver, so one of them is enough under contention
	Open    func(addrs []string) (Client, error)

	// OpenKeeper opens a client whose locks extend themselves. It is nil if the library has no
	// such locks.
	OpenKeeper func(addrs []string, ttl time.Duration) (Keeper, error)
}

// Name returns the name of the implementation in results, for example "redsync/go-redis".
func (i *Implementation) Name() string { return i.Library + "/" + i.Driver }

// A Client is what a process has for locking: an object of the library with its own connections.
// Its methods may be called concurrently.
type Client interface {
	// Hold waits until it has the lock on key or ctx ends. It calls inside while it has the lock,
	// and releases it even if ctx has ended. It returns an error if it never had the lock, or if
	// the release failed.
	Hold(ctx context.Context, key string, inside func()) error

	// Close closes the connections. Calls under way return with an error. Close may be called
	// again.
	Close()
}

// A Joint is a Client that can also lock several keys together.
type Joint interface {
	Client

	// HoldAll is Hold for several keys, in one call of the library.
	HoldAll(ctx context.Context, keys []string, inside func()) error
}

// All lists every implementation, by library.
func All() []*Implementation {
	var all []*Implementation
	all = append(all, quorumlock()...)
	all = append(all, fenced()...)
	all = append(all, shared()...)
	all = append(all, raw()...)
	all = append(all, gathered()...)
	all = append(all, redsyncs()...)
	all = append(all, bsm(), rueidisLock())
	return all
}

// Version returns the version of a module that this program was built with, or "in this tree" for
// a module of this repository.
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
