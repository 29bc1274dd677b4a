// Package backend is the contract between the quorum core and the servers that
// it locks on: the [Node] interface, the optional capabilities, and the marks
// that an error may carry. Package backend/adapterkit has parts that most adapters
// need in addition.
//
// Users of locks do not call a Node themselves; they hand nodes to
// redlock.New.
//
// # Writing a backend
//
// A backend is a type with the three methods of [Node], over a client that the
// caller owns. That is enough for mutual exclusion. Each capability adds what
// its comment says is lost without it; implement one only where it can be kept
// in full. A capability that the server behind a particular client does not
// offer (an ACL, a proxy, a managed service) answers with an error that
// matches [errors.ErrUnsupported], and the core falls back.
//
// An adapter must keep every sentence of these contracts that says "must"; the
// core relies on each. The suite in backend/backendtest checks them, on any
// implementation, in one call. docs/adapters.md is the guide.
//
// An adapter owns nothing: it must not dial, close or reconfigure the client
// that it was given.
package backend
