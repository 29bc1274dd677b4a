package attempt

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

func acquires(op backend.Op) bool { return word(op) == "set" || word(op) == "acquire" }

// mustExtend extends a lock, waits for whatever follows in the background, and returns
// which nodes were found to have the token again.
func (a *Attempt) mustExtend(t *testing.T, what string) (rejoined []int) {
	t.Helper()
	res := a.extend()
	expect(t, res, what, round.Won, 0)
	synctest.Wait()
	for i, v := range res.Votes {
		if v.Rejoined {
			rejoined = append(rejoined, i)
		}
	}
	return rejoined
}

// A lock that is extended between them outlives restarts of all nodes, one after the
// other, twice around. In the end it is on all nodes.
func TestRejoinOutlivesRestarts(t *testing.T) {
	for _, n := range []int{3, 5} {
		inWorld(t, n, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			for round := range 2 {
				for i := range n {
					w.mem[i].Flush()
					a.mustExtend(t, fmt.Sprintf("round %d: node %d was emptied", round, i))
					if got := w.holders("k", a.token); got != n {
						t.Errorf("round %d, node %d: %d nodes have the token after the extension, want %d", round, i, got, n)
					}
					a.mustExtend(t, "the next extension")
				}
			}
			expect(t, a.release(), "release", round.Won, 0)
			synctest.Wait()
			w.empty()
		})
	}
}

// The first extension that finds the token on a node again says so, the next one does
// not. No more is sent than one acquire.
func TestRejoinIsReported(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[1].Flush()
		for i, want := range [][]int{nil, {1}, nil} {
			if got := a.mustExtend(t, "extend"); !slices.Equal(got, want) {
				t.Errorf("extension %d: %v were found to have the token again, want %v", i, got, want)
			}
		}
		if got, want := w.arrived(1), []string{"set", "extend", "acquire", "extend", "extend"}; !slices.Equal(got, want) {
			t.Errorf("node 1 got %q, want %q", got, want)
		}
		a.release()
	})
}

// A node that did not answer for longer than the TTL has lost the token, and gets it again.
// So does one that was down when the lock was acquired, and one of which a set was sent
// that was lost, once that cannot arrive any more.
func TestRejoinAfterOutage(t *testing.T) {
	for name, acquire := range map[string]func(w *world) *Attempt{
		"held, then hung": func(w *world) *Attempt {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.fault[2].Set(faulty.Hang())
			return a
		},
		"down from the start": func(w *world) *Attempt {
			w.fault[2].Set(faulty.Refuse(nil))
			return w.mustAcquire("k")
		},
		"hung from the start": func(w *world) *Attempt {
			w.fault[2].Set(faulty.Hang())
			return w.mustAcquire("k")
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				a := acquire(w)
				for range 8 {
					time.Sleep(ttl / 3)
					a.mustExtend(t, "meanwhile")
				}
				w.fault[2].Clear()
				for i := 0; w.holders("k", a.token) < 3; i++ {
					if i == 3 {
						t.Fatal("after three extensions the node has not got the token")
					}
					time.Sleep(ttl / 3)
					a.mustExtend(t, "after the outage")
				}
				a.mustExtend(t, "with all nodes")
				w.mem[0].Flush()
				a.mustExtend(t, "another node was emptied")
				expect(t, a.release(), "release", round.Won, 0)
				synctest.Wait()
				w.empty()
			})
		})
	}
}

