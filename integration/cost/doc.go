// Package cost holds benchmarks of what the lock adds to its driver. It has no other code.
//
//	go test -bench . -run '^$' ./cost
//
// Each benchmark alternates its work with a control on the same connections, and reports both
// medians and their ratio. On a noisy machine, only the ratio is meaningful.
package cost
