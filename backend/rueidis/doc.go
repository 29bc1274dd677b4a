// Package rueidis is a lock server for github.com/redis/rueidis: a
// [backend.Node] over the caller's own client, for one server, a Sentinel set
// or a Cluster. As its name is that of the driver, import it as
//
//	import (
//		"github.com/redis/rueidis"
//
//		rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
//	)
//
// [New] takes any rueidis.Client, and [NewClient] makes one from a URL, with
// settings that suit locks. To a server without CLIENT TRACKING (Redis before 6,
// miniredis, some managed ones) the driver connects only with
// ClientOption.DisableCache.
//
// # What may be set on the client
//
// Retries do not matter (DisableRetry, RetryDelay): the driver repeats what
// reads, and nothing that a node sends is marked so. Pipelining does not matter
// (AlwaysPipelining, DisableAutoPipelining), nor does RESP2. Replicas are never
// asked, if SendToReplicas leaves to the master what is not IsReadOnly.
//
// These do matter:
//
//   - ConnLifetime must stay zero. When a connection comes to that age the
//     driver sends again what was under way on it, writes too: a node may then
//     report as taken the key that it has just set.
//   - ConnWriteTimeout and Dialer.KeepAlive say when a connection that has
//     silently died is given up: after eleven or twelve seconds by default.
//     Once a call has hung for the node timeout, further ones take connections
//     from the pool for blocking commands until then.
//   - Dialer.Timeout bounds the opening of a connection, log-in included, 5 s by
//     default. A server that accepts connections and then says nothing takes
//     that long to fail, one goroutine's time.
//   - BlockingPoolSize must leave a connection for each subscription, and some
//     ten for calls while the shared connection is dead.
//
// rueidis.NewClient connects at once and fails while the server is down, which
// a quorum is there to survive. [NewClient] does not. With other options, set
// ForceSingleClient: the driver then returns its error and, beside it, a client
// that connects when it is used. There is no such way for a Cluster's client,
// which needs one of its addresses to answer, nor for a Sentinel's, which needs
// a sentinel and the master.
//
// # Deadlines
//
// Calls return by their deadline, also while the server is stopped or
// unreachable or a connection is being set up. They do not go to the driver
// while the last thing heard of the server is bad: one goroutine asks it for a
// sign of life (PING), and the calls wait for that, each no longer than its ctx
// allows. What fails there was not sent, and is marked as not executed; the
// connection gets the time that it needs, whatever deadlines wait for it. The
// first call on a new node does the same, a round trip more. Of a Cluster each
// of 64 ranges of slots is watched by itself.
//
// One case is left: where a connection was lost while nothing was under way,
// and two calls meet that at once, the one waits until the other has opened a
// new connection or has failed to, even past its own deadline; not longer than
// the other's, nor than Dialer.Timeout. And a ctx that is cancelled before its
// deadline is heeded as the driver does, not in every state of a connection.
//
// A connection is shared. A call that runs out of time on one that carried
// nothing else cuts it off, and calls that have joined it by then fail with it,
// with an error that says so. With AlwaysPipelining this does not happen, for
// some ten microseconds more per call. All of a node's commands to one server
// take the same connection while it lives, so that a delete does not overtake
// its set; DisableAutoPipelining, and in a Cluster PipelineMultiplex, change
// that.
//
// # Permissions
//
// These lines are complete, each for its use with redlock.WithKeyPrefix("lock:"). They are
// those of docs/safety.md, "ACL lines", which explains them, and are tested with this adapter.
// Locks without waiting, waiting, fencing tokens, and quarantine with all of that:
//
//	ACL SETUSER plain reset on >password resetchannels ~lock:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard
//
//	ACL SETUSER waiting reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange
//
//	ACL SETUSER fencing reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange +mget +persist +pexpiretime
//
//	ACL SETUSER quarantine reset on >password resetchannels ~lock:* &lock:redlock:inbox:* +ping +set +get +del +exists +pttl +pexpire +eval +evalsha +zcard +subscribe +publish +pubsub|numsub +time +zadd +zrank +zrem +zpopmin +zrange +persist +info
//
// Without a prefix the keys and the inboxes have no common beginning: write ~* and
// &redlock:inbox:* then.
//
// In addition a user needs +select for a database other than 0, +client|tracking
// unless DisableCache is set, and in a Cluster +cluster|slots +cluster|shards +role.
// Without +subscribe (and +role) there are no subscriptions, and waiters poll. +ping
// is for the driver, which sends PING on a silent connection.
package rueidis
