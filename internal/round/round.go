package round

import "time"

// Kind is what a round asks the nodes to do.
type Kind uint8

const (
	Acquiring Kind = iota + 1
	Raising        // raise votes for a fencing token
	Extending
	Releasing
)

// A Round is one question to all nodes, and the count of their answers. The mutex of its
// attempt guards it.
type Round struct {
	Kind    Kind
	All     bool // the verdict waits for every node
	Every   bool // the bell is rung at every vote, and votes decide only a win
	Verdict Verdict
	Place   int32 // identifies the round if one goroutine waits for several
	Need    int
	Start   time.Time
	Votes   []Vote
	took    time.Duration // until the verdict
	Bell    *Bell         // rung at the verdict; nil: nobody waits
}

// Count counts the answer of node i, unless there is a verdict. An answer may replace an
// earlier one, if a deletion failed and is repeated.
func (r *Round) Count(i int, v Vote, now time.Time) {
	if r == nil || r.Verdict != Undecided {
		return
	}
	v.Latency, v.Rejoined = now.Sub(r.Start), r.Votes[i].Rejoined && v.Outcome != NotHeld
	r.Votes[i] = v
	verdict := r.judge(false)
	if r.Every {
		r.Bell.ring(int(r.Place))
		if verdict != Won {
			return
		}
	}
	r.Decide(verdict, now)
}

func (r *Round) Decide(v Verdict, now time.Time) {
	if r.Verdict == Undecided && v != Undecided {
		r.Verdict, r.took = v, now.Sub(r.Start)
		r.Bell.ring(int(r.Place))
	}
}

// Expire counts the nodes that have not answered as timed out, and decides. late returns
// the error of node i.
func (r *Round) Expire(late func(i int) error) {
	if r.Verdict != Undecided {
		return
	}
	now := time.Now()
	for i := range r.Votes {
		if v := &r.Votes[i]; v.Outcome == Pending {
			v.Outcome, v.Latency, v.Err = TimedOut, now.Sub(r.Start), late(i)
		}
	}
	r.Decide(r.judge(true), now)
}

// Cut ends an undecided round because the caller's context has ended. Nodes that have not
// answered stay Pending, with the time for which the round waited for them.
func (r *Round) Cut() {
	if r.Verdict != Undecided {
		return
	}
	now := time.Now()
	for i := range r.Votes {
		if v := &r.Votes[i]; v.Outcome == Pending {
			v.Latency = max(now.Sub(r.Start), 1)
		}
	}
	r.Decide(r.judge(true), now)
}

// Result returns the Result of a decided round. ctxErr is the error of the context that
// ended it, or nil.
func (r *Round) Result(ctxErr error) Result {
	return Result{Verdict: r.Verdict, Votes: r.Votes, Elapsed: r.took, CtxErr: ctxErr}
}

// judge returns the verdict once no missing answer can change it. With final, no more
// answers come.
func (r *Round) judge(final bool) Verdict {
	var n [Quarantined + 1]int
	free := 0 // nodes known not to hold the token, now and later
	for _, v := range r.Votes {
		n[v.Outcome]++
		if v.Outcome == Skipped || v.Err == nil && (v.Outcome == NotHeld || v.Outcome == Granted) {
			free++
		}
	}
	if final {
		n[TimedOut] += n[Pending]
		n[Pending] = 0
		if r.Kind == Acquiring || r.Kind == Raising { // it will not be asked any more
			n[Failed] += n[Skipped]
		}
	}
	all, pending := len(r.Votes), n[Pending]
	if r.All && pending > 0 {
		return Undecided
	}
	spare := all - r.Need // how many nodes may fail
	if n[Granted] >= r.Need {
		return Won
	}
	if r.Kind == Acquiring || r.Kind == Raising {
		switch failed := n[Failed] + n[TimedOut] + n[Quarantined]; {
		case failed > spare:
			return Unavailable
		case failed+n[Taken] > spare:
			return Lost
		}
		return Undecided
	}
	// A skipped node never had the token, or has lost it. So it was not part of a quorum
	// to the end, just like a node that does not hold the token. It is free.
	without := n[NotHeld] + n[Skipped]
	us := n[Granted]
	if r.Kind == Releasing {
		us = free // it does not matter who deleted it
	}
	switch {
	case without > spare:
		return Gone
	case without+pending > spare:
		return Undecided
	case us >= r.Need:
		return Won
	case us+pending >= r.Need:
		return Undecided
	}
	return Unavailable
}
