// Package faulty makes nodes fail in a test as servers and networks do. It belongs in
// tests, and depends on the standard library and package backend alone.
//
// A [FaultNode] stands in front of any node, usually one of package backend/memory, and
// passes each call through a [Fault]: [Delay], [Late], [Hang], [Stall], [Refuse],
// [LoseRequest], [LoseReply], [Duplicate] and others. Faults combine ([Chain], [On],
// [First]), and you can write your own in a few lines ([Each]). You can set and clear them
// while the test runs. [Bare] takes the capabilities of a node away. Everything works in a
// bubble of testing/synctest.
//
// For faults between a client and a real server, use package backend/backendtest/netfault.
package faulty