// Nothing is asked for after an extension that was not won, after one that found the
// lock gone, or when the release has begun.
func TestRejoinNeedsAWonExtension(t *testing.T) {
	t.Run("unavailable", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.mem[1].Flush()
			w.fault[2].Set(faulty.Refuse(nil))
			expect(t, a.extend(), "extend", round.Unavailable, 0)
			synctest.Wait()
			w.empty(1)
			w.fault[2].Clear()
			a.mustExtend(t, "when the third node is back")
			if got := w.holders("k", a.token); got != 3 {
				t.Errorf("%d nodes have the token, want 3", got)
			}
			a.release()
		})
	})
	t.Run("gone", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			// An extension that is answered late by the node that it needs.
			w.fault[1].Set(faulty.First(1, faulty.DelayReply(timeout/2)))
			w.fault[2].Set(faulty.First(1, faulty.LoseReply(context.DeadlineExceeded)))
			late := make(chan round.Result)
			go func() { late <- a.extend() }()
			synctest.Wait()
			w.mem[0].Flush()
			w.mem[2].Flush()
			if res := a.extend(); res.Verdict != round.Gone {
				t.Errorf("the second extension: %v, want gone", res)
			}
			expect(t, (<-late), "the first extension", round.Won, timeout/2)
			synctest.Wait()
			w.empty(0, 2)
			a.release()
		})
	})
	t.Run("released", func(t *testing.T) {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.mem[2].Flush()
			// The node says only after the release that it has lost the token.
			w.fault[2].Set(faulty.First(1, faulty.DelayReply(timeout/2)))
			expect(t, a.extend(), "extend", round.Won, 0)
			expect(t, a.release(), "release", round.Won, 0)
			time.Sleep(timeout)
			synctest.Wait()
			w.empty()
			if got := w.arrived(2); !slices.Equal(got, []string{"set", "extend"}) {
				t.Errorf("node 2 got %q, want no set after the release", got)
			}
		})
	})
}

// What a node grants after the release has begun is deleted, and so is what it may have
// granted or may grant later.
func TestRejoinIsReleased(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"late request":       faulty.Delay(timeout / 2),
		"late answer":        faulty.DelayReply(timeout / 2),
		"lost answer":        faulty.LoseReply(io.ErrUnexpectedEOF),
		"later than a call":  faulty.Late(2 * sender.CallTimeout),
		"answered too late":  faulty.DelayReply(2 * sender.CallTimeout),
		"connection refused": faulty.Refuse(nil),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				a := w.mustAcquire("k")
				synctest.Wait()
				w.mem[2].Flush()
				w.fault[2].Set(faulty.On(acquires, faulty.First(1, fault)))
				a.mustExtend(t, "extend")
				expect(t, a.release(), "release", round.Won, 0)
				w.rest(time.Hour)
				w.empty()
			})
		})
	}
}

// A release does not count a node that no extension has counted: others may have had
// the lock there in between.
func TestReleaseDoesNotCountARejoin(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		a.mustExtend(t, "extend")
		w.mem[1].Flush()
		expect(t, a.release(), "release", round.Gone, 0)
		synctest.Wait()
		w.empty()
	})
}

// A lock that another process acquired is brought back to all nodes by the extensions of
// the process that resumes it.
func TestRejoinOfAnAdoptedLock(t *testing.T) {
	inWorld(t, 3, func(t *testing.T, w *world) {
		first := w.mustAcquire("k")
		synctest.Wait()
		w.mem[0].Flush()
		a := w.group.Adopt("k", first.token, ttl)
		a.mustExtend(t, "extend")
		if got := w.holders("k", a.token); got != 3 {
			t.Errorf("%d nodes have the token, want 3", got)
		}
		expect(t, a.release(), "release", round.Won, 0)
		first.Abandon()
	})
}

// With a fencing token, the node's counter is raised to the token at least, and the token
// stays what it is.
func TestRejoinRaisesTheCounter(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a := p.mustFence("k")
		synctest.Wait()
		token := int64(a.Fence())
		for i := range 3 {
			time.Sleep(time.Minute) // so that clocks are ahead of the token
			for range 2 {
				for _, mem := range w.mem { // the lock does not expire meanwhile
					mem.Set("k", a.token, ttl)
				}
			}
			w.mem[i].Flush()
			a.mustExtend(t, "extend")
			if got := w.counters("k")[i]; got < token {
				t.Errorf("the counter of node %d is %d, want %d at least", i, got, token)
			}
			if got := w.value(i, "k"); got != a.token {
				t.Errorf("node %d has %q, want the token", i, got)
			}
			if rejoined := a.mustExtend(t, "extend again"); !slices.Equal(rejoined, []int{i}) {
				t.Errorf("%v have the token again, want %d", rejoined, i)
			}
		}
		a.wantFence(t, "after all nodes were emptied", token)
		expect(t, a.release(), "release", round.Won, 0)
		synctest.Wait()
		next := p.mustFence("k")
		if int64(next.Fence()) <= token {
			t.Errorf("the next token is %d, want it above %d", next.Fence(), token)
		}
		next.release()
	})
}

