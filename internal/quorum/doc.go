// Package quorum is the core of the lock. It asks N nodes to grant one token, counts
// their answers, and removes the token again from every node that may hold it. It knows
// [backend.Node] and the scripts of [proto], but nothing about Redis, connections or the
// public API.
//
// A [Group] is a set of nodes and the number of them that decides. An [Attempt] is one
// token on every node of the group. It lives as long as that token can be on any of them.
// Within an attempt, each node has a node state. It keeps all operations for this token on
// this node in order, so that a deletion never overtakes the set that it is to undo. Operations leave through the node's [sender.Sender], which
// bounds what a node that does not answer can cost, and sends waiting operations
// together.
//
// docs/design.md describes the parts, docs/waiting.md the wait path, and docs/safety.md
// why the result is a lock.
//
// # Files
//
// One token on N nodes:
//
//	attempt.go     one token on every node: acquire, extend, release
//	nodestate.go   a node state: the token on one node, and its requests in order
//	outcome.go     what the outcome of an operation changes in a node state
//	operation.go   which operation is sent for a request
//	round.go       one question to all nodes, and the verdict
//	deadline.go    the deadline timers of callers that wait for a verdict
//	sweep.go       many extensions at once
//	late.go        why a node timed out
//
// The nodes:
//
//	group.go       the nodes, the quorum, the configuration
//	member.go      one node, or one part of a Cluster
//	label.go       the names of nodes in messages
//	outage.go      how long too many nodes have been unavailable
//	tracker.go     counts cleanups that are under way
//	clock.go       the time on two clocks
//	clockoffset.go the clock offset of a node
//
// Waiting for a lock:
//
//	localqueue.go  local queues: the callers of this process for one key
//	waiter.go      one waiting caller
//	plan.go        when a waiter tries again
//	contest.go     an attempt round of a waiter on several nodes
//	inbox.go       the channel on which this process is notified
//	echo.go        makes sure that the inbox hears each node
//	rumour.go      false notifications
//	queueing.go    whether waiters can use the queues of a node
//
// Limits on load:
//
//	budget.go      attempts of callers that were not notified
//	gate.go        releases that are under way
//
// Special cases:
//
//	fencing.go     fencing tokens
//	quarantine.go  nodes that may have lost what they had granted
//	rejoin.go      a node that has lost a held lock gets it back
//	proof.go       a node must be able to release before it may grant
//	migration.go   a Cluster slot that is moving
//
// # Ownership
//
// A sender's goroutines live while it has operations to send. There are at most a few for
// each node, and each ends within the call timeout even if the node hangs. An attempt
// owns no goroutine and no timer. After its release, the senders keep it for nodes where
// the outcome of an operation is unknown, until the deletion has succeeded or no key of
// the attempt can be alive. [Group.Wait] waits for these.
//
// An idle group may still have two timers: the context of its last calls has one for two
// to three seconds, and the deadline timers have one for as long as the last caller would
// have waited.
//
// # Mutexes and their order
//
// Attempt.mu guards the node states and rounds of an attempt. localQueues.mu guards the local
// queues and their waiters. deadlineTimer.mu guards the callers that wait for a verdict. A
// sender, a budget and a gate each have their own mutex.
//
// All of these may be locked while an attempt is locked, and a sender's mutex while
// localQueues.mu is locked. The reverse order is never used. A sender calls back with nothing
// locked.
package quorum
