// Package sender sends operations to one node, or to one part of a node that is a
// cluster. It decides what leaves, when, and together with what.
//
// A [Sender] has three queues: extensions, acquires and deletions. Each call takes
// extensions first, and a share of the others. Deletions that did not succeed become
// doubts, which the sender keeps and repeats by itself. When a node does not answer,
// whatever the reason, a brake replaces all calls by one probe at a time, and a ramp
// follows when the node answers again.
//
// # Who owns what
//
// An [Item] belongs to its owner until it is submitted, then to the sender, and to its
// owner again from [Owner.Complete] on. A sender's goroutines live while there is
// something to send, at most depth of them for a node that batches; each ends within the
// call timeout of a node that hangs. It has one timer, which is set only while something
// waits for a moment: for a second call, for the next probe, or for a doubt.
//
// Sender.mu guards everything that changes. The sender calls Owner.Unwanted with it
// locked, and everything else with nothing locked.
package sender
