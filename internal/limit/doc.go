// Package limit limits how many callers use the nodes of a group at the same time. It knows
// no nodes and no locks.
//
//	budget.go  attempts of callers that were not notified
//	gate.go    releases that are under way
package limit
