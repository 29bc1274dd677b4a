package redigo

// An Option changes how [New] makes a node.
type Option func(*Node)

// WithName sets what [Node.Name] returns, the label of the server in reports,
// errors and metrics: its address, or what people call it, never a password.
// Names must differ within a quorum. The default, also for an empty name, is
// made of the pool's address in memory, which tells two pools apart and no
// more.
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}
