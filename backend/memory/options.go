package memory

import "time"

// An Option configures the node that [New] makes.
type Option func(*Node)

// WithName sets the name that [Node.Name] returns. Default "memory-1" for the first node
// of the process, "memory-2" for the next, and so on.
func WithName(name string) Option {
	return func(n *Node) { n.name = name }
}

// WithClock sets the clock that expires keys, so that a test can move or stop it. Default
// [time.Now]. The node calls now while it is locked. So now must be safe for concurrent
// use with the code that moves the clock, and must not call the node.
func WithClock(now func() time.Time) Option {
	return func(n *Node) { n.now = now }
}