// A node in quarantine that confirmed the token less than a TTL before grants it again:
// restarts one after the other need no pause. The next lock waits for the quarantine.
func TestRejoinInQuarantine(t *testing.T) {
	for name, acquire := range map[string]func(p *process) (*Attempt, round.Result){
		"plain":  func(p *process) (*Attempt, round.Result) { return p.plain("k") },
		"fenced": func(p *process) (*Attempt, round.Result) { return p.fenced("k") },
	} {
		t.Run(name, func(t *testing.T) {
			inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
				a, res := acquire(p)
				expect(t, res, "acquire", round.Won, 0)
				synctest.Wait()
				for i := range 6 {
					w.mem[i%3].Flush()
					w.mem[i%3].Restart()
					time.Sleep(ttl / 3)
					a.mustExtend(t, fmt.Sprintf("restart %d", i))
					if got := w.holders("k", a.token); got != 3 {
						t.Fatalf("restart %d: %d nodes have the token, want 3", i, got)
					}
					time.Sleep(ttl / 3)
					a.mustExtend(t, "the next extension")
				}
				expect(t, a.release(), "release", round.Won, 0)
				synctest.Wait()
				if _, res := p.plain("k"); res.Verdict != round.Unavailable || !res.Quarantined(p.Need()) {
					t.Errorf("the next lock: %v, want the quarantine", res)
				}
			})
		})
	}
}

// A node in quarantine on which the key may have expired may have granted the lock to
// others before it lost its data. It does not grant until the quarantine is over.
func TestRejoinWaitsForTheQuarantine(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		p.fault[2].Set(faulty.Hang())
		for range 4 {
			time.Sleep(ttl / 3)
			a.mustExtend(t, "while node 2 hangs")
		}
		w.mem[2].Flush()
		w.mem[2].Restart()
		p.fault[2].Clear()
		restarted := time.Now()
		for w.holders("k", a.token) < 3 {
			time.Sleep(ttl / 10)
			a.mustExtend(t, "after the restart")
			if time.Since(restarted) > 2*quarantine {
				t.Fatal("the node has not got the token long after its quarantine")
			}
		}
		if took := time.Since(restarted); took < quarantine {
			t.Errorf("the node granted after %v, in its quarantine of %v", took, quarantine)
		}
		a.release()
	})
}

// The same if the node was last asked when the key was about to expire there: the answer
// comes in time for the call, and too late to be sure.
func TestRejoinInQuarantineAtTheLastMoment(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		p.fault[2].Set(dead)
		start := time.Now()
		for time.Since(start) < ttl-time.Second {
			time.Sleep(ttl / 10)
			a.mustExtend(t, "while node 2 is not reached")
		}
		w.mem[2].Flush()
		w.mem[2].Restart()
		p.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.DelayReply(time.Second))))
		time.Sleep(longWait)
		p.forget()
		a.mustExtend(t, "when node 2 is back")
		time.Sleep(time.Second)
		synctest.Wait()
		if got, want := p.arrived(2), []string{"extend", "acquire", "delete"}; !slices.Equal(got, want) {
			t.Errorf("node 2 got %q, want %q", got, want)
		}
		w.empty(2)
		a.release()
	})
}

// longWait is longer than the pause between two probes of a node that was not reached.
const longWait = 300 * time.Millisecond

// Each node is asked once after an extension, however many answers come after the verdict.
func TestRejoinOncePerExtension(t *testing.T) {
	inWorldOf(t, 5, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[0].Set("k", "another", time.Hour)
		for i := 1; i < 5; i++ {
			w.fault[i].Set(faulty.DelayReply(time.Duration(i) * 20 * time.Millisecond))
		}
		expect(t, a.extend(), "extend", round.Won, 60*time.Millisecond)
		time.Sleep(timeout)
		synctest.Wait()
		if got, want := w.arrived(0), []string{"set", "extend", "acquire"}; !slices.Equal(got, want) {
			t.Errorf("node 0 got %q, want %q", got, want)
		}
		a.release()
	})
}

