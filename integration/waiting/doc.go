// Package waiting tests how callers wait for a lock on real servers, with every adapter. Waiters
// must be notified, in order and at a constant cost. The tests also kill clients, break
// connections, restart servers, and use servers that let nobody queue. The package has no code
// outside its tests.
//
// In most tests, clients of all adapters wait for the same lock, each with its own connections,
// as processes would.
package waiting
