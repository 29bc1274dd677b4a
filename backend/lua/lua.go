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
	_ "embed"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// MaxGrace is for how long a script reserves a lock at most, whatever the ticket says.
const MaxGrace = time.Second

// The scripts.
var (
	//go:embed acquire.lua
	acquire string
	//go:embed delete.lua
	deleteIfHeld string
	//go:embed echo.lua
	echo string
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
)

// What goes before some of them, in this order.
var (
	//go:embed quickrelease.lua
	quickRelease string
	//go:embed quickvote.lua
	quickVote string
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
	//go:embed clock.lua
	clock string
	//go:embed number.lua
	number string
	//go:embed fence.lua
	fence string
	//go:embed marker.lua
	marker string
	//go:embed quarantine.lua
	quarantine string
)

var (
	// Acquire takes a lock, or finds that the same token has it already; a
	// waiter that is refused queues. Keys: lock, queue, marker. Args: token, ttl in
	// ms, ticket, ms waited, ms of quarantine. The keys after the lock, and what
	// follows the ttl, may be left out; of one who does not wait the queue may be any
	// key. Answers {1, ttl left in ms} or {0, ttl left in ms, rank, owner}, and, if a
	// command failed because of which the ticket is not queued, its error.
	Acquire = backend.NewScript("acquire", inbox+whole+enqueue+refuse+clock+number+marker+quarantine+acquire, "0236a61e410f0b7cb9376e2e1372a82e366506e0").Shares(2)

	// Delete is Node.EvalDelete. Keys: lock. Args: token. Answers 1 or 0.
	Delete = backend.NewScript("delete", deleteIfHeld, "7c5c3441344b8a67c9523e6c8e7853bcadf49885")

	// Echo publishes to the sender's own inbox, to show whether notifications arrive. Keys: a
	// lock. Args: channel, payload. Answers 1 or 0: whether the channel has a subscriber.
	Echo = backend.NewScript("echo", echo, "c770e769d07ae2cb6a50981abfd6fa89f24facf5")

	// Extend is Node.Extend. Keys: lock. Args: token, ttl in ms. Answers 1 or 0.
	Extend = backend.NewScript("extend", lengthen+extend, "116584fd390e1c2f499e398300cad8c07028b962")

	// Inspect looks at a lock and at its queue. Keys: lock, queue. Args: the number of
	// tickets to answer at most. Without the queue and the argument it looks at the lock
	// alone. Answers {1 if the lock is held or else 0, value, ttl in ms or -1}; if a queue
	// was given, the number of its tickets, -1 if the user may not look at it, and each
	// of the first tickets with the ms that its waiter has waited, or -1.
	Inspect = backend.NewScript("inspect", inspect, "b1945406a823297b61a7e31086f163bd9e81ea6b")

	// Mark says that a server has lost nothing, so that it votes at once. Keys:
	// marker. Answers 1.
	Mark = backend.NewScript("mark", marker+mark, "fd736a01cd5b1d3c984bfa901492c12b05df15c4")

	// Prolong extends a lock and the life of its counter, which it makes good if
	// need be. Keys: lock, counter. Args: token, ttl in ms, fencing token, ms to
	// keep the counter or 0. Answers 1 or 0.
	Prolong = backend.NewScript("prolong", whole+lengthen+clock+number+fence+prolong, "8ada05398636ad0280e0cedbf960e89fc6c5e433")

	// Raise moves the vote of a token up to a value. Keys: lock, counter, marker.
	// Args: token, value, ms to keep the counter or 0, ms of quarantine. The marker
	// and the last argument may be left out. Answers 1 or 0.
	Raise = backend.NewScript("raise", whole+clock+number+fence+marker+quarantine+raise, "8a5cb1faa0d11cf6f2b850bc310154cb76d0002f").Shares(2)

	// Release releases a lock, or gives up waiting for it, and calls the next
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, channel, ms that
	// the tombstone stands; each of the first three may be empty, and the last
	// ones left out, which a server thanks for. Answers 1 or 0; {1 or 0, the error
	// that kept it from notifying}; or {1 or 0, "", 1} if it has removed many tickets of
	// the dead and there may be more: then send it again, without a token.
	Release = backend.NewScript("release", quickRelease+inbox+whole+call+bury+release, "9d47a22279fedd53e2fb01b835b4423996217712")

	// Rollback takes back what a failed attempt was granted, and queues its
	// waiter. Keys: lock, queue, tombstone. Args: token, ticket, ms waited, "1"
	// to call the next waiter or "0", ms that the tombstone stands. The tombstone
	// and its time may be left out. Answers as Release does.
	Rollback = backend.NewScript("rollback", inbox+whole+enqueue+call+bury+rollback, "ae32e792aa33b148d37485d292889498931a3315")

	// Vote is Acquire with a vote for a fencing token. Keys: lock, counter, tombstone,
	// queue, marker. Args: token, ttl in ms, hint in µs, ms to keep the counter or 0,
	// ticket, ms waited, ms of quarantine. The keys after the tombstone, and what
	// follows the fourth argument, may be left out; of one who does not wait the queue
	// may be any key. Answers {time in µs}, or the middle of that millisecond, for a vote
	// for the hint, {1, vote, time in µs} for another, {0, counter, time in µs, ttl left
	// in ms, rank, owner}, or, of a token that has a tombstone, {0, counter, time in µs,
	// -2, -1, ""}.
	Vote = backend.NewScript("vote", quickVote+inbox+whole+enqueue+refuse+clock+number+fence+marker+quarantine+vote, "b76c738149bad0ba74794f5bd1bc03da70e944e2").Shares(4)
)

// All is every script of this package.
var All = []*backend.Script{Acquire, Delete, Echo, Extend, Inspect, Mark, Prolong, Raise, Release, Rollback, Vote}
