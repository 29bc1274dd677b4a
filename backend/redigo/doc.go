// Package redigo is a backend over [github.com/gomodule/redigo]: a [Node] is
// one Redis or Valkey master behind a [redis.Pool], or behind anything with its
// GetContext.
//
//	pool := &redis.Pool{
//		MaxIdle:     16,
//		DialContext: func(ctx context.Context) (redis.Conn, error) { … },
//	}
//	node := redigo.New(pool, redigo.WithName("10.0.0.1:6379"))
//
// [NewPool] makes a pool from a URL.
//
// # What it needs
//
// Connections are redigo's own, or wrappers that pass on
// [redis.ConnWithTimeout] and [redis.ConnWithContext]; over others every method
// answers [errors.ErrUnsupported] and sends nothing.
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
// A pool that selects a database also needs +select. Scripts that a program gives to
// [Node.Eval] itself may need more.
//
// # The pool's settings
//
// No setting can keep a call beyond its deadline: neither the time-outs of the
// pool's connections, nor a Dial, DialContext, TestOnBorrow or
// TestOnBorrowContext that takes long, nor an exhausted pool with or without
// Wait. A read time-out of the pool is overridden by the deadline; a shorter
// write time-out is effective. What does matter:
//
//   - MaxIdle should be the number of calls at once, or connections are dialled
//     and thrown away all the time. The default, zero, keeps none.
//   - MaxActive must leave a connection to subscriptions. All of this process over
//     one pool share one, and give it up if a command waits for 100 ms or finds the
//     pool exhausted, so that waiters poll; see [Node.Subscribe].
//   - TestOnBorrow, TestOnBorrowContext and MaxConnLifetime each cost a call some
//     twenty microseconds. The pool may then do I/O for a call that finds
//     an idle connection, so that a goroutine must ask for it. Without them a
//     stale connection fails on its first use, and the core sends again, as a
//     Node never does. The Node then has the pool close the connections that were
//     idle at the time, so that the second sending meets none of them.
//   - A Dial without any time limit, to a server that accepts and then stays
//     silent (AUTH and SELECT wait for it), never ends. The calls return all the
//     same. Once one was left waiting, at most two goroutines ask the pool at a
//     time and later calls wait for one of them to end; one more is tried every
//     30 seconds. Use DialContext, or limits: DialConnectTimeout,
//     DialReadTimeout, DialTLSHandshakeTimeout.
//
// # What stays behind
//
// A call that ends at its deadline closes its connection, and the pool dials
// another. A call that ends while it waits for the pool leaves one goroutine in
// GetContext, until the pool's dial or the server is done; the connection that
// comes then goes into the pool. A call that writes more than 16 kB and is
// cancelled leaves a goroutine and a connection until the write has ended, or the
// deadline of the call has passed: the command may still arrive, with its own
// arguments. Over TLS, to a server that does not read, that takes up to five
// seconds more, until crypto/tls has given up its farewell. Nothing else outlives
// a call.
//
// # Known limits
//
//   - A call that has a deadline notices a cancellation while it waits for a
//     connection, not while it waits for a reply, unless it sends more than 16 kB.
//   - Another user of the pool may take the last idle connection in the instant
//     between a call's seeing it and its taking it. The pool then dials in the
//     call itself, for as long as the dial likes: a DialContext that honours its
//     context leaves no such gap, a Dial does.
//   - redigo speaks to one server. Behind a Sentinel the pool's dial has to ask
//     which is the master, and behind a cluster every key must be on the one
//     server: a MOVED is an error. Nothing here checks that the server is a
//     master; on a replica every lock fails, and Inspect shows the replica's
//     state. When a replica rejects an operation, the pool's idle connections
//     are closed, once a second at most, because a name may lead to another
//     server by now.
package redigo
