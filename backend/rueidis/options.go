package rueidis

// An Option configures the node that [New] makes.
type Option func(*Node)

// WithName sets the label that [Node.Name] returns, for reports and metrics. Two nodes of
// a quorum must not have the same label. For the default, also if name is empty, see
// [Node.Name].
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
