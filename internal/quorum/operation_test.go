package quorum

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// Which operation is sent: plain ones where nobody waits, scripts for releases and
// for waiters, plain ones again on nodes that cannot.
func TestOperations(t *testing.T) {
	for _, m := range makes {
		t.Run(string(m), func(t *testing.T) {
			inWorldOf(t, 1, m, func(t *testing.T, w *world) {
				p, other := w.process(m), w.process(full)
				released := func(args string) string {
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
				extend(a)
				p.wantSaid(t, "an extension", 0, "extend t1")
				release(a)
				p.wantSaid(t, "a release of one who has not waited", 0, released("t1"))

				held := other.mustAcquire("k") // t2
				if _, res := p.acquire(context.Background(), nil, "k", w.token(), ttl, timeout); res.Verdict != round.Lost {
					t.Fatal(res)
				}
				p.wantSaid(t, "a try that loses", 0, "set t3")
				waiter := p.mustJoin("k")
				p.lose(waiter) // t4
				p.wantSaid(t, "a waiter's try that loses", 0, waits("t4"))
				p.lose(waiter)
				p.wantSaid(t, "another", 0, waits("t5"))
				release(held)
				a = p.win(waiter)
				p.wantSaid(t, "a waiter's try that wins", 0, waits("t6"))
				release(a)
				if m == full {
					p.wantSaid(t, "the release of one who has waited", 0, "release t6 ticket")
				} else {
					p.wantSaid(t, "the release of one who has polled", 0, released("t6"))
				}

				held = other.mustAcquire("k")
				waiter = p.mustJoin("k")
				p.lose(waiter)
				p.said(0)
				waiter.leave()
				if m == full {
					p.wantSaid(t, "giving up", 0, "release t8 ticket")
				} else {
					p.wantSaid(t, "giving up polling", 0)
				}
				release(held)
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
			waiter.leave()
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
		release(a)
		p.wantSaid(t, "the release of the older", 0, "release t2")
		if got := w.value(0, "k"); got != "~"+p.ticket() {
			t.Errorf("the lock is %q, want it to be reserved for the newer one", got)
		}
		b := p.win(second)
		p.said(0)
		release(b)
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
		if err := waiter.wait(context.Background(), 10*time.Millisecond, 0); err != nil || time.Since(start) != 10*time.Millisecond {
			t.Errorf("it waited for %v, %v, want for the poll", time.Since(start), err)
		}
		waiter.leave()
		time.Sleep(time.Second)
		release(p.mustAcquire("a}b"))
		p.wantSaid(t, "a pair", 0, "set t2", "delete t2")
	})
}

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
