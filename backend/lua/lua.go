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
// for it when it is called. Their scores are the times at which they first asked.
// A ticket whose channel has no subscriber on the server is dead, and passed
// over.
//
// A lock that is reserved holds "~<ticket>" and expires after the grace. The
// waiter hears "g<lock>" on its channel, and the two behind it hear
// "n<grace>:<lock>", the grace being the one of the waiter that was called. No
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
// later is refused. A marker is a key of a server, set by [Mark]: a vote that asks
// for it fails with QUARANTINE if the server has lost it. All keys of a script share
// a slot in a cluster, so a marker is for a server that is on its own.
//
// A token that [Acquire] or a SetNX has set has not voted. It must not be used with
// the three.
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
	_ "embed"

	"github.com/quorumlock/quorumlock/backend"
)

// The scripts.
var (
	//go:embed acquire.lua
	acquire string
	//go:embed delete.lua
	deleteIfHeld string
	//go:embed extend.lua
	extend string
	//go:embed inspect.lua
	inspect string
	//go:embed mark.lua
	mark string
	//go:embed prolong.lua
	prolong string
	//go:embed raise.lua
	raise string
	//go:embed release.lua
	release string
	//go:embed rollback.lua
	rollback string
	//go:embed vote.lua
	vote string
	//go:embed waiters.lua
	waiters string
)

// What goes before some of them, in this order.
var (
	//go:embed quick.lua
	quick string
	//go:embed inbox.lua
	inbox string
	//go:embed whole.lua
	whole string
	//go:embed enqueue.lua
	enqueue string
	//go:embed refuse.lua
	refuse string
	//go:embed call.lua
	call string
	//go:embed bury.lua
	bury string
	//go:embed lengthen.lua
	lengthen string
	//go:embed fence.lua
	fence string
)

var (
	// Acquire takes a lock, or finds that the same token has it already; a
	// waiter that is refused queues. Keys: lock, queue. Args: token, ttl in ms,
	// ticket, ms waited. The queue, and what follows the ttl, may be left out.
	// Answers {1, ttl left in ms} or {0, ttl left in ms, rank, owner}.
	Acquire = backend.NewScript("acquire", inbox+whole+enqueue+refuse+acquire, "3d03611830a7836702fa8cefeac4cb2acad172fe")

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", deleteIfHeld, "7c5c3441344b8a67c9523e6c8e7853bcadf49885")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", lengthen+extend, "116584fd390e1c2f499e398300cad8c07028b962")

	// Inspect is Inspector.Inspect. Keys: key. Answers {found, value, ttl in ms}.
	Inspect = backend.NewScript("inspect", inspect, "3113ad5b23196316b7c431c7fce63384830c874c")

	// Mark sets the marker of a server. Keys: marker. Args: what it is to hold,
	// what it may hold before, empty for nothing. Answers {1 or 0, what it holds}.
	Mark = backend.NewScript("mark", mark, "10c91bf47bc34ce78e5994fd6f0c449af8708386")

	// Prolong extends a lock and the life of its counter, which it makes good if
	// need be. Keys: lock, counter. Args: token, ttl in ms, fencing token, ms to
	// keep the counter or 0. Answers 1 or 0.
	Prolong = backend.NewScript("prolong", whole+lengthen+fence+prolong, "946dc18ef2948ed9ec19621c99fe18f4e871117b")

	// Raise moves the vote of a token up to a value. Keys: lock, counter. Args:
	// token, value, ms to keep the counter or 0. Answers 1 or 0.
	Raise = backend.NewScript("raise", whole+fence+raise, "3b2751cab6d48fc2c49ab8f318415b87b5b8ff7b")

	// Release releases a lock, or gives up waiting for it, and calls the next
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, channel, ms that
	// the tombstone stands; each of the first three may be empty, and the last
	// ones left out, which a server thanks for. Answers 1 or 0.
	Release = backend.NewScript("release", quick+inbox+whole+call+bury+release, "16ca848f40c2614c06bdf8123dc9cdf03bcfe2fc")

	// Rollback takes back what a failed attempt was granted, and queues its
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, ms waited, "1"
	// to call the next waiter or "0", ms that the tombstone stands. The tombstone
	// and its time may be left out. Answers 1 or 0.
	Rollback = backend.NewScript("rollback", inbox+whole+enqueue+call+bury+rollback, "f3ff89aa12891634433c6ec59a9fbc6280477bf7")

	// Vote is Acquire with a vote for a fencing token. Keys: lock, queue, counter,
	// tombstone, marker. Args: token, ttl in ms, ticket, ms waited, hint in µs, ms
	// to keep the counter or 0, what the marker holds. The marker and what it
	// holds may be left out. Answers {1, ttl left in ms, -1, "", vote, time in µs},
	// {0, ttl left in ms, rank, owner, counter, time in µs}, or, of a token that
	// has a tombstone, {0, -2, -1, "", counter, time in µs}.
	Vote = backend.NewScript("vote", inbox+whole+enqueue+refuse+fence+vote, "c7642ace658d24911be3491abdc9d95530308a32")

	// Waiters looks at a queue. Keys: queue. Args: how many tickets at most.
	// Answers {number of waiters, first ticket, second ticket, …}.
	Waiters = backend.NewScript("waiters", waiters, "2022905b5120dd5b4e4a7ea76419c12c5a49383c")
)

// All is every script of this package.
var All = []*backend.Script{Acquire, Delete, Extend, Inspect, Mark, Prolong, Raise, Release, Rollback, Vote, Waiters}
