// Package netfault is a network that can be made to fail: a TCP proxy inside the
// test's process, in front of one Redis or Valkey server.
//
// A [Proxy] delays bytes and the setup of connections, holds or discards bytes in one or both
// directions, cuts connections, and refuses new ones. It can forget connections as a firewall
// does, and move to another server as a name does. It also reads the commands that pass. So it
// can lose the reply to a command after the server has run it ([Proxy.LoseReply]), lose a command
// before it arrives ([Proxy.LoseRequest]), let one arrive late ([Proxy.StallRequest]), answer one
// with an error ([Proxy.Reject]) and count commands ([Proxy.Count]).
//
// # Limits
//
// The kernel accepts a connection before the proxy learns of it. So a slow setup is a slow first
// byte, not a slow connect. If the server behind the proxy is down, the client's connection is
// reset at once. [Proxy.Refuse] refuses connects. With TLS, the proxy cannot read commands: it
// shapes bytes, but cannot lose, stall or count commands.
//
// A proxy has one goroutine, and five more for each open connection. Tests that count goroutines
// must take this into account.
//
// # Why not Toxiproxy
//
// Toxiproxy shapes each direction separately, chunk by chunk. To lose the reply to a certain
// command, both directions must be matched with each other. It has no slow connection setup. And
// it would add a metrics library, a router and a logger to the workspace.
package netfault
