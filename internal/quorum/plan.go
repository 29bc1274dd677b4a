package quorum

import (
	"math/rand/v2"
	"slices"
	"time"
)

// plan takes back what a was granted, and decides how long to wait. verdict and votes are
// the result of its acquires.
func (w *Waiter) plan(a *Attempt, verdict Verdict, votes []Vote) {
	g := w.local.group
	a.mu.Lock()
	defer a.mu.Unlock()
	var (
		n       = len(a.states)
		spare   = n - g.need
		open    = 0  // nodes that granted, or may have
		queued  = 0  // nodes that will notify w
		rank    = -1 // the lowest
		foreign = 0  // nodes on which another library has the lock
		left    = make([]time.Duration, 0, n)
	)
	const never = time.Duration(1) << 62
	for i, v := range votes {
		s := a.states[i]
		switch v.Outcome {
		case Taken:
			left = append(left, s.refusal.Left)
			if s.ticketed {
				if s.refusal.Owner != "" && g.cfg.Foreign != nil && g.cfg.Foreign(s.refusal.Owner) {
					foreign++
				}
				s.member.queueing.answered(s.refusal)
			}
			if s.refusal.Rank >= 0 {
				queued++
				if rank < 0 || s.refusal.Rank < rank {
					rank = s.refusal.Rank
				}
			}
		case Granted:
			open++
			left = append(left, 0)
			if a.inbox != nil && a.inbox.hears(i) && s.member.queueing.works() {
				queued++
			}
		default:
			open++
			left = append(left, never)
		}
	}
	// Other losers may have seen this waiter as the one owner, and sleep because of it.
	// So it notifies them, at most maxStirs times. After that it is enough not to sleep.
	crowded := open > spare
	call := crowded && w.stirs < maxNotifies
	if call {
		w.stirs++
	}
	a.clean(request{kind: releasing, stay: true, call: call}, time.Now())

	w.poll(queued <= spare || verdict == Unavailable)
	if w.polls {
		return
	}
	slices.Sort(left)
	expiry := left[g.need-1]
	if expiry < never {
		expiry += time.Millisecond
	}
	if open > 0 && a.majority(votes) <= spare || crowded && !call {
		w.due = time.Now().Add(min(splitPause(g.near(), w.splits), expiry))
		w.splits++
		return
	}
	w.splits = 0
	rank = max(rank, 0)
	w.expect(rank == 0)
	look := lookAgain
	if foreign > spare {
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
