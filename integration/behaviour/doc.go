// Package behaviour holds the tests of what users of package redlock may rely on,
// with every adapter, on real servers: outages, slow and lossy networks,
// cancellation, other libraries on the same keys. It has no code of its own.
package behaviour
