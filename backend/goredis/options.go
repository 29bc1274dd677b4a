package goredis

// An Option changes how [New] makes a node.
type Option func(*Node)

// WithName sets the label of the node in reports, errors and metrics; see
// [Node.Name] for the default. It must not hold a password. An empty name means
// the default. Two nodes of a quorum need different names.
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
