package attempt

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// said returns what arrived from the process at node i.
func (p *process) said(i int) []string {
	var said []string
	for _, op := range p.fault[i].Arrived() {
		if op.Kind != faulty.OpSubscribe && !isEcho(op) {
			said = append(said, testnodes.Say(op))
		}
	}
	p.fault[i].Forget()
	return said
}

func (p *process) wantSaid(t *testing.T, what string, i int, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := p.said(i); !slices.Equal(got, want) {
		t.Errorf("%s: node %d got %q, want %q", what, i, got, want)
	}
}

// A set whose connection breaks goes again as a script, which must name the key also
// where the node does not let us use queues.
func TestResendWithoutQueue(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		p.set(faulty.On(scripts, denied))
		p.mustAcquire("other").release() // the node is known to deny queues
		p.set(faulty.On(sets, faulty.LoseRequest(nil)))
		a := p.mustAcquire("k")
		if n := w.holders("k", a.token); n != 1 {
			t.Errorf("%d nodes hold the lock that was granted, want 1; the keys are %q", n, w.mem[0].Keys())
		}
		p.set()
		a.release()
		synctest.Wait()
		w.empty()
	})
}

var scripts = faulty.Kind(backend.OpEval)

// An acquire does not overtake a deletion of its key that is under way; that of
// another key does.
func TestAcquireWaitsForTheDeletion(t *testing.T) {
	for _, m := range makes {
		t.Run(string(m), func(t *testing.T) {
			inWorldOf(t, 1, m, func(t *testing.T, w *world) {
				p := w.process(m)
				p.mustAcquire("warm").release()
				slow := faulty.Delay(100 * time.Millisecond)
				for _, end := range []struct {
					name   string
					inline bool
					fault  faulty.Fault
					after  time.Duration
				}{
					{"answered", false, slow, 100 * time.Millisecond},
					{"inline", true, slow, 100 * time.Millisecond},
					// It is sent once more, and that too comes first.
					{"broken", false, faulty.Chain(slow, faulty.First(1, faulty.LoseReply(nil))), 200 * time.Millisecond},
				} {
					a := p.mustAcquire("k")
					if !end.inline {
						p.set(faulty.On(sets, faulty.Delay(200*time.Millisecond)))
						go p.acquire(context.Background(), nil, "busy", p.w.token(), time.Second, timeout)
						// So nothing is inline.
						time.Sleep(senderStagger) // and another call may begin at once
					}
					p.set(faulty.On(deletes, end.fault))
					p.forget()
					start := time.Now()
					go a.release()
					synctest.Wait()
					time.Sleep(10 * time.Millisecond)
					other := p.mustAcquire("other")
					if took := time.Since(start); took != 10*time.Millisecond {
						t.Errorf("%s: another key was had after %v, want at once", end.name, took)
					}
					b := p.mustAcquire("k")
					if took := time.Since(start); took != end.after {
						t.Errorf("%s: the key was had after %v, want after %v, when the deletion had come back: %q", end.name, took, end.after, p.arrived(0))
					}
					p.set()
					b.release()
					other.release()
					time.Sleep(time.Second)
					synctest.Wait()
				}
			})
		})
	}
}

// An acquire that waits for a deletion fails with it if the node hangs, and goes
// when the connection breaks.
func TestParkedWhenTheCallEnds(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault faulty.Fault
		want  round.Verdict
		after time.Duration
	}{
		{"times out", faulty.Hang(), round.Unavailable, timeout},
		{"breaks", faulty.First(1, faulty.Chain(faulty.Delay(50*time.Millisecond), broken)), round.Won, 40 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 1, full, func(t *testing.T, w *world) {
				p := w.process(full)
				a := p.mustAcquire("k") // the lane has made no call of its own, so nothing is inline
				w.mem[0].Flush()
				p.set(faulty.On(deletes, tc.fault))
				a.Abandon()
				synctest.Wait()
				time.Sleep(10 * time.Millisecond)
				b, res := p.acquire(context.Background(), nil, "k", w.token(), time.Second, timeout)
				expect(t, res, "the acquire", tc.want, tc.after)
				if tc.want == round.Won {
					b.release()
				} else if !errors.Is(res.Votes[0].Err, context.DeadlineExceeded) {
					t.Errorf("the node's error is %v, want a time-out", res.Votes[0].Err)
				}
				l := p.Members[0]
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if parked := l.Sender.Load().Parked; parked != 0 {
					t.Errorf("%d acquires are parked", parked)
				}
				p.set()
			})
		})
	}
}
