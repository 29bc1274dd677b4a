package backend

// Partitioner is an optional capability of a node that is several servers, each
// with keys of its own, such as a Cluster. Without it the operations for all of
// them leave together, and one server that hangs holds up those for the others.
type Partitioner interface {
	// Partition returns which part of the node serves key, counted from 0, and
	// how many parts there are: the same at each call, without I/O. A part is
	// served by one server, as a rule; it does no harm if not, nor if a server
	// has many. A node that turns out to be one server has one part.
	Partition(key string) (part, parts int)
}
