package rueidis

// An Option changes how [New] makes a node.
type Option func(*Node)

// WithName sets the label that [Node.Name] returns, for reports and metrics.
// Two nodes of a quorum must not have the same. The default, also for an empty
// name, is what Name describes.
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
