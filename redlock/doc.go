// Package redlock locks things across processes, on one Redis or Valkey server
// or on a quorum of independent ones.
//
//	locker, err := redlock.New(nodes)                      // validates, no I/O
//	lock, err := locker.Lock(ctx, "orders/42")             // waits until held or ctx ends
//	defer lock.Unlock(ctx)
//
// or, extended by itself for as long as the work takes:
//
//	err = locker.Do(ctx, "orders/42", func(ctx context.Context) error {
//		return work(ctx) // ctx ends if the lock is lost
//	})
//
// Nodes come from an adapter for the Redis client that a program already uses:
// backend/goredis, backend/redigo or backend/rueidis, each a module of its own,
// or from a backend of one's own (see package backend). This package depends
// on the standard library alone.
//
// Each node must be a server of its own. [New] refuses two of one name, but cannot
// tell that two names are one server (localhost and 127.0.0.1, two redigo pools
// without a name): its vote then counts once, so that fewer servers may fail, or
// nothing is ever granted and every lock seems to be taken.
//
// # Guarantees
//
//   - Mutual exclusion, within the assumptions below: a lock is held on a
//     majority of the nodes until after [Lock.Until]. (The algorithm is Redlock:
//     Redis documentation, "Distributed Locks with Redis".)
//   - A minority of nodes that are down or hang costs nothing, neither latency
//     nor an error.
//   - A lock that is extended, by itself or by [Lock.Extend], survives restarts of all
//     nodes, one after the other: a node that has lost it is asked to grant it again.
//   - A call that fails leaves nothing locked on any node that can be reached,
//     however it failed; what cannot be deleted at once is deleted in the
//     background, or expires with its TTL.
//   - A lost reply is never taken for a refusal, nor for a grant.
//   - The servers' answers decide who held the lock, never a client's guess.
//
// # What this lock does not promise
//
// Mutual exclusion rests on time: on a holder that stops when its lock has
// expired, on servers that count the time to live at about the right rate (the
// drift allowance is 1 % by default) and that do not lose acknowledged data (a
// restart without persistence, a failover to a replica that was behind, which
// [WithQuarantine] makes up for, or an eviction). A process that is paused between a look at its lock and the write
// that the lock protects can write after somebody else has got it. Where that
// must not happen, the resource itself has to refuse the late write: see below.
// docs/safety.md has the assumptions with their numbers.
//
// # Fencing tokens
//
// With [WithFencing] each lock has a number, [Lock.Fence], which is higher for each later
// lock of the key. It goes with every write to the resource, which remembers the highest
// and refuses a lower one. Unlike mutual exclusion that does not rest on time. Package
// fence has the resource's part, for SQL databases and for what is in the process.
//
// # Waiting
//
// [Locker.Lock] does not poll. A caller that finds the lock taken stands in a queue on
// the nodes, one for each key, and sleeps; whoever releases the lock reserves it for the
// first in the queue and calls it. So a lock changes hands within about two round
// trips, in the order in which the callers asked, and a waiter costs the servers the same
// however many others there are. Callers of one Locker on one key stand in line in the
// process, first come, first served too.
//
// It takes two things beside the lock on each server: a sorted set, for "orders/42"
// at "orders/42{orders/42}:queue" and so in the same slot, which expires by itself; and a
// subscription to one channel for each Locker, whatever the number of keys, which lasts
// until 5 s after its last wait. Where a server or an adapter has not the means, waiting
// degrades to polling; locks work all the same. [WithRetry] polls on purpose, and
// [Locker.TryLock] does not wait. [Locker.Inspect] shows who waits. Waiters of
// redis-lock-py are told of our releases with [WithAnnounce].
//
// # Names on the servers
//
// The lock itself is at the key that the caller gives, after the prefix ([WithKeyPrefix]).
// Beside the lock "x" the library keeps "x{x}:queue", with [WithFencing] "x{x}:fence", and
// for a short time "x{x}:gone:" with a token. If a key has a hash tag, such as "{x}:1", the
// same endings follow the key itself: "{x}:1:queue". With [WithQuarantine] each server has a
// marker, "redlock:marker" after the prefix.
//
// These names are not available for locks, because a lock there would break the other one.
// So Lock and all other methods that take a key reject a key, including the prefix,
//
//   - that has a hash tag, and ends in ":queue" or ":fence" or has ":gone:" after the tag;
//   - that consists of another key and the same key in braces, such as "x{x}", because it
//     would share its queue and counter with "x";
//   - that ends in "redlock:marker".
//
// Keys without braces, such as "jobs:queue", are not affected.
//
// # Choosing a TTL
//
// The TTL is how long others wait after a holder has died. The default of 10 s
// suits most. A short TTL makes each pause (garbage collection, network, a slow
// server) more dangerous; the shorter it is, the shorter is the wait for a node
// too, an eighth of the TTL at most. Work of unknown length uses [Locker.Do] or
// [WithAutoExtend] rather than a long TTL.
//
// # What bounds what
//
//   - The ctx of [Locker.Lock] bounds the wait. The ctx of [Locker.Do] bounds the wait and the
//     function.
//   - [WithWait] bounds the wait alone. [Locker.TryLock] and [Locker.TryDo] do not wait.
//   - [WithPatience] bounds the wait while too many nodes are unavailable.
//   - [WithMaxHold] bounds how long a lock extends itself, and [WithMinHold] how soon others
//     can have it.
//   - [WithNodeTimeout] bounds how long one attempt waits for a node.
//
// # Errors
//
// [ErrTaken], [ErrUnavailable] and [ErrNotHeld] tell what happened, with
// errors.Is; a [*QuorumError] tells what each node said. The error of a ctx that
// ended is joined to one of them. A time-out of a node never looks like one of
// the caller's ctx.
package redlock
