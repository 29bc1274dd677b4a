// Package overload tests that the library survives overload: floods of notifications, of
// unlocks and of waiters, and servers that fail in ways that invite clients to retry too
// often. It has no code of its own.
//
// It is for developers who change how requests are sent to nodes. Each test needs real
// servers: containers or processes (see package servers). On embedded servers the tests
// are skipped.
//
// # Running
//
//	go test ./overload                                                        small sizes, about a minute
//	QUORUMLOCK_OVERLOAD=full go test ./overload -v -timeout 60m               full sizes
//	QUORUMLOCK_OVERLOAD=full go test ./overload -v -run 'TestUnlockFlood'     one scenario
//
// Each test prints a table of what it measured and the bound for each figure. A figure
// beyond its bound fails the test. Under the race detector some small sizes are halved,
// and the log says so.
//
// QUORUMLOCK_OVERLOAD_ADAPTER selects adapters, as in "goredis,rueidis". "all" selects
// goredis, redigo and rueidis, which also stands for valkey, because both have the same
// code. By default small sizes of the first three scenarios use these, and everything else
// uses goredis.
//
// # Scenarios
//
//	test                   what happens                                           what must hold
//	TestForgedRandomKeys   a client publishes notifications for random keys to    memory stays bounded, no lock is lost,
//	                       an inbox                                               nine of ten calls succeed
//	TestForgedNotification a client publishes notifications for a contended key   at least half the healthy hand-over rate
//	TestUnlockFlood        a process unlocks all its locks at once                no lock that extends itself is lost, every
//	                                                                              key is deleted, other calls take at most
//	                                                                              10 times as long
//	TestRestarts           the server restarts while many keys are waited for;    every waiter gets its lock, and goodput is
//	                       once more with half a core for the client              back within 5 s of each restart
//	TestFailedNode         one node of three dies, or closes or rejects every     it costs as much as a node that was down
//	                       connection, while many locks are held; then all are    from the start
//	                       unlocked
//	TestCutConnections     one node of three closes or rejects every connection   it costs as much as a node that is down
//	                       while a process locks distinct keys in a loop
//	TestErrorReplies       the server answers every request with an error         few requests and connections; everyone has
//	                                                                              the lock soon after the fault
//	TestHeldLocks          one process holds many locks that extend themselves    none is lost
//
// # How it measures
//
// The process under test is this test binary, started again as a child. So servers and
// load generators do not disturb its CPU time, memory and goroutines, and a control group
// can limit it alone. Only loopback is used, and each load ends after a fixed time.
//
// The "other calls" of a process are TryLock and Unlock of distinct keys, made by 16
// callers in a loop. Their latency is the time that one call takes. It is measured for
// one second before an overload, and then from the first moment of the overload until its
// last call has returned. The bound is on the ratio of the two medians. The table also
// shows the ratios of the means and of the 99th percentiles. These have no bound. They
// show what a median hides: a few calls that take very long.
//
// A publisher's rate for a contended key is its rate to each inbox, not to all inboxes
// together.
//
// CPU time and latency depend on the machine and on what else runs there. If a bound is a
// ratio, both sides are measured in the same run.
package overload
