package quorum

import (
	"testing"
	"testing/synctest"
	"time"
)

// A notification that finds no waiter, and is passed on only after a caller has joined and
// won, leaves that caller its lock.
func TestPassSparesTheHolder(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			p, holder := w.process(full), w.process(full)
			held := holder.mustAcquire("k")
			first := p.mustJoin("k")
			p.lose(first)
			in := p.locals.inbox
			first.leave() // a notification for it arrives now; no waiter: notified will pass it on
			release(held)
			synctest.Wait() // on all nodes, so that none refuses second
			second := p.mustJoin("k")
			a := p.win(second)
			synctest.Wait() // a node beyond the quorum may still have to grant it
			before := w.holders("k", a.Token())
			p.pass(0, "k", "k", in)
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
			if after := w.holders("k", a.Token()); before != n || after != n {
				t.Errorf("%d nodes: the holder has %d nodes before, %d after", n, before, after)
			}
			release(a)
		})
	}
}
