// Package conformance runs the two suites on real servers. The contract of adapters is tested
// with every adapter, every kind of server and every topology. The meaning of the scripts is
// tested with one adapter, on every kind of server and on a Cluster. The package also compares
// scripts with each other and with package memory. It has no code outside its tests.
package conformance
