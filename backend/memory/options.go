package memory

import "time"

// An Option changes how [New] makes a node.
type Option func(*Node)

// WithName sets the node's name, which [Node.Name] returns. The default is
// "memory-1" for the first node of the process, "memory-2" for the next, and so
// on.
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}

// WithClock sets the clock by which keys expire, so that a test can step or
// stop it. The default is [time.Now]. The node calls now while it is locked: now
// must be safe for concurrent use with whatever moves it, and must not call the
// node.
func WithClock(now func() time.Time) Option {
	return func(n *Node) { n.now = now }
}
