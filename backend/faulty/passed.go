package faulty

import "github.com/quorumlock/quorumlock/backend"

// passed returns a chain of wrappers of f with those of the capabilities [backend.Reconnecter],
// [backend.Explainer] and [backend.Addresser] that inner has, or nil if it has none. They are
// not methods of f, because their results cannot say that inner lacks the capability. A caller
// would then rely on a Reconnect that does nothing.
func passed(f *FaultNode, inner backend.Node) (next backend.Node) {
	if c, ok := backend.As[backend.Reconnecter](inner); ok {
		next = reconnecter{wrapper{f, next}, c}
	}
	if c, ok := backend.As[backend.Explainer](inner); ok {
		next = explainer{wrapper{f, next}, c}
	}
	if c, ok := backend.As[backend.Addresser](inner); ok {
		next = addresser{wrapper{f, next}, c}
	}
	return next
}

type reconnecter struct {
	wrapper
	backend.Reconnecter
}

type explainer struct {
	wrapper
	backend.Explainer
}

type addresser struct {
	wrapper
	backend.Addresser
}

// A wrapper has the methods of [backend.Node] from the FaultNode, and an Unwrap of its own.
type wrapper struct {
	backend.Node
	next backend.Node
}

func (w wrapper) Unwrap() backend.Node { return w.next }
