// Package conformance holds the runs of the two suites on real servers: the contract for
// adapters with every adapter, every kind of server and every topology, and the meaning of
// the scripts with one adapter, on every kind of server and on a Cluster. It also compares
// scripts with each other and with package memory. It has no code of its own.
package conformance
