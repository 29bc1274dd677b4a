// Package inspect finds out from the nodes what becomes of one lock: who has it, who reads
// it and who waits for it ([Lock]), which nodes have it for one holder ([Find]), and
// whether a token still has it ([Check]). It knows no Locker and no error text.
//
// It asks the nodes directly, beside their senders. It changes nothing, so its order among
// other requests does not matter. There is one exception, because no script only looks for
// a share: Check extends a share of which less than a millisecond is left to a millisecond.
//
// Each function asks all nodes at once. It returns as soon as the answers decide, after the
// timeout, or when ctx ends. A node that hangs keeps a goroutine for
// [github.com/quorumlock/quorumlock/internal/sender.CallTimeout] at most.
package inspect