// A rejoin of unknown outcome is sent again after the next extension that does not find the
// token. What it has left is deleted by the release, however late it arrives within a TTL.
func TestRejoinAgainAfterDoubt(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"lost":  faulty.First(1, faulty.LoseRequest(context.DeadlineExceeded)),
		"later": faulty.First(2, lateAfterBreak(ttl/2)), // it is sent again at once
	} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				a := w.mustAcquire("k")
				synctest.Wait()
				w.mem[1].Flush()
				w.fault[1].Set(faulty.On(acquires, fault))
				a.mustExtend(t, "extend")
				if got := w.holders("k", a.token); got != 2 {
					t.Errorf("%d nodes have the token, want 2", got)
				}
				time.Sleep(longWait)
				a.mustExtend(t, "the next extension")
				time.Sleep(longWait)
				if got := w.holders("k", a.token); got != 3 {
					t.Errorf("%d nodes have the token after the next extension, want 3", got)
				}
				expect(t, a.release(), "release", round.Won, 0)
				time.Sleep(2 * ttl)
				synctest.Wait()
				w.empty()
			})
		})
	}
}

// A rejoin that is refused while an earlier one may still arrive leaves that in doubt: the
// release deletes what arrives later.
func TestRejoinRefusedAfterDoubt(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[1].Flush()
		w.fault[1].Set(faulty.On(acquires, faulty.First(2, lateAfterBreak(ttl/2))))
		a.mustExtend(t, "extend")
		w.mem[1].Set("k", "another", ttl/4)
		time.Sleep(longWait)
		a.mustExtend(t, "the next extension, and its rejoin is refused")
		expect(t, a.release(), "release", round.Won, 0)
		time.Sleep(ttl/2 + longWait) // the first has arrived
		synctest.Wait()
		w.empty(1)
	})
}

// rival makes one attempt for key as another process, with a quarantine as p has it.
func (p *process) rival(key string) (*Attempt, round.Result) {
	q := p.w.process(full)
	q.Config.Quarantine, q.Config.Marker = p.Config.Quarantine, p.Config.Marker
	return q.plain(key)
}

// The deletion that takes a rejoin back names the token of a lock that is held. If it
// arrives late, after the node has granted the lock once more and an extension has counted
// that, it must not end the lease there.
func TestLateTakeBackLeavesTheLease(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		start := time.Now()
		until := func(at time.Duration) { time.Sleep(time.Until(start.Add(at))) }
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		w.mem[2].Flush()
		w.mem[2].Restart()
		// The quarantine of node 2 counts from here.
		p.rival("other")
		until(9 * time.Second)
		// The answer to the rejoin is lost, and the deletion travels for 3 s on a connection
		// that broke; the one that is sent again arrives at once.
		p.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.LoseReply(context.DeadlineExceeded))),
			faulty.On(deletes, faulty.First(1, lateAfterBreak(3*time.Second))))
		p.forget()
		expect(t, a.Extend(context.Background(), 2*time.Second, timeout), "first extension", round.Won, 0)
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		expect(t, a.Extend(context.Background(), time.Second, timeout), "second extension", round.Won, 0)
		synctest.Wait()
		t.Logf("node 2 got %q; %d nodes have the token", p.arrived(2), w.holders("k", a.token))
		p.fault[1].Set(dead)
		lease := testnodes.Validity(time.Now(), time.Second)
		if a.Extend(context.Background(), ttl, timeout).Verdict == round.Won { // without node 1, so it needs node 2
			lease = testnodes.Validity(time.Now(), ttl)
		}
		until(12500 * time.Millisecond)
		if b, res := p.rival("k"); res.Verdict == round.Won && time.Now().Before(lease) {
			t.Errorf("another has the lock %v before the lease ends; %d nodes have the holder's token",
				time.Until(lease), w.holders("k", a.token))
			b.release()
		}
		p.fault[1].Clear()
		a.release()
	})
}

