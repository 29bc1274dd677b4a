// Package rueidis makes a [backend.Node] of a rueidis client (github.com/redis/rueidis),
// for one server, a Sentinel set or a Cluster. The client stays yours. The package has the
// same name as the driver, so import it as
//
//	import (
//		"github.com/redis/rueidis"
//
//		rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
//	)
//
// [New] takes any rueidis.Client. [NewClient] makes one from a URL, with settings that suit
// locks. The driver connects to a server without CLIENT TRACKING (Redis before 6,
// miniredis, some managed ones) only with ClientOption.DisableCache.
//
// # Settings that do not matter
//
//   - Retries (DisableRetry, RetryDelay): the driver repeats only commands that are marked as
//     reads, and a node marks none.
//   - AlwaysPipelining and RESP2.
//   - Replicas: they are never asked, if SendToReplicas leaves to the master what is not
//     IsReadOnly.
//
// # Settings that matter
//
//   - ConnLifetime must stay zero. When a connection reaches that age, the driver sends again
//     what was under way on it, including writes. A node may then report that a key is taken
//     that it has just set itself.
//   - ConnWriteTimeout and Dialer.KeepAlive decide when a connection that has silently died
//     is given up: after eleven or twelve seconds by default. Once a call has hung for
//     the node timeout, further calls take connections from the pool for blocking
//     commands until then.
//   - Dialer.Timeout limits the opening of a connection, including the log-in; 5 s by
//     default. A server that accepts connections and then says nothing takes that long to
//     fail. One goroutine waits for it.
//   - BlockingPoolSize must leave a connection for each subscription, and about ten for
//     calls while the shared connection is dead. While the pool is full, subscriptions wait
//     or fail, so waiters poll, and calls time out while the shared connection is dead.
//   - BlockingPipeline must be zero (2000) or above 1024, which is the most operations that a
//     node sends at once. Otherwise the driver takes a connection from that pool for each
//     larger batch. Its operations may then overtake earlier ones, or wait for a full pool.
//   - BlockingPoolCleanup may stay zero if the client is for locks alone. A connection in
//     that pool leads to the old server after a name has moved. A node closes those that its
//     own calls leave there, except in a Cluster and with DisableAutoPipelining. Those of
//     other users' blocking commands stay, and calls may get them. If there are such users,
//     set it to a few seconds: the driver then closes idle connections. If their server hangs
//     at that moment, this may hold up calls that need the pool by a second for each
//     connection.
//   - DisableAutoPipelining should stay false. With it every command takes the connection
//     of a pool that was used last, and [Node.Reconnect] has no effect. When connections have
//     silently died, each costs one call its time limit. After a name has moved, a
//     connection to the old server is used for as long as that server answers on it. A
//     BlockingPoolCleanup of a few seconds limits both to connections in steady use.
//
// rueidis.NewClient connects at once and fails while the server is down, which is just what a
// quorum should survive. [NewClient] does not connect if the URL is that of one server. If
// you need other options, set ForceSingleClient with rueidis.NewClient: the driver then
// returns its error together with a client that connects when it is used. This is not
// possible for a Cluster's client, which needs an answer from one of its addresses, nor for
// a Sentinel's, which needs a sentinel and the master. [NewClient] fails for these while
// they are down.
//
// # Deadlines
//
// Calls return by their deadline, even while the server is stopped or unreachable, or while a
// connection is being set up. If the last thing heard of the server was bad, calls do not go
// to the driver. One goroutine sends a PING instead, and the calls wait for its result, each
// for as long as its ctx allows. A call that fails while it waits was not sent, and its error
// is marked as not executed. The connection gets the time that it needs, whatever the
// deadlines of the calls. The first call on a new node does the same, which is one more
// round trip. In a Cluster each of 64 ranges of slots is watched by itself.
//
// Two cases are left. If a connection is lost while nothing is under way, and two calls meet
// that at the same time, one of them waits until the other has opened a new connection or
// has failed to. It may wait past its own deadline, but not longer than the other's deadline
// and not longer than Dialer.Timeout. And a ctx that is cancelled before its deadline takes
// effect when the driver checks it, which it does not do in every state of a connection.
//
// A connection is shared. If a call runs out of time on a connection that carried nothing
// else, it closes the connection. Calls that have joined it meanwhile then fail with an error
// that says so. With AlwaysPipelining this does not happen, for about ten microseconds more
// per call. All of a node's commands to one server take the same connection while it lives,
// so that a delete does not overtake its set. DisableAutoPipelining, and in a Cluster
// PipelineMultiplex, change that.
//
// # Permissions
//
// These lines are complete, each for its use with redlock.WithKeyPrefix("lock:"): locks
// without waiting, waiting, fencing tokens, and a quarantine with all of these. They are the
// lines of docs/safety.md, "ACL lines", which explains them. Tests run them with this adapter.
//
//	ACL SETUSER plain reset on >password resetchannels ~lock:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard
//
//	ACL SETUSER waiting reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange
//
//	ACL SETUSER fencing reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange +mget +persist +pexpiretime
//
//	ACL SETUSER quarantine reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange +persist +info
//
// Without a prefix the keys and the inboxes have no common beginning. Write ~* and
// &redlock:inbox:* instead.
//
// In addition a user needs +select for a database other than 0, +client|tracking unless
// DisableCache is set, and in a Cluster +cluster|slots +cluster|shards +role. Without
// +subscribe (and +role) there are no subscriptions, and waiters poll. The driver needs
// +ping, because it sends PING on a silent connection.
package rueidis
