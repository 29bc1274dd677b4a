// Package cost holds benchmarks of what the lock adds to its driver. It has no
// code of its own.
//
//	go test -bench . -run '^$' ./cost
//
// Each benchmark does its work and a control in turn, on the same connections, and
// reports the medians and their ratio: on a noisy machine the ratio is what to
// look at.
package cost