// A rejoin that has waited at the node state while an extension found the token is not sent. Its
// answer might be lost, and the key, which an extension has counted, be taken back.
func TestRejoinThatIsNotNeededAnyMore(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		start := time.Now()
		lost := faulty.LoseReply(context.DeadlineExceeded)
		// Node 2 does not get the lock at first, and then does without an answer.
		p.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.LoseRequest(context.DeadlineExceeded))))
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		time.Sleep(longWait)
		p.fault[2].Set(faulty.On(acquires, lost))
		a.mustExtend(t, "an extension that does not find the token on node 2")
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		time.Sleep(time.Until(start.Add(9300 * time.Millisecond)))
		// A short extension that a quorum confirms without node 2, and a long one that needs
		// node 2, at once.
		p.fault[1].Set(faulty.On(extends, func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			if ops[0].TTL == time.Second {
				return faulty.DelayReply(10*time.Millisecond)(ctx, ops, next)
			}
			return dead(ctx, ops, next)
		}))
		p.fault[2].Set(faulty.On(extends, faulty.First(1, faulty.DelayReply(50*time.Millisecond))),
			faulty.On(acquires, lost))
		short, long := make(chan round.Result), make(chan round.Result)
		go func() { short <- a.Extend(context.Background(), time.Second, timeout) }()
		synctest.Wait()
		go func() { long <- a.Extend(context.Background(), ttl, timeout) }()
		lease := testnodes.Validity(time.Now(), ttl)
		expect(t, (<-short), "the short extension", round.Won, 10*time.Millisecond)
		if res := <-long; res.Verdict != round.Won || outcomes(res.Votes) != "GFG" {
			t.Fatalf("the long extension: %v, want it won by nodes 0 and 2", res)
		}
		time.Sleep(1500 * time.Millisecond)
		if n := w.holders("k", a.token); n != 2 {
			t.Errorf("%d nodes have the token, want the 2 that confirmed the lease", n)
		}
		if _, res := p.rival("k"); res.Verdict == round.Won {
			t.Errorf("another has the lock %v before the lease ends", time.Until(lease))
		}
		a.release()
	})
}

// The same where the node does not know its own token: it would be taken for absent, and
// left after the release.
func TestRejoinThatIsNotNeededAnyMoreOnABareNode(t *testing.T) {
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		start := time.Now()
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(sets, faulty.First(1, faulty.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(time.Until(start.Add(9850 * time.Millisecond)))
		w.fault[2].Set(faulty.On(extends, faulty.DelayReply(200*time.Millisecond)))
		a.mustExtend(t, "an extension that node 2 answers late")
		time.Sleep(timeout)
		synctest.Wait()
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		w.fault[2].Clear()
		expect(t, a.release(), "release", round.Won, 0)
		synctest.Wait()
		w.empty()
	})
}

// A deletion that took a rejoin back, and was not answered, does not explain why the
// release does not find the token.
func TestTakeBackIsNotTheRelease(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		w.mem[2].Flush()
		w.mem[2].Restart()
		p.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.LoseReply(context.DeadlineExceeded))),
			faulty.On(deletes, faulty.First(1, faulty.LoseReply(io.EOF))))
		a.mustExtend(t, "extend")
		for range 9 { // until the deletions are over, and the quarantine
			time.Sleep(ttl / 3)
			a.mustExtend(t, "meanwhile")
		}
		if n := w.holders("k", a.token); n != 3 {
			t.Fatalf("%d nodes have the token, want 3", n)
		}
		w.mem[1].Flush()
		w.mem[2].Flush()
		if res := a.release(); res.Verdict != round.Gone {
			t.Errorf("release: %v, want gone: only one node had the lock", res)
		}
	})
}

// A rejoin of unknown outcome that was repeated with success, and arrives after the release,
// finds a tombstone if the lock has a fencing token.
func TestFencedRejoinThatArrivesAfterTheRelease(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a := p.mustFence("k")
		synctest.Wait()
		w.mem[1].Flush()
		p.fault[1].Set(faulty.On(func(op backend.Op) bool { return word(op) == "vote" }, faulty.First(2, lateAfterBreak(ttl/2))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		a.mustExtend(t, "the next extension")
		time.Sleep(longWait)
		if got := w.holders("k", a.token); got != 3 {
			t.Errorf("%d nodes have the token after the next extension, want 3", got)
		}
		p.forget()
		expect(t, a.release(), "release", round.Won, 0)
		time.Sleep(ttl/2 + time.Second) // the first has arrived
		deleted := 0
		for _, w := range p.arrived(1) {
			if w == "delete" {
				deleted++
			}
		}
		if deleted != 1 {
			t.Errorf("node 1 got %d deletions, want one: its tombstone refuses the vote that is late", deleted)
		}
		if v := w.value(1, "k"); v != "" {
			t.Errorf("node 1 has %q after the release", v)
		}
	})
}

