package redigo

// An Option configures the node that [New] makes.
type Option func(*Node)

// WithName sets what [Node.Name] returns: the label of the server in reports, errors and
// metrics, such as its address, and never a password. Names must differ within a quorum.
// By default, also if name is empty, the node is identified by its position and, once a
// connection has revealed it, its address: see [Node.Address].
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
