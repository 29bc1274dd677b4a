// Package redlock locks things across processes, on one Redis or Valkey server or on a
// quorum of independent ones.
//
//	locker, err := redlock.New(nodes)                      // validates, no I/O
//	lock, err := locker.Lock(ctx, "orders/42")             // waits until held or ctx ends
//	defer lock.Unlock(ctx)
//
// Or let it extend the lock for as long as the work takes:
//
//	err = locker.Do(ctx, "orders/42", func(ctx context.Context) error {
//		return work(ctx) // ctx ends if the lock is lost
//	})
//
// Nodes come from an adapter for the Redis client that your program already uses:
// backend/goredis, backend/redigo, backend/rueidis or backend/valkey. Each is a separate
// module. You can also write your own (see package backend). This package depends on the
// standard library alone.
//
// Each node must be a separate server. [New] rejects two nodes with the same name, but
// cannot tell that two names lead to one server (localhost and 127.0.0.1, or two redigo
// pools without a name). The vote of such a server counts only once. So fewer servers may
// fail; or nothing is ever granted, and every lock seems to be taken.
//
// # Guarantees
//
//   - Mutual exclusion, within the assumptions below: a lock is held on a majority of the
//     nodes until after [Lock.Until]. (The algorithm is Redlock: see "Distributed Locks
//     with Redis" in the Redis documentation.)
//   - If a minority of nodes is down or hangs, calls take no longer and return no error.
//   - A lock that is extended, automatically or with [Lock.Extend], survives restarts of
//     all nodes, one after the other. A node that has lost it is asked to grant it again.
//   - A call that fails, however it fails, leaves nothing locked on any node that can be
//     reached. What cannot be deleted at once is deleted in the background, or expires
//     with its TTL.
//   - A lost reply is never mistaken for a refusal or for a grant.
//   - The servers' answers decide who held the lock, never a client's guess.
//
// # What this lock does not promise
//
// Mutual exclusion rests on time. It assumes that
//
//   - a holder stops when its lock has expired;
//   - servers count the time to live at about the right rate (the allowance is 1 % by
//     default, see [WithDrift]);
//   - servers do not lose data that they have acknowledged: by a restart without persistence,
//     by a failover to a replica that was behind, or by an eviction. [WithQuarantine]
//     protects against the first two.
//
// A process may be paused between checking its lock and the write that the lock protects.
// It can then write after somebody else has got the lock. If that must not happen, the
// resource itself has to reject the late write: see the next section. docs/safety.md has
// the assumptions with their numbers.
//
// # Fencing tokens
//
// With [WithFencing] each lock has a number, [Lock.Fence], which is higher for each later
// lock of the key. The holder sends it with every write. The resource remembers the highest
// number and rejects a lower one. Unlike mutual exclusion, this does not rest on time.
// Package fence does the resource's part, for SQL databases and for resources in the process.
//
// # Waiting
//
// [Locker.Lock] does not poll. A caller that finds the lock taken joins a queue on the
// nodes, one queue per key, and sleeps. A release reserves the lock for the first in the
// queue and notifies it. So a lock changes hands within about two round trips, in the order
// in which callers asked, and a waiter costs the servers the same however many others wait.
// Callers of one Locker that wait for one key also queue inside the process, first come,
// first served.
//
// Waiting needs two things on each server:
//
//   - a sorted set in the same slot as the lock, for "orders/42" at
//     "orders/42{orders/42}:queue", which expires by itself;
//   - a subscription to one channel per Locker, for any number of keys, which lasts until
//     5 s after the last wait.
//
// If a server or an adapter cannot provide these, waiters poll; locks work all the same.
// [WithRetry] polls on purpose. [Locker.TryLock] does not wait. [Locker.Inspect] shows who
// waits. [WithAnnounce] tells waiters of redis-lock-py about releases.
//
// # Other kinds of lock
//
// [Locker.LockAll] locks several keys together, all or none. [Locker.Semaphore] makes a lock
// that up to n callers may hold. [Locker.RLock] lets many read or one write. Package
// election, built on this one, elects a leader. docs/kinds.md compares them.
//
// # Names on the servers
//
// The lock itself is at the key that the caller gives, after the prefix ([WithKeyPrefix]).
// For the lock "x" the library also keeps "x{x}:queue", with [WithFencing] "x{x}:fence", and
// for a short time "x{x}:gone:" with a token. If a key has a hash tag, such as "{x}:1", the
// same endings follow the key itself: "{x}:1:queue". With [WithQuarantine] each server has a
// marker, "redlock:marker" after the prefix. A [Semaphore] on "x" uses the keys
// "x{x}:permits:1" and so on, and "x{x}:permits:queue". While readers hold "x"
// ([Locker.RLock]), "x{x}:readers" lists them.
//
// These names are not available for locks, because a lock there would break the other one.
// So Lock and all other methods that take a key reject a key, including the prefix,
//
//   - that has a hash tag, and ends in ":queue", ":fence", ":readers" or ":permits", or in
//     ":permits:" and a number up to 1024, or has ":gone:" after the tag;
//   - that consists of another key and the same key in braces, such as "x{x}", because it
//     would share its queue and counter with "x";
//   - that ends in "redlock:marker".
//
// Keys without braces, such as "jobs:queue", are not affected.
//
// # Choosing a TTL
//
// The TTL is how long others wait after a holder has died. The default of 10 s suits most
// programs. With a short TTL each pause is more dangerous (garbage collection, network, a
// slow server). It also shortens the time for which a call waits for a node, which is at
// most an eighth of the TTL. For work of unknown length, use [Locker.Do] or
// [WithAutoExtend] instead of a long TTL.
//
// # What limits what
//
//   - The ctx of [Locker.Lock] limits the wait. The ctx of [Locker.Do] limits the wait and
//     the function.
//   - [WithWait] limits only the wait. [Locker.TryLock] and [Locker.TryDo] do not wait.
//   - [WithPatience] limits the wait while too many nodes are unavailable.
//   - [WithMaxHold] limits how long a lock extends itself. [WithMinHold] sets how soon
//     others can have it.
//   - [WithNodeTimeout] limits how long one attempt waits for a node.
//   - A deadline of ctx ends a call in time. With a single node, a cancellation may be noticed
//     only with the node's answer, or at the node timeout: see docs/design.md.
//
// # Errors
//
// [ErrTaken], [ErrUnavailable] and [ErrNotHeld] say what happened; use errors.Is. A
// [*QuorumError] says what each node did. If a ctx has ended, its error is joined to one of
// these. A timeout of a node never looks like one of the caller's ctx.
package redlock
