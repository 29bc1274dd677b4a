// Package servers gives tests real Redis and Valkey servers, that can be paused,
// killed and restarted, at addresses that stay the same.
//
//	func TestMain(m *testing.M) { servers.Main(m) }
//
//	func TestMinorityDown(t *testing.T) {
//		nodes := servers.Start(t, servers.Any, 3, servers.WithOutages())
//		nodes[0].Pause(t)
//		…
//	}
//
// [Start] gives each test empty servers of its own. They go on to the next test
// when it ends, as they are started only once. [Each] runs a test on every kind of
// server that is there. [StartSentinel] and [StartCluster] start what their names
// say.
//
// # The ladder
//
// [Main] takes the first of these rungs that holds, and prints which and why:
//
//   - addresses: QUORUMLOCK_ADDRS names servers, as host:port with commas between.
//     They must be empty, and everything in them is deleted again and again. No
//     two packages may use them at once (go test -p 1). They are not paused or
//     killed.
//   - containers: Docker answers here, and has the images or can pull them.
//     integration/images/build makes them where no registry can be reached.
//   - processes: redis-server, valkey-server or keydb-server from PATH, on a Unix system.
//   - embedded: servers within the test's process, which know most commands, but
//     neither options nor Sentinel nor Cluster.
//
// What a rung cannot do is skipped, by the name of the test and with the reason.
// QUORUMLOCK_REQUIRE_CONTAINERS=1 makes anything below containers a failure, a
// missing image too, and QUORUMLOCK_RUNG=containers, processes or embedded takes
// that rung or fails. QUORUMLOCK_KIND, as in "redis:6.0", leaves a rung that kind of
// server alone.
//
// Servers that are started [WithClock] have wall clocks that the test sets, on
// containers and processes, by a library in C that is compiled for it.
//
// Containers and processes cost a test process a few goroutines that stay the same
// however many tests run, and one for each process; embedded servers cost many.
//
// # What is left behind
//
// Nothing, when [Main] returns, also after an interrupt. Where a test's process
// dies, its containers stay; the next start on this machine removes them.
// Processes die with it on Linux.
package servers
