// Package backendtest checks that a [backend.Node] keeps its contract. It needs the
// standard library alone, and belongs in tests.
//
// [Run] makes every check there is as a subtest; [Check] makes the same checks
// without a [testing.T]. A [Harness] says how to get at the node, and at the
// server behind it as far as the test can:
//
//	func TestNode(t *testing.T) {
//		backendtest.Run(t, backendtest.Harness{New: backendtest.Reuse(newNode(t))})
//	}
//
// A check that needs a hook which the harness does not have, or a capability
// which the node does not have, is skipped with the reason. No check asks what
// node it is.
//
// On a real server the suite takes some five seconds, and fifteen with
// Harness.Slow. Where it must judge time it is patient with a busy machine: what
// may be late by accident is tried again, and only what is late each time fails.
// The package tests itself: for every check there is a node that is broken on
// purpose, and that the check rejects.
//
// What the scripts of package backend/lua mean is not among the checks, because it is the
// server's matter: here is what an adapter does with any script, to pass keys, arguments,
// replies and errors through, and to send again one that the server has forgotten.
//
// Package backend/faulty makes nodes fail in a test.
package backendtest