// Extensions that come faster than a node answers leave one rejoin there, not one each.
func TestRejoinsDoNotPileUp(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(acquires, faulty.LoseRequest(context.DeadlineExceeded)))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(faulty.On(extends, faulty.DelayReply(time.Second)),
			faulty.On(acquires, faulty.DelayReply(time.Second)))
		w.fault[2].Forget()
		for range 500 {
			expect(t, a.extend(), "extend", round.Won, 0)
		}
		a.mu.Lock()
		n := len(a.states[2].queue)
		a.mu.Unlock()
		if n > maxRequests+2 {
			t.Errorf("%d requests wait at the node state", n)
		}
		time.Sleep(3 * time.Second)
		a.release()
		released := time.Now()
		w.rest(time.Hour)
		t.Logf("at rest after %v; node 2 got %d requests", time.Since(released), len(w.arrived(2)))
	})
}

// With an allowance of 10 % for clocks (WithDrift), and a server's clock that is 8 % fast, the
// key that was confirmed 9.5 s before has expired: the quarantine must apply.
func TestRejoinWithAFastClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		fast := func() time.Time { return start.Add(time.Since(start) * 108 / 100) }
		var mem []*memory.Node
		var fault []*faulty.FaultNode
		var nodes []backend.Node
		for i := range 3 {
			mem = append(mem, memory.New(memory.WithName(fmt.Sprint("n", i)), memory.WithClock(fast)))
			fault = append(fault, faulty.NewFaultNode(mem[i]))
			nodes = append(nodes, fault[i])
		}
		group := func() *Nodes {
			g, err := NewNodes(nodes, Config{Quarantine: quarantine, Marker: "marker",
				Drift: func(ttl time.Duration) time.Duration { return ttl / 10 }}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return g
		}
		g, rival := group(), group()
		g.Mark(t.Context())
		a, res := g.acquire(t.Context(), nil, "k", "a", ttl, timeout)
		expect(t, res, "acquire", round.Won, 0)
		fault[2].Set(dead)
		for range 2 {
			time.Sleep(4650 * time.Millisecond)
			a.mustExtend(t, "while node 2 is not reached")
		}
		// The key has expired on node 2, and another gets it there. Then it is lost.
		fault[2].Clear()
		fault[0].Set(faulty.On(acquires, dead))
		fault[1].Set(faulty.On(acquires, faulty.Delay(200*time.Millisecond)))
		b := make(chan *Attempt)
		go func() {
			at, _ := rival.acquire(t.Context(), nil, "k", "b", ttl, timeout)
			b <- at
		}()
		time.Sleep(100 * time.Millisecond)
		if e, _ := mem[2].Inspect(t.Context(), "k"); e.Value != "b" {
			t.Fatalf("node 2 has %q, want the vote for b", e.Value)
		}
		mem[2].Flush()
		mem[2].Restart()
		rival.acquire(t.Context(), nil, "other", "c", ttl, timeout)
		a.mustExtend(t, "when node 2 is back")
		if e, _ := mem[2].Inspect(t.Context(), "k"); e.Value != "" {
			t.Errorf("node 2 has granted the lock to %q in its quarantine, and its vote for b may count yet", e.Value)
		}
		a.release()
		(<-b).Abandon()
		time.Sleep(time.Hour)
	})
}

// The time for which the quarantine does not apply counts from before the request, and is as
// short as the validity.
func TestRejoinIsSureForTheValidity(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		time.Sleep(time.Second)
		start := time.Now()
		p.fault[2].Set(faulty.DelayReply(200 * time.Millisecond))
		a.mustExtend(t, "extend")
		time.Sleep(timeout)
		a.mu.Lock()
		got := a.states[2].rejoin.lasts.Time()
		a.mu.Unlock()
		if want := testnodes.Validity(start, ttl); !got.Equal(want) {
			t.Errorf("it does not apply until %v after the request, want %v", got.Sub(start), want.Sub(start))
		}
		a.release()
	})
}

