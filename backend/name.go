package backend

// Explainer is an optional capability: to say why operations wait before they are sent.
// Without it, a node whose client has no free connection looks like one that does not
// answer.
type Explainer interface {
	// Hindered returns an error that says what prevents the node's operations from being
	// sent at present, such as "no free connection in the pool (size 1)". It returns nil
	// if nothing does, or if that is not known. It is called when operations have timed
	// out, does no I/O and does not block.
	Hindered() error
}

// Reconnecter is an optional capability: to abandon connections that may be dead. A
// firewall or a balancer can forget a connection silently, and then nothing arrives on it
// any more. Without this capability the node uses such connections until calls on them
// have timed out.
type Reconnecter interface {
	// Reconnect reports that a call for key was not answered within the time for which
	// callers wait, or that connections may lead to the wrong server. As far as the
	// client allows, calls for keys on the same server that begin later should use new
	// connections. Calls under way are left alone, because the server may only be slow.
	//
	// It does no I/O, does not block, and may be called concurrently with every other
	// method. It is called seldom: once for each call that hangs.
	Reconnect(key string)
}

// Namer is an optional capability: a label for reports, errors and metrics. Without it a
// node is named after its position, "node 0".
type Namer interface {
	// Name returns the label, without I/O. It is always the same and never empty: usually
	// the server's address, never a password. Two nodes of a quorum that have the same
	// name count as the same server, and are rejected.
	Name() string
}

// Addresser is an optional capability of a [Namer] whose name may not tell people which
// server it is, such as an address in memory. Without it the node is called by its name.
type Addresser interface {
	// Address returns the server's address, without I/O. It is empty until a connection
	// has revealed the address. If instead is true, errors and reports identify the node
	// by its position and this address, as in "node 2 (10.0.0.3:6379)", and not by its
	// name. instead is always the same.
	Address() (address string, instead bool)
}
