// Package redigo makes a [backend.Node] of a redigo pool (github.com/gomodule/redigo). A
// [Node] is one Redis or Valkey master behind a [redis.Pool], or behind any type with its
// GetContext method.
//
//	pool := &redis.Pool{
//		MaxIdle:     16,
//		DialContext: func(ctx context.Context) (redis.Conn, error) { … },
//	}
//	node := redigo.New(pool, redigo.WithName("10.0.0.1:6379"))
//
// [NewPool] makes a pool from the URL of one server.
//
// # What it needs
//
// Connections are redigo's own, or wrappers that pass on [redis.ConnWithTimeout] and
// [redis.ConnWithContext]. With any other connection every method returns
// [errors.ErrUnsupported] and sends nothing.
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
// A pool that selects a database also needs +select. Scripts that a program gives to
// [Node.Eval] itself may need more.
//
// # The pool's settings
//
// No setting can keep a call beyond its deadline: neither the timeouts of the pool's
// connections, nor a slow Dial, DialContext, TestOnBorrow or TestOnBorrowContext, nor an
// exhausted pool with or without Wait. The deadline overrides a read timeout of the pool. A
// shorter write timeout takes effect. These settings do matter:
//
//   - MaxIdle should be the number of simultaneous calls. Otherwise connections are opened
//     and closed all the time. The default, zero, keeps none.
//   - MaxActive must leave a connection for subscriptions. All subscriptions of this process
//     over one pool share one connection. They give it up if a command waits for 100 ms or
//     finds the pool exhausted; waiters then poll. See [Node.Subscribe].
//   - TestOnBorrow, TestOnBorrowContext and MaxConnLifetime each cost a call about twenty
//     microseconds. With them the pool may do I/O for a call that finds an idle connection,
//     so a goroutine must ask for it. Without them a stale connection fails on its first
//     use. A Node never sends again by itself, but the core does. The Node has the pool
//     close the connections that were idle at the time, so that the second attempt
//     meets none of them.
//   - A Dial without any time limit never ends if a server accepts the connection and then
//     stays silent, because AUTH and SELECT wait for it. The calls return all the same. Once
//     one Dial was left waiting, at most two goroutines ask the pool at a time. Later calls
//     wait for one of them to end, and every 30 seconds one more goroutine asks. Use
//     DialContext, or limits: DialConnectTimeout, DialReadTimeout, DialTLSHandshakeTimeout.
//
// # What stays behind
//
//   - A call that ends at its deadline closes its connection, and the pool opens another.
//   - A call that ends while it waits for the pool leaves one goroutine in GetContext, until
//     the pool's dial or the server is done. The connection that comes then goes into the
//     pool.
//   - A call that writes more than 16 kB and is cancelled leaves a goroutine and a
//     connection until the write has ended, or the deadline of the call has passed. The
//     command may still arrive, with its own arguments. Over TLS, to a server that does not
//     read, this takes up to five seconds more, until crypto/tls gives up sending its
//     closing message.
//
// Nothing else outlives a call.
//
// # Known limits
//
//   - A call that has a deadline notices a cancellation while it waits for a connection. It
//     does not notice one while it waits for a reply, unless it sends more than 16 kB.
//   - Between the moment at which a call sees an idle connection and the moment at which it
//     takes it, another user of the pool may take the last one. The pool then dials in the
//     call itself, for as long as the dial takes. A DialContext that honours its context
//     leaves no such gap; a Dial does.
//   - redigo speaks to one server. Behind a Sentinel the pool's dial has to ask which server
//     is the master. Behind a Cluster every key must be on the one server: a MOVED is an
//     error.
//   - Nothing here checks that the server is a master. On a replica every lock fails, and
//     Inspect shows the replica's state. When a replica rejects an operation, the pool's idle
//     connections are closed, at most once a second, because the name may lead to another
//     server by now.
package redigo
