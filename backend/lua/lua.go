// Package lua holds the scripts that adapters run, one file each, with the
// SHA-1 of each as a constant. There is one copy of every script: what an
// adapter for another driver sends is the same text, so that a server caches
// it once for all. What several scripts need is a file of its own too, a local
// function, and goes before the text of each.
//
// Every script answers integers and strings, alone or in a flat list, and
// never nil. The comment at the head of each file says what it takes and what
// it answers.
//
// # The queue
//
// [Acquire], [Release] and [Rollback] keep a queue beside a lock, so that one
// who waits is called instead of asking again. The queue is a sorted set. Its
// members are tickets, "<grace>:<channel>": the channel on which the waiter
// listens, and for how many milliseconds (1 to 99999) the lock is to be reserved
// for it when it is called. More than [MaxGrace] counts as that. Their scores are the times at which they first asked.
// A ticket whose channel has no subscriber on the server is dead, and is removed by the
// release that meets it. A waiter sends [Echo] before it relies on a queue, because a
// server or a proxy may not let notifications through.
//
// A lock that is reserved holds "~<ticket>" and expires after the grace. The
// waiter hears "g<lock>" on its channel, and the two behind it hear
// "n<grace>:<lock>", with the grace for which the lock is reserved. No
// token may begin with "~".
//
// # Fencing tokens
//
// [Vote], [Raise] and [Prolong] keep a counter beside a lock that is to have a
// fencing token. The token is a number for which the votes of a quorum of nodes
// were cast, and a vote is cast by moving a node's counter up to it: no node votes
// for a number twice, so no two locks have the same, and a later one has a higher.
// Counters are near the servers' clocks, in microseconds since 1970, so that one
// which was lost begins above where it ended. They are never above 2^53 - 1, nor
// move more than a day ahead of their server's clock: there the script fails with
// FENCE, and the others of the quorum go on.
//
// A tombstone is a key of one token, put up by [Release] or [Rollback] where it is
// not known whether everything sent for that token has arrived: a vote that comes
// later is refused.
//
// A token that [Acquire] or a SetNX has set has not voted. It must not be used with
// the three.
//
// # Quarantine
//
// [Acquire], [Vote] and [Raise] take a marker, a key of the server, and a length.
// The server then sees for itself whether it may have lost anything since the
// marker was written, and does not vote for so long after it first saw that: the
// script fails with QUARANTINE, and says for how long it will. [Mark] says that
// nothing was lost. The marker holds the server's run_id, which INFO tells; if it
// does not, to this user, the scripts fail with NORUNID if they are given a marker.
// All keys of a script share a slot in a cluster, so a marker is for a server that
// is on its own. It is the key that all calls share.
//
// # Servers and rights
//
// The queue needs Redis 5 or Valkey (ZPOPMIN, and the effects of scripts being
// replicated instead of their text). A user who has no right to one of its
// commands, or to publish, is not queued or calls nobody, and releases the lock all
// the same. Only the right to the queue's key is needed: without it a server does
// not begin to run the script.
package lua

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// MaxGrace is for how long a script reserves a lock at most, whatever the ticket says.
const MaxGrace = time.Second

var (
	// Acquire takes a lock, or finds that the same token has it already; a
	// waiter that is refused queues. Keys: lock, queue, marker. Args: token, ttl in
	// ms, ticket, ms waited, ms of quarantine. The keys after the lock, and what
	// follows the ttl, may be left out; of one who does not wait the queue may be any
	// key. Answers {1, ttl left in ms} or {0, ttl left in ms, rank, owner}, and, if a
	// command failed because of which the ticket is not queued, its error.
	Acquire = backend.NewScript("acquire", link("acquire"), "2d8d3a6bfeb4d6f84dd91c149b57ab715e2c022c").Shares(2)

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", link("delete"), "36ae5f3270a2086cf94024cc139223b7d839a5bd")

	// Echo publishes to the sender's own inbox, to show whether notifications arrive. Keys: a
	// lock. Args: channel, payload. Answers 1 or 0: whether the channel has a subscriber.
	Echo = backend.NewScript("echo", link("echo"), "0879368e4b4de88096c60aaf2ddf1b7935c77c9f")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", link("extend"), "334bbc68c35380e29e7fb686e9064d9d25f5f508")

	// Inspect looks at a lock and at its queue. Keys: lock, queue. Args: the number of
	// tickets to answer at most. Without the queue and the argument it looks at the lock
	// alone. Answers {1 if the lock is held or else 0, value, ttl in ms or -1}; if a queue
	// was given, the number of its tickets, -1 if the user may not look at it, and each
	// of the first tickets with the ms that its waiter has waited, or -1.
	Inspect = backend.NewScript("inspect", link("inspect"), "b1945406a823297b61a7e31086f163bd9e81ea6b")

	// Mark says that a server has lost nothing, so that it votes at once. Keys:
	// marker. Answers 1.
	Mark = backend.NewScript("mark", link("mark"), "4513f81980966e4bc10986bcdff18a8eace9c374")

	// Prolong extends a lock and the life of its counter, which it makes good if
	// need be. Keys: lock, counter. Args: token, ttl in ms, fencing token, ms to
	// keep the counter or 0. Answers 1 or 0.
	Prolong = backend.NewScript("prolong", link("prolong"), "1f7fe7984c5669ffb77d425f467c6f74b451cebe")

	// Raise moves the vote of a token up to a value. Keys: lock, counter, marker.
	// Args: token, value, ms to keep the counter or 0, ms of quarantine. The marker
	// and the last argument may be left out. Answers 1 or 0.
	Raise = backend.NewScript("raise", link("raise"), "dcaa3f4a93c92ddc9e4956f02c6701d535a1e49b").Shares(2)

	// Release releases a lock, or gives up waiting for it, and calls the next
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, channel, ms that
	// the tombstone stands; each of the first three may be empty, and the last
	// ones left out, which a server thanks for. Answers 1 or 0; {1 or 0, the error
	// that kept it from notifying}; or {1 or 0, "", 1} if it has removed many tickets of
	// the dead and there may be more: then send it again, without a token.
	Release = backend.NewScript("release", link("release"), "57fff316b978972453b3c51d31f70db9ffa02cc2")

	// Rollback takes back what a failed attempt was granted, and queues its
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, ms waited, "1"
	// to call the next waiter or "0", ms that the tombstone stands. The tombstone
	// and its time may be left out. Answers as Release does.
	Rollback = backend.NewScript("rollback", link("rollback"), "33a064906eee92ece9b9cad9738d6356fc4db30c")

	// Vote is Acquire with a vote for a fencing token. Keys: lock, counter, tombstone,
	// queue, marker. Args: token, ttl in ms, hint in µs, ms to keep the counter or 0,
	// ticket, ms waited, ms of quarantine. The keys after the tombstone, and what
	// follows the fourth argument, may be left out; of one who does not wait the queue
	// may be any key. Answers {time in µs}, or the middle of that millisecond, for a vote
	// for the hint, {1, vote, time in µs} for another, {0, counter, time in µs, ttl left
	// in ms, rank, owner}, or, of a token that has a tombstone, {0, counter, time in µs,
	// -2, -1, ""}.
	Vote = backend.NewScript("vote", link("vote"), "5eeb5ac75128589e1beb467cd2b0f66c712ba18f").Shares(4)
)

// All is every script of this package.
var All = []*backend.Script{Acquire, Delete, Echo, Extend, Inspect, Mark, Prolong, Raise, Release, Rollback, Vote}
