// Package quorum is the core of the lock: it tries one token on N nodes, counts
// what they answer, and cleans up behind every try. It knows [backend.Node] and
// nothing of Redis.
//
// A [Group] is the nodes. An [Attempt] is one token tried on every node of the
// group, and lives as long as that token can be on any of them. In it each node
// has a seat, which keeps everything that concerns this token on this node in
// order: a deletion never overtakes the set that it is to undo. Operations
// leave a seat through the node's [sender.Sender], which bounds what a node that
// does not answer can cost, and sends together what waits together.
//
// # Who owns what
//
// A sender's goroutines live while it has operations to send, at most a few for
// each node; each ends within the call timeout of a node that hangs. An attempt
// owns no goroutine and no timer. After it was released, the senders keep it on
// nodes where the outcome of an operation is unknown, until the deletion has
// succeeded or no key of the attempt can be alive any more. [Group.Wait] waits for
// these.
// The context of a group's last calls has a timer for two to three seconds, and
// the vigil one for as long as the last caller would have waited.
//
// # Locks and their order
//
// Attempt.mu guards the attempt's seats and rounds, lines.mu the lines and their
// waiters, vigil.mu who waits for a verdict; a sender, a budget and a gate have a
// mutex of their own. These are locked while an attempt is, and a sender while the
// lines are, never the other way round. A sender calls back with nothing locked.
package quorum
