// Package goredis makes a [backend.Node] of a go-redis client
// (github.com/redis/go-redis/v9): of a *redis.Client for one server or for a
// Sentinel set, or of a *redis.ClusterClient.
//
//	client, err := goredis.NewClient("redis://localhost:6379/0")
//	…
//	defer client.Close()
//	node := goredis.New(client)
//
// The client is the caller's: the node sends its commands over the client's
// connections, changes none of its settings and never closes it.
//
// # Settings that do not matter
//
// Every call returns by the deadline of its context, also with a client that was
// made without ContextTimeoutEnabled, that has no time-outs, whose connections
// are all in use, or whose server accepts connections and says nothing. Every
// command is sent once, whatever MaxRetries and MaxRedirects are; in a Cluster
// it follows a redirection, as nothing has run then. Scripts and reads go to
// masters, whatever ReadOnly, RouteByLatency and RouteRandomly are.
//
// # Settings that matter
//
//   - ReadTimeout and WriteTimeout still end a call that takes longer. Keep them
//     above the time within which a server answers on a bad day; the driver's
//     default of 3 seconds will do.
//   - DialTimeout times DialerRetries, 25 seconds by default, is how long the
//     driver goes on opening a connection after the call that wanted one has
//     returned. It does so on at most PoolSize goroutines. With the default of 5
//     for DialerRetries a server that refuses connections is reported half a
//     second later, after the node timeout, and so counts as one that hangs; with
//     1, as [NewClient] sets it, it is known to be down at once.
//   - redis.SetLogger: the driver writes a line to standard error for each dial
//     that fails, so several a second while a lock waits for a server that is down.
//     What failed is in the locker's errors too.
//   - PoolSize: the locker keeps few calls under way in a node, which share the
//     pool with whatever else uses the client. A client for locks alone waits
//     for nobody.
//   - Hooks: commands run through the hooks of a *redis.Client, or of a cluster's
//     clients for its servers, only if ContextTimeoutEnabled is set. Without it
//     the node works with the copy that WithTimeout makes, which the driver makes
//     without them. Hooks of a cluster client itself see redirected commands
//     only. A hook may watch; it must not repeat commands or change keys.
//
// [NewClient] makes a client with settings that suit locks.
//
// # What the server must allow
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
// With a database other than 0 also +select, with a Cluster +cluster|slots and
// +asking (and +readonly if the client has ReadOnly or a Route option), and what
// other scripts do that are given to [Node.Eval]. The driver's own CLIENT SETINFO
// and CLIENT MAINT_NOTIFICATIONS may be denied.
//
// # Limits
//
//   - A [redis.Ring] is refused.
//   - A client of another type that implements [redis.UniversalClient], such as a
//     wrapper, is called as it is, on a goroutine for each call. Calls that have
//     passed their deadline are left behind in it; at most four of them, then
//     further calls fail until it has come back. A wrapper must neither repeat
//     commands nor hide a Ring. [Node.Subscribe] is not supported through it.
//   - A credentials provider, OnConnect, Limiter or hook that blocks without
//     looking at its context holds up the call that it runs in.
//   - In a Cluster with a server that does not answer, the first calls may fail:
//     the driver may ask this one for the map of the cluster, and turns to the next
//     when its ReadTimeout is over. Later the map is read in the background.
//   - Before v9.23 the driver leaves a connection whose set-up failed (a server
//     that accepts it and says nothing, a wrong password) to the garbage collector
//     to close.
//   - A call notices that its context was cancelled, other than by its deadline,
//     only while it waits for a connection.
package goredis
