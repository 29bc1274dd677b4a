// Package round counts the answers of nodes to one question. A [Round] is decided at the
// earliest answer after which no later answer can change the verdict.
//
// A goroutine waits for rounds with a [Bell], or with a [Deadline], which is a bell with a
// time limit. All callers of a group that wait for one verdict share the timer of
// [Deadlines].
//
// Nothing in this package locks a round: the mutex of its attempt does.
package round
