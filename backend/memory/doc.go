// Package memory is a lock server inside the process: a [backend.Node] with every
// capability and no network. It is for tests, for examples, and for programs that run as
// one process today and as several tomorrow.
//
// # Guarantees
//
//   - Each operation is atomic and exact, from any number of goroutines.
//   - A key lives for exactly its time to live, in whole milliseconds, rounded up. It
//     exists before that instant, and does not exist from that instant on.
//   - Scripts answer as they do on a server. Each script of package backend/lua is
//     written again in Go.
//   - An operation whose context has ended does nothing. No operation blocks, except
//     Subscribe, which is meant to.
//   - A node starts no goroutine and no timer. An operation checks by the node's clock
//     whether a key has expired. So a node works in a bubble of testing/synctest, in
//     virtual time.
//
// # Limits
//
// It locks inside one process only. Nothing outlives the process, and other processes see
// nothing. A quorum of memory nodes is worth no more than one of them, because they fail
// together. It is useful in tests all the same: you can empty each node ([Node.Flush]),
// cut it off ([Node.Disconnect]) or wrap it in a fault of package backend/faulty.
//
// It runs no Lua: a script that is not one of package backend/lua is an error.
package memory
