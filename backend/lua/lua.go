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
// [Acquire], [Vote] and [Raise] can take a marker, which is a key of the server, and a
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
	Acquire = backend.NewScript("acquire", link("acquire"), "2d8d3a6bfeb4d6f84dd91c149b57ab715e2c022c").Shares(2)

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", link("delete"), "36ae5f3270a2086cf94024cc139223b7d839a5bd")

	// Echo publishes to the sender's own inbox, to show whether notifications arrive. Keys: a
	// lock. Args: channel, payload. Answers 1 or 0: whether the channel has a subscriber.
	Echo = backend.NewScript("echo", link("echo"), "0879368e4b4de88096c60aaf2ddf1b7935c77c9f")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", link("extend"), "334bbc68c35380e29e7fb686e9064d9d25f5f508")

	// Inspect reads a lock and its queue. Keys: lock, queue. Args: the most tickets to
	// answer. Without the queue and the argument it reads only the lock. Answers {1 if
	// the lock is held or else 0, value, ttl in ms or -1}. If a queue was given, the
	// number of its tickets follows, -1 if the user may not read it, and each of the
	// first tickets with the ms that its waiter has waited, or -1.
	Inspect = backend.NewScript("inspect", link("inspect"), "b1945406a823297b61a7e31086f163bd9e81ea6b")

	// Mark declares that a server has lost nothing, so that it votes at once. Keys:
	// marker. Answers 1.
	Mark = backend.NewScript("mark", link("mark"), "4513f81980966e4bc10986bcdff18a8eace9c374")

	// Prolong extends a lock and the life of its counter, and restores the counter if
	// necessary. Keys: lock, counter. Args: token, ttl in ms, fencing token, ms to keep
	// the counter or 0. Answers 1 or 0.
	Prolong = backend.NewScript("prolong", link("prolong"), "1f7fe7984c5669ffb77d425f467c6f74b451cebe")

	// Raise moves the vote of a token up to a value. Keys: lock, counter, marker. Args:
	// token, value, ms to keep the counter or 0, ms of quarantine. The marker and the
	// last argument may be omitted. Answers 1 or 0.
	Raise = backend.NewScript("raise", link("raise"), "dcaa3f4a93c92ddc9e4956f02c6701d535a1e49b").Shares(2)

	// Release releases a lock, or gives up waiting for it, and notifies the next waiter.
	// Keys: lock, queue, tombstone. Args: token, ticket, channel, ms to keep the
	// tombstone. Each of the first three args may be empty, and the last ones may be
	// omitted, which is cheaper for the server. Answers 1 or 0; {1 or 0, the error that
	// prevented the notification}; or {1 or 0, "", 1} if it has removed many dead tickets
	// and there may be more. In that case send it again, without a token.
	Release = backend.NewScript("release", link("release"), "57fff316b978972453b3c51d31f70db9ffa02cc2")

	// Rollback takes back what a failed attempt was granted, and queues its waiter. Keys:
	// lock, queue, tombstone. Args: token, ticket, ms waited, "1" to notify the next
	// waiter or "0", ms to keep the tombstone. The tombstone and its time may be omitted.
	// Answers as Release does.
	Rollback = backend.NewScript("rollback", link("rollback"), "33a064906eee92ece9b9cad9738d6356fc4db30c")

	// Vote is Acquire with a vote for a fencing token. Keys: lock, counter, tombstone,
	// queue, marker. Args: token, ttl in ms, hint in µs, ms to keep the counter or 0,
	// ticket, ms waited, ms of quarantine. All keys after the tombstone and all args
	// after the fourth may be omitted. For a caller that does not wait the queue may be
	// any key. Answers {time in µs}, or the middle of that millisecond, for a vote for
	// the hint; {1, vote, time in µs} for another vote; {0, counter, time in µs, ttl left
	// in ms, rank, owner} for a refusal; and {0, counter, time in µs, -2, -1, ""} for a
	// token that has a tombstone.
	Vote = backend.NewScript("vote", link("vote"), "5eeb5ac75128589e1beb467cd2b0f66c712ba18f").Shares(4)
)

// All is every script of this package.
var All = []*backend.Script{Acquire, Delete, Echo, Extend, Inspect, Mark, Prolong, Raise, Release, Rollback, Vote}
