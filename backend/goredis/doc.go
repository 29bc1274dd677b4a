// Package goredis makes a [backend.Node] of a go-redis client
// (github.com/redis/go-redis/v9): of a *redis.Client for one server or for a Sentinel set,
// or of a *redis.ClusterClient.
//
//	client, err := goredis.NewClient("redis://localhost:6379/0")
//	…
//	defer client.Close()
//	node := goredis.New(client)
//
// [NewClient] makes a client with settings that suit locks, and [NewUniversalClient] does
// so also for a Cluster. You can also pass your own client to [New]. The client stays yours: the node sends its commands over the client's
// connections, changes none of its settings and never closes it.
//
// # Settings that do not matter
//
// Every call returns by the deadline of its context. This holds even if the client was made
// without ContextTimeoutEnabled or without timeouts, if all its connections are in use, or
// if its server accepts connections and says nothing. Every command is sent once, whatever
// MaxRetries and MaxRedirects are. In a Cluster a command follows a redirection, because
// nothing has run then. Scripts and reads go to masters, whatever ReadOnly, RouteByLatency
// and RouteRandomly are.
//
// # Settings that matter
//
//   - ReadTimeout and WriteTimeout still end a call that takes longer. Keep them above the
//     time within which a server answers on a bad day. The driver's default of 3 seconds
//     is enough.
//   - DialTimeout times DialerRetries, 25 seconds by default, is how long the driver
//     continues to open a connection after the call that wanted it has returned. It does so
//     on at most PoolSize goroutines.
//   - DialerRetries should be 1, as [NewClient] sets it: a server that refuses connections
//     is then known to be down at once. With the default of 5 the driver reports it half a
//     second later. That is after the node timeout, so the server counts as one that hangs.
//   - redis.SetLogger: the driver writes a line to standard error for each attempt to
//     connect that fails. While a lock waits for a server that is down, that is several
//     lines a second. The locker's errors say too what failed.
//   - PoolSize: the locker keeps few calls under way on a node. They share the pool with
//     everything else that uses the client. With a client for locks alone, calls never wait
//     for a connection.
//   - Hooks: commands run through the hooks of a *redis.Client, or of a cluster's clients
//     for its servers, only if ContextTimeoutEnabled is set. Otherwise the node works with
//     the copy that WithTimeout makes, and the driver makes that copy without hooks. Hooks of
//     a cluster client itself see redirected commands only. A hook may watch. It must not
//     repeat commands or change keys.
//
// # What the server must allow
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
// In addition a user needs:
//
//   - +select for a database other than 0;
//   - +cluster|slots and +asking for a Cluster, and +readonly if the client has ReadOnly or
//     a Route option;
//   - the commands of other scripts that are given to [Node.Eval].
//
// The driver's own CLIENT SETINFO and CLIENT MAINT_NOTIFICATIONS may be denied.
//
// # Limits
//
//   - [New] rejects a [redis.Ring].
//   - A client of another type that implements [redis.UniversalClient], such as a wrapper,
//     is called as it is, on one goroutine per call. A call that passes its deadline is
//     left behind in the client. At most four calls are left behind; then further calls
//     fail until one has come back. A wrapper must neither repeat commands nor hide a
//     Ring. [Node.Subscribe] is not supported through it.
//   - A credentials provider, OnConnect, Limiter or hook that blocks without checking its
//     context holds up the call that it runs in.
//   - In a Cluster with a server that does not answer, the first calls may fail. The driver
//     may ask this server for the map of the cluster, and turns to the next one when its
//     ReadTimeout is over. Later the map is read in the background.
//   - Before v9.23 the driver does not close a connection whose set-up failed (a server
//     that accepts it and says nothing, a wrong password). It leaves that to the garbage
//     collector.
//   - A server may answer a new connection with "ERR max number of clients reached" or with
//     DENIED (protected mode), and close it. The driver takes this for a server without
//     HELLO, so the error is "broken pipe" or EOF, and it is unknown whether the command
//     has run. "redlock doctor" uses this adapter and cannot name the cause either. If a
//     server closes each new connection, look at rejected_connections in INFO, at
//     maxclients, and at protected-mode.
//   - If its context is cancelled before the deadline, a call notices only while it waits
//     for a connection.
package goredis
