package goredis

// An Option configures the node that [New] makes.
type Option func(*Node)

// WithName sets the label of the node in reports, errors and metrics. It must not contain
// a password. Two nodes of a quorum need different names. For the default, also if name
// is empty, see [Node.Name].
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