// An extension that waits for a rejoin that is answered too late does not find what that
// has left: it is taken back first.
func TestTakeBackComesBeforeAnExtension(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		start := time.Now()
		synctest.Wait()
		for range 2 {
			time.Sleep(ttl / 3)
			p.fault[2].Set(faulty.On(extends, dead))
			a.mustExtend(t, "while node 2 is not reached")
		}
		p.fault[2].Clear()
		w.mem[2].Flush()
		w.mem[2].Restart()
		time.Sleep(time.Until(start.Add(9500 * time.Millisecond)))
		p.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.DelayReply(700*time.Millisecond))))
		p.forget()
		a.mustExtend(t, "when node 2 is back")
		time.Sleep(600 * time.Millisecond)
		a.mustExtend(t, "an extension that waits for node 2")
		time.Sleep(timeout)
		synctest.Wait()
		if got, want := p.arrived(2), []string{"extend", "acquire", "delete"}; !slices.Equal(got, want) {
			t.Errorf("node 2 got %q, want %q", got, want)
		}
		a.release()
	})
}

// A rejoin whose answer was lost is not counted by a release either, and is told when an
// extension has found it.
func TestRejoinWithoutAnAnswer(t *testing.T) {
	lost := func(w *world) *Attempt {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		return a
	}
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := lost(w)
		w.mem[1].Flush()
		if res := a.release(); res.Verdict != round.Gone {
			t.Errorf("release: %v, want gone", res)
		}
	})
	inWorld(t, 3, func(t *testing.T, w *world) {
		a := lost(w)
		for i, want := range [][]int{nil, {2}, nil} {
			if got := a.mustExtend(t, "extend"); !slices.Equal(got, want) {
				t.Errorf("extension %d: %v were found to have the token again, want %v", i, got, want)
			}
		}
		a.release()
	})
}

// What an extension has returned does not change when the node begins it later, and the next
// one tells of the rejoin.
func TestRejoinIsNotToldTooLate(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(acquires, faulty.DelayReply(timeout/2)))
		a.mustExtend(t, "extend")
		w.fault[1].Set(faulty.DelayReply(timeout / 4))
		res := a.extend() // decided while the rejoin is under way
		expect(t, res, "extend", round.Won, timeout/4)
		w.fault[1].Clear()
		time.Sleep(timeout)
		synctest.Wait()
		if res.Votes[2].Rejoined {
			t.Error("the votes have changed after the verdict")
		}
		if got := a.mustExtend(t, "extend"); !slices.Equal(got, []int{2}) {
			t.Errorf("%v were found to have the token again, want 2", got)
		}
		a.release()
	})
}

// A rejoin that waits at the node state when an extension finds the lock gone is not sent.
func TestRejoinThatWaitsWhenTheLockIsGone(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(acquires, faulty.LoseRequest(context.DeadlineExceeded)))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(faulty.On(extends, faulty.DelayReply(timeout/2)))
		w.fault[2].Forget()
		a.mustExtend(t, "an extension that node 2 answers late")
		w.mem[0].Flush()
		w.mem[1].Flush()
		expect(t, a.extend(), "the next extension", round.Gone, 0)
		time.Sleep(timeout)
		synctest.Wait()
		if got := w.arrived(2); slices.Contains(got, "acquire") {
			t.Errorf("node 2 got %q, want no acquire", got)
		}
		a.release()
	})
}

// A node that may have granted a rejoin is asked again if an extension has not found the
// token, and not if it could not tell.
func TestRejoinOfUnknownOutcomeIsNotRepeatedBlindly(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(acquires, faulty.First(1, faulty.LoseReply(context.DeadlineExceeded))))
		a.mustExtend(t, "extend")
		time.Sleep(longWait)
		w.fault[2].Set(faulty.On(extends, denied))
		w.fault[2].Forget()
		a.mustExtend(t, "an extension that node 2 refuses")
		a.mustExtend(t, "another one")
		if got := w.arrived(2); slices.Contains(got, "acquire") {
			t.Errorf("node 2 got %q, want no acquire", got)
		}
		w.fault[2].Clear()
		a.release()
	})
}

