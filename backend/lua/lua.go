// Package lua has the scripts that adapters run, one file each, with the SHA-1 of each as
// a constant. Every adapter sends the same text, so a server caches each script only
// once. A function that several scripts need is a file of its own, which these scripts
// include.
//
// Every script answers integers and strings, alone or in a flat list, and never nil. The
// comment at the top of each file says what it takes and what it answers.
//
// # The queue
//
// [Acquire], [Release] and [Rollback] keep a queue beside a lock, so that a waiter is
// notified and need not ask again. The queue is a sorted set of tickets,
// "<grace>:<channel>". The channel is the one on which the waiter listens. The grace is
// for how many milliseconds (1 to 99999) the lock is reserved for a waiter that was
// notified; more than [MaxGrace] counts as that. The score of a ticket is the time at
// which its waiter first asked. A ticket whose channel has no subscriber on the server is
// dead, and the next release that meets it removes it. A waiter sends [Echo] before it
// relies on a queue, because a server or a proxy may not let notifications through.
//
// A reserved lock holds "~<ticket>" and expires after the grace. The waiter receives
// "g<lock>" on its channel. The two waiters behind it receive "n<grace>:<lock>", with the
// grace for which the lock is reserved. No token may begin with "~".
//
// # Shared locks
//
// [AcquireShared], [ExtendShared], [ReleaseShared] and [RollbackShared] let many tokens read
// under one lock. While anybody reads, the lock holds "~shared", which everybody else takes
// for a reservation. Beside it is a sorted set of the readers' tokens, each with the time at
// which its share ends, in milliseconds of the server's clock. The lock expires with the last
// of them. The grace in the ticket of a reader has 90000 added. A reader that takes the lock
// notifies the readers that are queued next: they receive "g<lock>", and join.
//
// # Slots
//
// A lock that several may hold has slots, and each holder holds one of them. A slot is a
// lock like any other, but all slots have one queue: the scripts take the lock and its
// queue as separate keys, and a notification names the lock. So the release of a slot
// reserves that slot for the first waiter of all. [Slots] looks at all slots at once.
//
// # Fencing tokens
//
// [Vote], [Raise] and [Prolong] keep a counter beside a lock that has fencing tokens. A
// node votes for a number by moving its counter up to it, so it votes for each number
// only once. A token is a number for which a quorum of nodes has voted. So no two locks
// have the same token, and a later lock has a higher one. Counters are near the servers'
// clocks, in microseconds since 1970, so a counter that was lost starts above its last
// value. They never exceed 2^53 - 1, and never move more than a day ahead of their
// server's clock. A script that would have to do so fails with FENCE, and the other nodes
// of the quorum continue.
//
// A tombstone is a key for one token. [Release] and [Rollback] add it if some of what was
// sent for that token may not have arrived. A vote that arrives later is rejected.
//
// A token that was set by [Acquire] or a SetNX has no vote, so it must not be used with
// these three scripts.
//
// # Quarantine
//
// [Acquire], [AcquireShared], [Vote] and [Raise] can take a marker, which is a key of the server, and a
// length. The server then detects whether it may have lost data since the marker was
// written. If so, it does not vote for that length of time after it first noticed: the
// script fails with QUARANTINE and the remaining time. [Mark] declares that nothing was
// lost. The marker holds the server's run_id from INFO. If INFO does not show it to this
// user, scripts that are given a marker fail with NORUNID. All keys of a script share a
// slot in a Cluster, so a marker is for a server that is not part of one. All calls share
// this key.
//
// # Servers and rights
//
// The queue needs Redis 5 or Valkey, because of ZPOPMIN and because servers replicate the
// effects of scripts instead of their text. If a user lacks the right to one of the
// queue's commands, or to publish, it is not queued or notifies nobody, but releases the
// lock all the same. Only the right to the queue's key is indispensable: without it, a
// server does not start the script.
package lua

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// MaxGrace is the longest time for which a script reserves a lock, whatever the ticket
// says.
const MaxGrace = time.Second

