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

// Reconnecter is an optional capability: leave connections that may be dead. A firewall or
// a balancer can forget a connection without a word, and then nothing comes on it any more.
// Without it the node goes on with such connections until calls on them have timed out.
type Reconnecter interface {
	// Reconnect says that a call for key was not answered within the time for which callers
	// wait, or that connections may lead to another server than they should. Calls for keys
	// on the same server that begin after that should use connections that are opened after
	// that, as far as the client allows. Calls under way are left alone, because the server
	// may only be slow.
	//
	// It does no I/O, does not block, and may be called concurrently with every other
	// method. It is called seldom: once for each call that hangs.
	Reconnect(key string)
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
