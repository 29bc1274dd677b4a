// Package doctor checks whether servers are fit to keep locks: what the safety and the
// liveness of locks depend on, as far as a client can see it. It is for programs that
// check their servers when they start. "redlock doctor" is the same for the command line.
//
//	report, err := doctor.Check(ctx, servers, doctor.Settings{TTL: time.Minute})
//	for _, finding := range report.At(doctor.Warning) {
//		log.Print(finding)
//	}
//
// It knows no driver. Each [Server] has a function that sends a command with yours:
//
//	// go-redis
//	func(ctx context.Context, args ...any) (any, error) { return client.Do(ctx, args...).Result() }
//
//	// redigo
//	func(ctx context.Context, args ...any) (any, error) {
//		conn, err := pool.GetContext(ctx)
//		if err != nil {
//			return nil, err
//		}
//		defer conn.Close()
//		return redis.DoContext(conn, ctx, args[0].(string), args[1:]...)
//	}
//
//	// rueidis, valkey-go
//	func(ctx context.Context, args ...any) (any, error) {
//		command := client.B().Arbitrary()
//		for _, a := range args {
//			command = command.Args(a.(string))
//		}
//		return client.Do(ctx, command.Build()).ToAny()
//	}
//
// The adapters' examples have whole programs.
//
// # Checks
//
// "W" is a warning and "F" a failure. Each finding says what to do.
//
//	connection     F: refused, no answer, an unknown host, a server that loads its data
//	tls            F: no TLS, or a certificate that is not accepted
//	auth           F: a password is missing or wrong
//	topology       F: a Sentinel, or a client that does not know that this is a Cluster.
//	               W: a Cluster
//	identity       F: the same server as another one, perhaps behind another name
//	version        F: older than Redis 5. W: older than Redis 6
//	role           F: a replica, or it accepts no writes. W: replicas are attached (*)
//	latency        F: the median round trip is longer than the node timeout.
//	               W: the worst one is longer than half of it
//	clock          W: more than 250 ms from the other servers. F: more than a day
//	rights         F: a command or key that locks need is not allowed
//	waiting        W: waiters cannot queue or are not notified, so they poll
//	fencing        F: a command or key that fencing tokens need is not allowed
//	quarantine     F: the server cannot have one. W: it is in quarantine, or will be
//	bookkeeping    F: a queue or counter has a type or value that cannot be right
//	appendonly     W: off (*)
//	appendfsync    W: not "always" (*), or no-appendfsync-on-rewrite is "yes"
//	save           F: writes are refused, because the disk is full for example.
//	               W: the last snapshot failed
//	uptime         W: up for less than the TTL, without persistence (*)
//	eviction       F: a full server evicts locks. W: it would if maxmemory were set
//	memory         F: full. W: 90 % of maxmemory, or 75 % of the machine, is in use
//	maxclients     F: no free connection. W: 80 % are in use
//	timeout        W: idle connections are closed in less than a minute, or than the TTL
//	pubsub-buffer  W: less than a megabyte for each subscriber
//	count          W: an even number of servers, or a single one
//	local-clock    W: this machine's clock is more than 250 ms from the servers'
//	probe          F: a lock could not be taken, handed over and released.
//	               W: a waiter was not notified
//
// (*) not with a quarantine, which covers the loss of data.
//
// The source says why each threshold is what it is. A failure of connection, topology or
// identity ends the checks of its server. The probe uses only servers without a failure.
//
// # Rights
//
// The doctor needs no more rights than a lock. What it cannot check is [NotChecked]. For
// all checks, allow INFO, CONFIG GET, TIME and SCAN in addition.
package doctor
