package backend

// Explainer is an optional capability: say why operations wait before they are sent.
// Without it a node whose client has no connection left looks like one that does not
// answer.
type Explainer interface {
	// Hindered returns an error that says what keeps every operation of the node from
	// being sent at present, such as "no free connection in the pool (size 1)". It returns
	// nil if nothing does, or if that is not known. It is called when operations have timed
	// out, does no I/O and does not block.
	Hindered() error
}

// Namer is an optional capability: a label for reports, errors and metrics.
// Without it a node is called by its position, "node 0".
type Namer interface {
	// Name returns the label, the same at each call and never empty, without I/O:
	// usually the server's address, never a password. Two nodes of a quorum that have the
	// same name are taken for the same server, and refused.
	Name() string
}

// Addresser is an optional capability of a [Namer] whose name may be none that tells
// people which server it is, such as an address in memory. Without it the node is called
// by its name.
type Addresser interface {
	// Address returns the address of the server as a connection has told it, empty
	// while none has, without I/O. Instead reports, the same at each call, whether
	// errors and reports are to call the node by its position and this address, as in
	// "node 2 (10.0.0.3:6379)", instead of by its name.
	Address() (address string, instead bool)
}
