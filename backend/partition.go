package backend

// Partitioner is an optional capability of a node that is several servers, each with keys
// of its own, such as a Cluster. Without it, operations for all of them are sent
// together, and one server that hangs delays those for the others.
type Partitioner interface {
	// Partition returns which part of the node serves key, counted from 0, and how many
	// parts there are. The result is always the same, and needs no I/O. Usually one
	// server serves a part, but exceptions do no harm, and a server may have many parts.
	// A node that turns out to be one server has one part.
	Partition(key string) (part, parts int)
}
