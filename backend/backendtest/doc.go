// Package backendtest checks that a [backend.Node] keeps its contract. It is for authors
// of adapters, belongs in tests, and needs no module but this one.
//
// [Run] runs every check as a subtest. [Check] runs the same checks without a
// [testing.T]. A [Harness] says how to reach the node, and the server behind it as far as
// the test can:
//
//	func TestNode(t *testing.T) {
//		backendtest.Run(t, backendtest.Harness{New: backendtest.Reuse(newNode(t))})
//	}
//
// A check is skipped if it needs a hook that the harness lacks, or a capability that the
// node lacks. One line for each of these says so. No check asks what kind of node it has.
//
// On a real server the suite takes about five seconds, and fifteen with Harness.Slow.
// Checks that measure time allow for a busy machine: they repeat what may have been late
// by accident, and fail only if it is late each time. The package tests itself: for every
// check there is a node that is broken on purpose, and the check rejects it.
//
// The suite does not check what the scripts of package backend/lua mean, because that is
// up to the server. It checks what an adapter does with any script: it passes keys,
// arguments, replies and errors through, and sends a script again if the server has
// forgotten it.
//
// To make nodes fail in a test, use package backend/faulty.
package backendtest
