// Package netfault is a network that can be made to fail: a TCP proxy inside the
// test's process, in front of one Redis or Valkey server.
//
// A [Proxy] delays bytes, delays the set-up of connections, holds or discards
// what passes in one direction or in both, cuts connections and refuses new
// ones, forgets connections as a firewall does, and moves to another server as a
// name does. It also reads the commands that pass, and so it can lose the reply of one
// of them after the server has run it ([Proxy.LoseReply]), lose a command before
// it arrives ([Proxy.LoseRequest]), let one arrive late ([Proxy.StallRequest]),
// answer one with an error ([Proxy.Reject]) and count them ([Proxy.Count]).
//
// # What it cannot do
//
// The kernel accepts a connection before the proxy hears of it. So a slow set-up
// is a slow first byte, not a slow connect, and a client meets a server that is
// down behind the proxy as a connection that is reset at once; [Proxy.Refuse]
// gives a refused connect. Through TLS the commands cannot be read: bytes are
// shaped, but no command is lost, stalled or counted.
//
// A proxy has one goroutine, and five more for each open connection: a test that
// counts goroutines reckons with them.
//
// # Why not Toxiproxy
//
// It shapes each direction by itself and chunk by chunk, whereas losing the reply
// of a given command means matching what passes in one direction with what passes
// in the other; it has no slow set-up; and it would bring a metrics library, a
// router and a logger into the workspace.
package netfault
