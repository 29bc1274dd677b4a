package attempt

import (
	"context"

	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// alone handles the requests of different attempts, one each, for a group of one node, and
// reports whether it did. The requests are of one kind, with one timeout, and their rounds
// have begun at the same time.
//
// If the sender is idle, one call for all of them runs in the caller's goroutine, which
// saves two goroutine switches. Its deadline is then the node timeout. If ctx would end
// before that, the sender makes the call instead: its deadline is late enough to learn what
// the call has done, although the caller no longer waits for it.
func (ns *Nodes) alone(ctx context.Context, attempts []*Attempt, requests []request) bool {
	if len(ns.Members) != 1 || len(requests) == 0 {
		return false
	}
	timeout, start := requests[0].timeout, requests[0].round.Start
	if ending.Within(ctx, timeout, start) {
		return false
	}
	member := ns.Members[0].Of(attempts[0].key)
	for _, a := range attempts[1:] {
		if ns.Members[0].Of(a.key) != member {
			return false // a call can be about one part of the node only
		}
	}
	if !member.Sender.Claim(len(attempts), start) {
		return false
	}
	var room [8]*sender.Item
	items := room[:0]
	for i, a := range attempts {
		if it := a.prepare(requests[i]); it != nil {
			items = append(items, it)
		}
	}
	if ctx == context.Background() { // it cannot end, so calls can share another context
		ctx = ns.shared.Context(timeout, start)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	member.Sender.Make(ctx, items, start)
	return true
}

// prepare begins req on the only node, and returns the item that the caller has to send
// for it, or nil.
func (a *Attempt) prepare(req request) *sender.Item {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.states == nil || a.states[0].busy { // another request comes first
		a.start(req)
		return nil
	}
	s := a.states[0]
	if req.kind == round.Releasing {
		s.track(req)
	}
	if !s.prepare(req, req.round.Start) {
		s.rest()
		return nil
	}
	return &s.item
}
