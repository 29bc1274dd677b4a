// Package backendtest checks that a [backend.Node] keeps its contract, and makes
// nodes fail in a test the way that servers and networks do. It needs the
// standard library alone, and belongs into tests.
//
// # Is this node right?
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
// [Compare] asks two nodes the same random questions, to show that a stand-in
// answers as a real server does.
//
// # What if a node fails?
//
// A [FaultNode] stands in front of any node, usually one of package
// backend/memory, and passes each call through a [Fault]: [Delay], [Late],
// [Hang], [Stall], [Refuse], [LoseRequest], [LoseReply], [Duplicate] and others,
// which combine ([Chain], [On], [First]) and can be written in a few lines
// ([Each]). Faults are set and cleared while the test runs. [Bare] takes the
// capabilities of a node away. All work in a bubble of testing/synctest.
package backendtest
