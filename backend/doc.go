// Package backend is the contract between the library and the servers that it locks on:
// the [Node] interface, its optional capabilities, and the marks that an error may carry.
//
// It is for authors of adapters. Users of locks make nodes with an adapter and pass them
// to redlock.New; they do not call a Node themselves.
//
// # Writing a backend
//
// A backend is a type with the three methods of [Node], over a client that the caller
// owns. That is enough for mutual exclusion.
//
// The comment of each capability says what is lost without it. Implement a capability only
// where you can keep it in full. If the server behind a client does not offer it, because
// of an ACL, a proxy or a managed service, return an error that matches
// [errors.ErrUnsupported]. The library then does without the capability.
//
// An adapter must keep every sentence of these contracts that says "must"; the core relies
// on each. The suite in backend/backendtest checks them, on any implementation, in one
// call. docs/adapters.md is the guide. Package backend/adapterkit has parts that most
// adapters need.
//
// An adapter owns nothing: it must not dial, close or reconfigure the client that it was
// given.
package backend
