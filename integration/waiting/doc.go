// Package waiting holds the tests of how callers wait for a lock on real servers,
// with every adapter: that they are called, in turn, at a constant cost, and what
// becomes of them when clients die, connections break, servers restart, or a
// server lets nobody stand in a queue. It has no code of its own.
//
// In most tests clients of all adapters wait for the same lock, each with
// connections of its own, as processes would.
package waiting
