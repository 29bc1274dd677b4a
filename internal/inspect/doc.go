// Package inspect asks the nodes about one lock: who has it, who reads it and who waits for
// it ([Look]), which nodes have it for one holder ([Find]), whether a token still has it
// ([Check]), and which of its slots are taken ([Slots]). It knows no Locker and no error text.
//
// It asks the nodes directly, beside their senders. It changes nothing, so its order among
// other requests does not matter. There is one exception, because no script only looks for
// a share: Check extends a share of which less than a millisecond is left to a millisecond.
//
// Each function asks all nodes at once. Look and Find wait for all nodes. Check returns as
// soon as the answers decide. Slots waits only a little longer once a quorum has answered.
// Each returns after the timeout, or when ctx ends. It starts one goroutine for each node,
// which ends with the call on that node: after sender.CallTimeout at the latest, also if
// nobody waits for it any more.
package inspect