var (
	// Acquire acquires a lock, or finds that the same token already has it. A waiter that
	// is refused is queued. Keys: lock, queue, marker. Args: token, ttl in ms, ticket, ms
	// waited, ms of quarantine. All keys after the lock and all args after the ttl may be
	// omitted. For a caller that does not wait the queue may be any key. Answers {1, ttl
	// left in ms} or {0, ttl left in ms, rank, owner}; if a command failed, so that the
	// ticket is not queued, its error is added.
	Acquire = backend.NewScript("acquire", link("acquire"), "aa326509a16ccef93c20cd07ca42a655c4738900").Shares(2)

	// AcquireShared acquires a lock to read, or finds that the same token already reads. A
	// waiter that is refused is queued. Keys: lock, queue, readers, marker. Args: token, ttl
	// in ms, ticket, ms waited, ms of quarantine, "1" if the token already reads on a quorum
	// of other servers. The marker and all args after the ttl may be omitted. Answers 1 for a new
	// share of that ttl, otherwise as Acquire does.
	AcquireShared = backend.NewScript("acquireshared", link("acquireshared"), "87bfbffb40f08197787ba6efef2c6e13f2a399d9").Shares(3)

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", link("delete"), "6874e473491f502ca765570efb2a418d443f21c4")

	// Echo publishes to the sender's own inbox, to show whether notifications arrive. Keys: a
	// lock. Args: channel, payload. Answers 1 or 0: whether the channel has a subscriber.
	Echo = backend.NewScript("echo", link("echo"), "55b41ce6155bb354990d155701fc345befe83bf4")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", link("extend"), "334bbc68c35380e29e7fb686e9064d9d25f5f508")

	// ExtendShared extends the share of a reader. If the token has the lock for itself, it
	// becomes a reader, and the readers that are queued next are notified. Keys: lock, queue,
	// readers. Args: token, ttl in ms. Answers 1 or 0.
	ExtendShared = backend.NewScript("extendshared", link("extendshared"), "44b08fd3c3f5efa1733ec11c55a09e29ba17813f")

	// Inspect reads a lock and its queue. Keys: lock, queue. Args: the most tickets to
	// answer. Without the queue and the argument it reads only the lock. Answers {1 if
	// the lock is held or else 0, value, ttl in ms or -1}. If a queue was given, the
	// number of its tickets follows, -1 if the user may not read it, and each of the
	// first tickets with the ms that its waiter has waited, or -1.
	Inspect = backend.NewScript("inspect", link("inspect"), "4e6e2f38c0af9a0e93287ba02455dc604d2aafc0")

	// Mark declares that a server has lost nothing, so that it votes at once. Keys:
	// marker. Answers 1.
	Mark = backend.NewScript("mark", link("mark"), "4513f81980966e4bc10986bcdff18a8eace9c374")

	// Prolong extends a lock and the life of its counter, and restores the counter if
	// necessary. Keys: lock, counter. Args: token, ttl in ms, fencing token, ms to keep
	// the counter or 0. Answers 1 or 0.
	Prolong = backend.NewScript("prolong", link("prolong"), "43079effd4bca156d898f5612b4a1f427fdd4a0e")

	// Raise moves the vote of a token up to a value. Keys: lock, counter, marker. Args:
	// token, value, ms to keep the counter or 0, ms of quarantine. The marker and the
	// last argument may be omitted. Answers 1 or 0.
	Raise = backend.NewScript("raise", link("raise"), "450a9aacfd8f6da13ae0b9f9ab5aabf995ae8c39").Shares(2)

	// Release releases a lock, or gives up waiting for it, and notifies the next waiter. If
	// others read a lock for which somebody gives up waiting, it notifies the readers that
	// are queued next.
	// Keys: lock, queue, tombstone. Args: token, ticket, channel, ms to keep the
	// tombstone. Each of the first three args may be empty, and the last ones may be
	// omitted, which is cheaper for the server. Answers 1 or 0; {1 or 0, the error that
	// prevented the notification}; or {1 or 0, "", 1} if it has removed many dead tickets
	// and there may be more. In that case send it again, without a token.
	Release = backend.NewScript("release", link("release"), "e5187ab0db0c6a7e781f4a57ed58d746da16c182")

	// ReleaseShared ends the share of a reader, or gives up waiting for one. The last reader
	// notifies the next waiter. If others still read and there is a ticket, it notifies the
	// readers that are queued next. Keys: lock, queue, readers. Args: token, ticket, channel.
	// The first two args may be empty, and the last ones may be omitted. Answers as Release
	// does.
	ReleaseShared = backend.NewScript("releaseshared", link("releaseshared"), "980c361530a98b8f4acf02d879ee392105e2d550")

	// Rollback takes back what a failed attempt was granted, and queues its waiter. Keys:
	// lock, queue, tombstone. Args: token, ticket, ms waited, "1" to notify the next
	// waiter or "0", ms to keep the tombstone. The tombstone and its time may be omitted.
	// Answers as Release does.
	Rollback = backend.NewScript("rollback", link("rollback"), "a8df69b8a02c22dee657310bc70638f882c95315")

	// RollbackShared takes back what a failed attempt to read was granted, and queues its
	// waiter. Keys: lock, queue, readers. Args: token, ticket, ms waited, "1" to notify the
	// next waiter if nobody reads any more or "0". Answers as Release does.
	RollbackShared = backend.NewScript("rollbackshared", link("rollbackshared"), "8fd0b85d489d9768a1907cbcfd6f4282bee9a231")

	// Slots looks at the slots of a lock that several may hold. Keys: the slots. Args: the
	// ticket of a waiter, which may be omitted. Answers a number for each slot: the ms for
	// which it is taken, -1 if that is for ever, or -2 if it is free or reserved for the
	// ticket.
	Slots = backend.NewScript("slots", link("slots"), "5bd8a13bf47203af3cd680d7cd1ab9a3c8938b4e")

	// Vote is Acquire with a vote for a fencing token. Keys: lock, counter, tombstone,
	// queue, marker. Args: token, ttl in ms, hint in µs, ms to keep the counter or 0,
	// ticket, ms waited, ms of quarantine. All keys after the tombstone and all args
	// after the fourth may be omitted. For a caller that does not wait the queue may be
	// any key. Answers {time in µs}, or the middle of that millisecond, for a vote for
	// the hint; {1, vote, time in µs} for another vote; {0, counter, time in µs, ttl left
	// in ms, rank, owner} for a refusal; and {0, counter, time in µs, -2, -1, ""} for a
	// token that has a tombstone.
	Vote = backend.NewScript("vote", link("vote"), "29331889bfe7ed2683f2372eee6a432a54676d30").Shares(4)
)

// All is every script of this package.
var All = []*backend.Script{
	Acquire, AcquireShared, Delete, Echo, Extend, ExtendShared, Inspect, Mark, Prolong, Raise,
	Release, ReleaseShared, Rollback, RollbackShared, Slots, Vote,
}
