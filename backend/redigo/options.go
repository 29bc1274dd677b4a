package redigo

// An Option changes how [New] makes a node.
type Option func(*Node)

// WithName sets what [Node.Name] returns, the label of the server in reports,
// errors and metrics: its address, or what people call it, never a password.
// Names must differ within a quorum. By default, also for an empty name, the node is
// called by its position and, once a connection has told it, by its address: see
// [Node.Address].
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