// A rejoin of unknown outcome that was repeated with success leaves a doubt: what arrives
// after the release is deleted.
func TestRejoinThatArrivesAfterTheRelease(t *testing.T) {
	for _, m := range []nodeMake{full, bare} {
		inWorldOf(t, 3, m, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.mem[1].Flush()
			n := 2 // it is sent again at once
			if m == bare {
				n = 1
			}
			w.fault[1].Set(faulty.On(acquires, faulty.First(n, lateAfterBreak(ttl/2))))
			a.mustExtend(t, "extend")
			time.Sleep(longWait)
			a.mustExtend(t, "the next extension")
			time.Sleep(longWait)
			if got := w.holders("k", a.token); got != 3 {
				t.Errorf("%d nodes have the token after the next extension, want 3", got)
			}
			expect(t, a.release(), "release", round.Won, 0)
			time.Sleep(ttl/2 + time.Second) // the first has arrived
			synctest.Wait()
			w.empty()
		})
	}
}

// The same on two of three nodes: the key must not be locked for nobody after the release.
func TestRejoinsThatArriveAfterTheRelease(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		for i := 1; i < 3; i++ {
			w.mem[i].Flush()
			w.fault[i].Set(faulty.On(acquires, faulty.First(2, lateAfterBreak(ttl*9/10))))
			for range 3 {
				a.mustExtend(t, "extend")
				time.Sleep(longWait)
			}
			if got := w.holders("k", a.token); got != 3 {
				t.Fatalf("%d nodes have the token, want 3", got)
			}
		}
		expect(t, a.release(), "release", round.Won, 0)
		released, locked := time.Now(), time.Duration(0)
		for time.Since(released) < 2*ttl {
			b, res := w.acquire("k")
			if res.Verdict == round.Won {
				b.release()
			} else {
				locked = time.Since(released)
			}
			time.Sleep(ttl / 20)
		}
		if locked > 0 {
			t.Errorf("nobody can lock the key up to %v after the release", locked)
		}
	})
}

// A node that has deleted the token counts for the release, though one more rejoin may arrive
// there and the deletion is repeated.
func TestReleaseCountsADeletionThatIsRepeated(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[1].Flush()
		w.fault[1].Set(faulty.On(acquires, faulty.First(2, lateAfterBreak(ttl/2))))
		for range 3 {
			a.mustExtend(t, "extend")
			time.Sleep(longWait)
		}
		w.fault[0].Set(faulty.Hang())
		w.fault[2].Set(faulty.DelayReply(timeout / 2))
		expect(t, a.release(), "release", round.Won, timeout/2)
		w.fault[0].Clear()
		time.Sleep(ttl)
		synctest.Wait()
		w.empty()
	})
}

// A rejoin is not begun when the lease that its extension has given is over: nobody might
// hold the lock any more.
func TestRejoinIsNotBegunAfterTheLease(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[2].Set(faulty.On(extends, faulty.DelayReply(sender.CallTimeout*3/4)))
		w.fault[2].Forget()
		expect(t, a.Extend(context.Background(), time.Second, timeout), "extend", round.Won, 0)
		time.Sleep(sender.CallTimeout)
		synctest.Wait()
		if got := w.arrived(2); !slices.Equal(got, []string{"extend"}) {
			t.Errorf("node 2 got %q, want an extension", got)
		}
		w.fault[2].Clear()
		a.mustExtend(t, "the next extension")
		synctest.Wait()
		if n := w.holders("k", a.token); n != 3 {
			t.Errorf("%d nodes have the token after the next extension, want 3", n)
		}
		a.release()
	})
}

// A node that has lost the token once more since it rejoined is not reported.
func TestRejoinThatIsLostAgainIsNotReported(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		w.mem[2].Flush()
		a.mustExtend(t, "extend")
		synctest.Wait()
		w.mem[2].Flush()
		w.fault[1].Set(faulty.DelayReply(timeout / 5)) // so that node 2 answers before the verdict
		res := a.extend()
		expect(t, res, "extend", round.Won, timeout/5)
		if v := res.Votes[2]; v.Outcome != round.NotHeld || v.Rejoined {
			t.Errorf("node 2: %+v, want not held, and not rejoined", v)
		}
		w.fault[1].Clear()
		a.release()
	})
}
