// Package conformance holds the run of the conformance suite on real servers,
// for every adapter and every kind of server. It has no code of its own.
package conformance
