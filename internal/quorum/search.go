package quorum

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// search is plan for a lock with slots: it takes back what a was granted, looks for
// another slot, and decides how long to wait. verdict and votes are the result of the
// acquires of a.
//
// w may sleep only if each slot is blocked: taken on so many nodes that nobody else can
// have it, in whose queues w is. The survey that shows it must be sent after w was queued
// and has taken back its grants. docs/waiting.md says why.
func (w *waiter) search(ctx context.Context, a *attempt.Attempt, verdict round.Verdict, votes []round.Vote, timeout time.Duration) {
	q, g := w.local, w.local.group
	call := w.stirs < maxNotifies
	st, gone := a.TakeBackNow(ctx, votes, call, timeout)
	if st.Crowded && call {
		w.stirs++
	}
	if st.Open > 0 {
		q.owe(a)
	}
	survey, _ := inspect.Slots(ctx, g, q.key, w.slots.n, q.Ticket(), timeout)
	w.poll(st.Queued <= g.Size()-g.Need() || verdict == round.Unavailable || survey.Size() == 0)
	free := survey.Free(g.Need())
	if len(free) > 0 {
		w.want = free[rand.IntN(len(free))]
		if w.splits < maxPicks && verdict == round.Lost { // nodes that fail may say that it is free
			w.splits++
			w.lookNow()
			return
		}
	}
	if w.polls {
		w.splits = 0
		return
	}
	open, expiry := w.judgeSlots(survey, st, gone)
	if len(open) > 0 {
		if w.want == 0 {
			w.want = open[rand.IntN(len(open))]
		}
		w.awake(expiry)
		return
	}
	q.clearDebts(w.slots.n)
	w.sleep(st, expiry)
}

// judgeSlots returns the slots that are not blocked, and when the first slot is free if
// nobody releases. gone says on which nodes the slot of the last attempt is not its own.
func (w *waiter) judgeSlots(survey inspect.Survey, st attempt.Standing, gone []bool) (open []int, expiry time.Duration) {
	g := w.local.group
	expiry = proto.Forever
	left := make([]time.Duration, g.Size())
	for slot := 1; slot <= survey.Size(); slot++ {
		blocked := 0
		for i, taken := range survey {
			switch {
			case taken == nil:
				left[i] = proto.Forever
			case taken[slot-1] == proto.Free || slot == w.slot && !gone[i]:
				left[i] = 0
			default:
				left[i] = taken[slot-1]
				if st.QueuedOn[i] {
					blocked++
				}
			}
		}
		if blocked <= g.Size()-g.Need() {
			open = append(open, slot)
		}
		slices.Sort(left)
		if free := left[g.Need()-1]; free < proto.Forever {
			expiry = min(expiry, free+time.Millisecond)
		}
	}
	return open, expiry
}

// lookNow makes w try again as soon as the budget allows.
func (w *waiter) lookNow() {
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	w.look = time.Now()
}
