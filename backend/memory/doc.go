// Package memory is a lock server inside the process: a [backend.Node] with
// every capability and no network, for tests, for examples, and for programs
// that run as one process today and as several tomorrow.
//
// # Guarantees
//
//   - Each operation is atomic and exact, from any number of goroutines.
//   - A key lives for exactly its time to live, in whole milliseconds, a
//     fraction rounded up: it is there until that instant and gone from it on.
//   - Scripts answer as they do on a server. They are the ones of package
//     backend/lua, each written again in Go.
//   - An operation whose context has ended does nothing. None blocks, but for
//     Subscribe, which is meant to.
//   - A node starts no goroutine and no timer. Expiry is judged when somebody
//     looks, by the node's clock, so that a node works in a bubble of
//     testing/synctest, in virtual time.
//
// # What it does not promise
//
// It locks inside one process only. Nothing survives the process, and
// nothing is seen from outside of it. A quorum of memory nodes is worth no more
// than one of them: they fail together. It is handy in tests all the same, as
// each can be emptied ([Node.Flush]), cut off ([Node.Disconnect]) or wrapped in
// a fault of package backend/faulty on its own.
//
// It runs no Lua: a script that is not one of package backend/lua is an error.
package memory
