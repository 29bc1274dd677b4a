// Package sender sends operations to one node, or to one part of a node that is a
// Cluster. It decides what is sent, when, and which operations share a call.
//
// A [Sender] has three queues: extensions, acquires and deletions. Each call takes
// extensions first, and a share of the others. Deletions that did not succeed become
// doubts, which the sender keeps and repeats on its own. If a node does not answer, for
// whatever reason, a brake replaces all calls by one probe at a time. When the node
// answers again, the load grows step by step.
//
// docs/design.md has the details, under "A sender".
//
// # Files
//
//	sender.go       submitting operations, and the calls that send them
//	next.go         what the next call sends
//	item.go         an operation on its way to a node
//	deletions.go    the order of acquires and deletions of a key
//	doubts.go       deletions that are repeated
//	brake.go        nodes that do not answer
//	outcome.go      what the outcome of a call changes
//	inline.go       calls that a caller makes itself
//	load.go         how much waits, for tests and errors
//	lost.go         calls that are given up because their connection may be dead
//	trip.go         how long a call takes
//	errors.go       why an operation was not sent or not answered
//	callcontext.go  deadlines of calls
//
// # Ownership
//
// An [Item] belongs to its owner until it is submitted or given to [Sender.Make], then to
// the sender, and from [Owner.Complete] on to its owner again.
//
// A sender's goroutines live while there is something to send. There are at most depth of
// them for a node that batches, plus those of lost calls. Each ends within the call
// timeout even if the node hangs. A sender has one timer. It is set only while something
// waits for a point in time: a second call, the next probe, a doubt, or a call that may
// be lost.
//
// Sender.mu guards all mutable state. The sender calls Owner.Unwanted with it locked, and
// everything else with nothing locked.
package sender
