package quorum

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// say writes an operation as it is meant: its name and its arguments but for the
// times, with "ticket" for any ticket.
func say(op backend.Op) string {
	if op.Kind != backend.OpEval {
		return word(op) + " " + op.Token
	}
	words := []string{op.Script.Name()}
	for i, arg := range op.Args {
		timed := op.Script == lua.Acquire && (i == 1 || i == 3) || op.Script == lua.Rollback && i == 2
		switch {
		case timed:
		case arg == "":
			words = append(words, "-")
		case strings.Contains(arg, "inbox"):
			words = append(words, "ticket")
		default:
			words = append(words, arg)
		}
	}
	for words[len(words)-1] == "-" {
		words = words[:len(words)-1]
	}
	return strings.Join(words, " ")
}

// said returns what arrived from the process at node i.
func (p *process) said(i int) []string {
	var said []string
	for _, op := range p.fault[i].Arrived() {
		if op.Kind != faulty.OpSubscribe && !isEcho(op) {
			said = append(said, say(op))
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

// Which operation is sent: plain ones where nobody waits, scripts for releases and
// for waiters, plain ones again on nodes that cannot.
func TestOperations(t *testing.T) {
	for _, m := range makes {
		t.Run(string(m), func(t *testing.T) {
			inWorldOf(t, 1, m, func(t *testing.T, w *world) {
				p, other := w.process(m), w.process(full)
				release := func(args string) string {
					if m == bare {
						return "delete " + strings.Fields(args)[0]
					}
					return "release " + args
				}
				waits := func(token string) string {
					if m == full {
						return "acquire " + token + " ticket"
					}
					return "set " + token
				}

				a := p.mustAcquire("k") // t1
				p.wantSaid(t, "a try that wins", 0, "set t1")
				a.extend()
				p.wantSaid(t, "an extension", 0, "extend t1")
				a.release()
				p.wantSaid(t, "a release of one who has not waited", 0, release("t1"))

				held := other.mustAcquire("k") // t2
				if _, res := p.Acquire(context.Background(), "k", w.token(), ttl, timeout); res.Verdict != Lost {
					t.Fatal(res)
				}
				p.wantSaid(t, "a try that loses", 0, "set t3")
				waiter := p.mustJoin("k")
				p.lose(waiter) // t4
				p.wantSaid(t, "a waiter's try that loses", 0, waits("t4"))
				p.lose(waiter)
				p.wantSaid(t, "another", 0, waits("t5"))
				held.release()
				a = p.win(waiter)
				p.wantSaid(t, "a waiter's try that wins", 0, waits("t6"))
				a.release()
				if m == full {
					p.wantSaid(t, "the release of one who has waited", 0, "release t6 ticket")
				} else {
					p.wantSaid(t, "the release of one who has polled", 0, release("t6"))
				}

				held = other.mustAcquire("k")
				waiter = p.mustJoin("k")
				p.lose(waiter)
				p.said(0)
				waiter.Leave()
				if m == full {
					p.wantSaid(t, "giving up", 0, "release t8 ticket")
				} else {
					p.wantSaid(t, "giving up polling", 0)
				}
				held.release()
			})
		})
	}
}

// What an attempt was granted that has lost is rolled back, with a call only if it
// had so many nodes that others may have gone to sleep because of it.
func TestRollback(t *testing.T) {
	for _, tc := range []struct {
		n, taken int // nodes, and on how many of them another stands
		call     string
	}{
		{3, 2, "0"}, {5, 3, "0"}, {5, 4, "0"}, {2, 1, "1"}, {4, 3, "0"}, {4, 2, "1"},
	} {
		inWorldOf(t, tc.n, full, func(t *testing.T, w *world) {
			for i := range tc.taken {
				w.mem[i].Set("k", "foreign", time.Second)
			}
			p := w.process(full)
			waiter := p.mustJoin("k")
			p.lose(waiter)
			for i := range tc.n {
				want := []string{"acquire t1 ticket"}
				if i >= tc.taken {
					want = append(want, "rollback t1 ticket "+tc.call)
				}
				p.wantSaid(t, "the rollback", i, want...)
			}
			for i := range tc.n {
				if n := len(w.queue(i, "k")); n != 1 {
					t.Errorf("%d tickets are queued on node %d, want 1", n, i)
				}
			}
			waiter.Leave()
		})
	}
}

// A release of an older attempt does not name the ticket once a newer one has
// asked: it would take the newer one's place away.
func TestNewestSpeaksForTheTicket(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		w.mem[0].Set("k", "foreign", 20*time.Millisecond)
		first := p.mustJoin("k")
		p.lose(first)
		time.Sleep(30 * time.Millisecond)
		a := p.win(first) // t2
		second := p.mustJoin("k")
		p.lose(second)
		p.said(0)
		a.release()
		p.wantSaid(t, "the release of the older", 0, "release t2")
		if got := w.value(0, "k"); got != "~"+p.ticket() {
			t.Errorf("the lock is %q, want it to be reserved for the newer one", got)
		}
		b := p.win(second)
		p.said(0)
		b.release()
		p.wantSaid(t, "the release of the newer", 0, "release t4 ticket")
		synctest.Wait()
		w.empty()
	})
}

// Of a key that can have no queue, the plain operations are used.
func TestOddKeysPoll(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full)
		w.mem[0].Set("a}b", "foreign", 50*time.Millisecond)
		waiter := p.mustJoin("a}b")
		p.lose(waiter)
		p.wantSaid(t, "a try", 0, "set t1")
		start := time.Now()
		if err := waiter.Wait(context.Background(), 10*time.Millisecond, 0); err != nil || time.Since(start) != 10*time.Millisecond {
			t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
		}
		waiter.Leave()
		time.Sleep(time.Second)
		p.mustAcquire("a}b").release()
		p.wantSaid(t, "a pair", 0, "set t2", "delete t2")
	})
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
						go p.Acquire(context.Background(), "busy", p.w.token(), time.Second, timeout)
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
		want  Verdict
		after time.Duration
	}{
		{"times out", faulty.Hang(), Unavailable, timeout},
		{"breaks", faulty.First(1, faulty.Chain(faulty.Delay(50*time.Millisecond), broken)), Won, 40 * time.Millisecond},
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
				b, res := p.Acquire(context.Background(), "k", w.token(), time.Second, timeout)
				res.want(t, "the acquire", tc.want, tc.after)
				if tc.want == Won {
					b.release()
				} else if !errors.Is(res.Votes[0].Err, context.DeadlineExceeded) {
					t.Errorf("the node's error is %v, want a time-out", res.Votes[0].Err)
				}
				l := p.members[0]
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if parked := l.sender.Load().Parked; parked != 0 {
					t.Errorf("%d acquires are parked", parked)
				}
				p.set()
			})
		})
	}
}
