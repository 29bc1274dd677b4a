// Package faulty makes nodes fail in a test the way that servers and networks do.
// It needs the standard library alone, and belongs in tests.
//
// A [FaultNode] stands in front of any node, usually one of package
// backend/memory, and passes each call through a [Fault]: [Delay], [Late],
// [Hang], [Stall], [Refuse], [LoseRequest], [LoseReply], [Duplicate] and others,
// which combine ([Chain], [On], [First]) and can be written in a few lines
// ([Each]). Faults are set and cleared while the test runs. [Bare] takes the
// capabilities of a node away. All work in a bubble of testing/synctest.
//
// For faults between a client and a real server there is package
// backend/backendtest/netfault.
package faulty
