package goredis

// An Option changes how [New] makes a node.
type Option interface{ apply(*Node) }

type optionFunc func(*Node)

func (f optionFunc) apply(n *Node) { f(n) }

// WithName sets the label of the node in reports, errors and metrics; see
// [Node.Name] for the default. It must not hold a password. An empty name means
// the default. Two nodes of a quorum need different names.
func WithName(name string) Option {
	return optionFunc(func(n *Node) {
		if name != "" {
			n.name = name
		}
	})
}
