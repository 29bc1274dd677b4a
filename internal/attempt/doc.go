// Package attempt asks N nodes to grant one token, and removes the token again from every
// node that may hold it. It knows [backend.Node] and the scripts of [proto], but nothing
// about Redis, connections or the public API, and nothing about callers that try again.
//
// [Nodes] is a set of nodes, and what all attempts on them share. An [Attempt] is one token
// on every node. It lives as long as that token can be on any of them. Within an attempt,
// each node has a node state. It keeps all operations for this token on this node in
// order, so that a deletion never overtakes the set that it is to undo. Operations leave
// through the node's [sender.Sender], which bounds what a node that does not answer can
// cost, and sends waiting operations together.
//
// docs/design.md describes the parts, and docs/safety.md why the result is a lock.
//
// # Files
//
//	nodes.go       the nodes, the quorum, the configuration
//	attempt.go     one token on every node: acquire, extend, release
//	request.go     what an attempt wants of a node
//	nodestate.go   a node state: the token on one node, and its requests in order
//	operation.go   which operation is sent for a request
//	outcome.go     what the outcome of an operation changes in a node state
//	alone.go       calls that a caller makes itself, with one node
//	together.go    several attempts at once
//	sweep.go       many extensions at once
//
// Attempts of callers that wait:
//
//	queue.go       what an attempt has to know about the queue of its caller
//	contest.go     an attempt round of a waiter on several nodes
//	takeback.go    what it says about the lock when it has not won
//
// Special cases:
//
//	fencing.go     fencing tokens
//	shared.go      tokens that read beside others
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
// the attempt can be alive. [Nodes.Wait] waits for these.
//
// Idle nodes may still have two timers: the context of the last calls has one for two to
// three seconds, and the deadline timers have one for as long as the last caller would
// have waited.
//
// # Mutexes and their order
//
// Attempt.mu guards the node states and rounds of an attempt. A sender, a
// [round.Deadlines], a limit.Gate and the implementation of [Queue] each have their own
// mutex, which may be locked while an attempt is locked. The reverse order is never used.
// A sender calls back with nothing locked.
package attempt
