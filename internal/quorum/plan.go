package quorum

import (
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
)

// plan takes back what a was granted, and decides how long to wait. verdict and votes are
// the result of its acquires.
func (w *waiter) plan(a *attempt.Attempt, verdict round.Verdict, votes []round.Vote) {
	g := w.local.group
	spare := g.Size() - g.Need()
	// Other losers may have seen this waiter as the one owner, and sleep because of it.
	// So it notifies them, at most maxNotifies times. After that it is enough not to sleep.
	call := w.stirs < maxNotifies
	st := a.TakeBack(votes, call, g.foreign)
	if st.Crowded && call {
		w.stirs++
	}
	w.poll(st.Queued <= spare || verdict == round.Unavailable)
	if w.polls {
		return
	}
	if st.Open > 0 && st.Owned <= spare || st.Crowded && !call {
		w.awake(st.Expiry)
		return
	}
	w.sleep(st, st.Expiry)
}

// awake makes w try again soon, less soon each time, and at the latest when the leases have
// ended that are in the way.
func (w *waiter) awake(expiry time.Duration) {
	w.due = time.Now().Add(min(splitPause(w.local.group.Near(), w.splits), expiry))
	w.splits++
}

// sleep makes w wait until it is notified, or until the leases have ended that are in the
// way. It looks now and then.
func (w *waiter) sleep(st attempt.Standing, expiry time.Duration) {
	g := w.local.group
	w.splits = 0
	rank := max(st.Rank, 0)
	w.expect(rank == 0)
	look := attempt.LookAgain
	if st.Foreign > g.Size()-g.Need() {
		look = lookForeign
	}
	pause := time.Duration(min(1+rank, lookRarely)) * look
	pause += rand.N(pause/2) - pause/4
	pause = min(pause, expiry)
	w.due = time.Now().Add(pause + stagger(rank))
}

// stagger returns how much later than the first in the queue a waiter with that rank
// looks. At the longest delays it is random, so that not all look at once.
func stagger(rank int) time.Duration {
	if rank > int(maxStagger/minGrace) {
		return maxStagger/2 + rand.N(maxStagger/2)
	}
	return time.Duration(rank) * minGrace
}

// splitPause returns how long to pause after a split vote that followed so many others.
// It is a random time of up to two round trips at first. The limit doubles each time.
func splitPause(trip time.Duration, splits int) time.Duration {
	first := 2 * max(trip, time.Microsecond)
	return rand.N(min(first<<min(splits, 20), max(first, maxSplitPause))) + 1
}
