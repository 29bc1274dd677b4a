// Package servers gives tests real Redis and Valkey servers. A test can pause, kill and
// restart them, and their addresses stay the same. It is for everyone who writes tests in
// this module.
//
//	func TestMain(m *testing.M) { servers.Main(m) }
//
//	func TestMinorityDown(t *testing.T) {
//		nodes := servers.Start(t, servers.Any, 3, servers.WithOutages())
//		nodes[0].Pause(t)
//		…
//	}
//
// [Start] gives each test empty servers of its own. When the test ends, they are reused
// for the next one, because servers are started only once. [Each] runs a test on every
// available kind of server. [StartSentinel] and [StartCluster] start servers with
// Sentinel and a Cluster.
//
// # The ladder
//
// Where the servers come from is called a rung. [Main] uses the first of these rungs that
// is available, and prints which one and why:
//
//   - addresses: QUORUMLOCK_ADDRS lists servers as host:port, separated by commas. They
//     must be empty, and all their data is deleted again and again. Only one package may use
//     them at a time (go test -p 1). They are not paused or killed.
//   - containers: Docker works on this machine, and has the images or can pull them. Where
//     no registry can be reached, integration/images/build makes the images. This rung is
//     left out where nobody asks for tests that take long (package internal/long).
//   - processes: redis-server, valkey-server or keydb-server from PATH, on a Unix system.
//   - embedded: servers inside the test process. They know most commands, but have no
//     options, no Sentinel and no Cluster.
//
// A test that the rung cannot run is skipped, and the log gives the reason.
//
// Environment variables choose what is used:
//
//   - QUORUMLOCK_RUNG=containers, processes or embedded: use this rung or fail.
//   - QUORUMLOCK_REQUIRE_CONTAINERS=1: fail below containers, and also if an image is
//     missing.
//   - QUORUMLOCK_KIND, for example "redis:6.0": use only this kind of server.
//
// With [WithClock], a test can set the wall clock of its servers, on containers and
// processes. This needs a C compiler, because a small library is compiled for it.
//
// Containers and processes cost a test process a few goroutines, independent of the
// number of tests, plus one goroutine for each process. Embedded servers cost many
// goroutines.
//
// # What is left behind
//
// Nothing is left when [Main] returns, even after an interrupt. If a test process dies,
// its containers remain, and the next run on the same machine removes them. On Linux,
// server processes die with the test process.
package servers
