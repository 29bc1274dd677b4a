package quorum

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/attempt"
)

// A process has a writer and a reader that wait, and the release reaches one node late. The writer
// gets that node too, and nobody takes the notification for a false one.
func TestLateNotificationBesideAReader(t *testing.T) {
	const ms = time.Millisecond
	for _, reader := range []bool{false, true} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			other, p := w.process(full).distant(2*ms), w.process(full).distant(2*ms)
			for range 6 {
				other.fault[2].Set(faulty.Delay(ms), faulty.DelayReply(ms))
				held := other.mustAcquire("k")
				synctest.Wait()
				time.Sleep(20 * ms)
				got := make(chan *attempt.Attempt)
				go func() { a, _ := p.lock(context.Background(), "k"); got <- a }()
				time.Sleep(20 * ms)
				var r readings
				if reader {
					r.begin(p, "k")
				}
				time.Sleep(20 * ms)
				other.fault[2].Set(faulty.On(deletes, faulty.Delay(15*ms)), faulty.DelayReply(ms))
				go release(held)
				a := <-got
				time.Sleep(60 * ms)
				if n := w.holders("k", a.Token()); n != 3 {
					t.Errorf("a reader waits: %v: the writer has %d nodes, want 3", reader, n)
				}
				for i, m := range p.Members {
					if m.Rumours.Doubted() {
						t.Errorf("a reader waits: %v: node %d is doubted", reader, i)
					}
				}
				release(a)
				r.all.Wait()
				r.release()
				time.Sleep(100 * ms)
			}
		})
	}
}

// A process whose callers have read sends nothing more for an exclusive lock than one whose callers
// have not.
func TestExclusiveLockAfterReading(t *testing.T) {
	const ms = time.Millisecond
	var sent [2][]string
	for i, reads := range []bool{false, true} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			other, p := w.process(full).distant(2*ms), w.process(full).distant(2*ms)
			if reads {
				h := other.mustAcquire("elsewhere")
				var r readings
				r.begin(p, "elsewhere")
				time.Sleep(50 * ms)
				release(h)
				r.all.Wait()
				r.release()
				time.Sleep(50 * ms)
			}
			held := other.mustAcquire("k")
			synctest.Wait()
			got := make(chan *attempt.Attempt)
			go func() { a, _ := p.lock(context.Background(), "k"); got <- a }()
			time.Sleep(40 * ms)
			other.fault[2].Set(faulty.On(deletes, faulty.Delay(15*ms)), faulty.DelayReply(ms))
			p.forget()
			go release(held)
			a := <-got
			time.Sleep(60 * ms)
			for _, op := range p.fault[2].Arrived() {
				if op.Script != nil {
					sent[i] = append(sent[i], op.Script.Name())
				}
			}
			release(a)
			time.Sleep(60 * ms)
		})
	}
	if !slices.Equal(sent[0], sent[1]) || len(sent[0]) == 0 {
		t.Errorf("sent %q, and %q after reading something else", sent[0], sent[1])
	}
}
