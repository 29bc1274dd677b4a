package attempt

import (
	"context"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// Standing is what the nodes have said about a lock that an attempt has not won.
type Standing struct {
	Rank     int           // the lowest rank of the ticket in the queue of a node; -1: it is in none
	Queued   int           // how many nodes will notify the caller
	QueuedOn []bool        // by node: whether it is one of these
	Foreign  int           // on how many nodes the ticket waits for an owner that notifies nobody
	Open     int           // how many nodes granted, or may have
	Owned    int           // on how many nodes the same owner holds the key, if some may have granted
	Crowded  bool          // others may sleep because of what was granted, or may have been
	Expiry   time.Duration // when a quorum of nodes is free if nobody releases; proto.Forever: unknown
}

// TakeBack takes back what an attempt was granted that has waited in a queue and not won.
// The ticket stays in the queues. votes is the result of its acquires.
//
// Other losers may have seen this attempt as the one owner, or as one of the readers that
// they took for one owner, and sleep because of it. If
// that is possible and notify is set, the next waiters are notified. foreign, which may be
// nil, reports whether a lock's value is from another library, whose holders notify
// nobody.
func (a *Attempt) TakeBack(votes []round.Vote, notify bool, foreign func(owner string) bool) Standing {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.takeBack(votes, notify, foreign, nil)
}

// TakeBackNow is [Attempt.TakeBack], but it waits until the nodes that granted have taken
// it back, for timeout at most, or until ctx ends. So what comes next is sent after that.
// gone says for each node whether its key is certainly not this attempt's.
func (a *Attempt) TakeBackNow(ctx context.Context, votes []round.Vote, notify bool, timeout time.Duration) (st Standing, gone []bool) {
	r := a.newRound(round.Releasing, time.Now())
	bell := round.NewBell(1)
	defer bell.Stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Bell, r.Every = &bell, true
	defer func() { r.Bell, r.Every = nil, false }()
	st, gone = a.takeBack(votes, notify, nil, r), make([]bool, len(votes))
	for {
		waits := false
		for i, v := range votes {
			gone[i] = v.Outcome == round.Taken || a.states[i].token == absent
			waits = waits || v.Outcome == round.Granted && !gone[i]
		}
		left := time.Until(r.Start.Add(timeout))
		if !waits || left <= 0 || ending.Err(ctx) != nil {
			return st, gone
		}
		bell.Set(left)
		a.mu.Unlock()
		bell.Wait(ctx, nil)
		a.mu.Lock()
	}
}

// takeBack takes back what was granted, in the round r, which may be nil.
func (a *Attempt) takeBack(votes []round.Vote, notify bool, foreign func(owner string) bool, r *round.Round) Standing {
	var (
		n    = len(a.states)
		need = a.nodes.Need()
		st   = Standing{Rank: -1, QueuedOn: make([]bool, n)}
		left = make([]time.Duration, 0, n)
	)
	for i, v := range votes {
		s := a.states[i]
		switch v.Outcome {
		case round.Taken:
			refusal := s.refused()
			left = append(left, refusal.Left)
			if s.ticketed {
				if refusal.Owner != "" && foreign != nil && foreign(refusal.Owner) {
					st.Foreign++
				}
				s.member.Queueing.Answered(refusal)
			}
			if refusal.Rank >= 0 {
				st.QueuedOn[i] = true
				if st.Rank < 0 || refusal.Rank < st.Rank {
					st.Rank = refusal.Rank
				}
			}
		case round.Granted:
			st.Open++
			left = append(left, 0)
			st.QueuedOn[i] = a.local != nil && a.local.Hears(i) && s.member.Queueing.Works()
		default:
			st.Open++
			left = append(left, proto.Forever)
		}
		if st.QueuedOn[i] {
			st.Queued++
		}
	}
	st.Crowded = st.Open > n-need || st.Open > 0 && a.besideReaders(votes)
	a.clean(request{kind: round.Releasing, stay: true, call: st.Crowded && notify, round: r}, time.Now())
	slices.Sort(left)
	if st.Expiry = left[need-1]; st.Expiry < proto.Forever {
		st.Expiry += time.Millisecond
	}
	if st.Open > 0 {
		st.Owned = a.majority(votes)
	}
	return st
}

// besideReaders reports whether a, in shared mode, was refused because others read. Then
// losers may have taken its shares and those of the others for one owner, although none of
// these readers has a quorum.
func (a *Attempt) besideReaders(votes []round.Vote) bool {
	for i, v := range votes {
		if a.shared != nil && v.Outcome == round.Taken && a.states[i].refused().Owner == proto.SharedValue {
			return true
		}
	}
	return false
}

// Notify notifies the next waiter on each node on which the lock is free. A node that has not
// yet taken back what it granted to a does so once more after that.
func (a *Attempt) Notify() {
	onward, now := request{kind: round.Releasing, onward: true}, time.Now()
	free := New(a.nodes, a.key, "") // it waits for nothing that a still has to do
	free.mu.Lock()
	free.clean(onward, now)
	free.mu.Unlock()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.states {
		if s.busy {
			s.clean(onward, now)
		}
	}
}

// Withdraw takes back what an attempt was granted whose acquires were in vain. The ticket
// stays in the queues.
func (a *Attempt) Withdraw() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clean(request{kind: round.Releasing, stay: true}, time.Now())
}
