// Package quorum gets a lock: it makes attempts, and waits between them.
//
// A [Group] is a set of nodes and the callers of this process that wait for locks on them.
// [Group.Lock] is the only way to a new lock. What happens to one token on the nodes is in
// package [attempt]. This package decides when there is another attempt, who makes it, and
// when a call gives up.
//
// docs/design.md describes the parts, docs/waiting.md the wait path, and docs/safety.md
// why the result is a lock.
//
// # Files
//
//	group.go       the nodes, the configuration
//	lock.go        Lock and Resume: attempts, waiting, giving up
//	waiter.go      one waiting caller
//	plan.go        when a waiter tries again
//	localqueue.go  local queues: the callers of this process for one key
//	inbox.go       what a notification does (package notify receives it)
//	shared.go      local queues of callers that only read
//	slots.go       the slots of a lock that several may hold
//	offer.go       notifications for slots, and what is passed on to others
//	search.go      how a waiter looks for a free slot
//	outage.go      how long too many nodes have been unavailable
//	sleep.go       pauses
//
// Package limit has the limits on load.
//
// # Mutexes and their order
//
// localQueues.mu guards the local queues and their waiters. A limit.Budget has its own
// mutex.
//
// Both may be locked while an attempt is locked, and the mutex of a sender while
// localQueues.mu is locked. The reverse order is never used.
package quorum
