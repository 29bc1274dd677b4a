package faulty

import "github.com/quorumlock/quorumlock/backend"

// Bare returns a node with the three methods of [backend.Node], those of n, and
// no capability, whatever n has. What works on it works on every node. It also
// hides the capabilities of a [FaultNode].
//
// To keep some of them, embed those beside the node:
//
//	struct {
//		backend.Node
//		backend.Batcher
//	}{faulty.Bare(n), n}
func Bare(n backend.Node) backend.Node { return bare{n} }

// bare has no Unwrap, so that [backend.As] does not look behind it.
type bare struct{ backend.Node }
