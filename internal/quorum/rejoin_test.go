package quorum

import (
	"context"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
)

func acquires(op backend.Op) bool { return word(op) == "set" || word(op) == "acquire" }

// mustExtend extends a lock, waits for whatever follows in the background, and returns
// which nodes were found to have the token again.
func (a *Attempt) mustExtend(t *testing.T, what string) (rejoined []int) {
	t.Helper()
	res := a.extend()
	res.want(t, what, Won, 0)
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
			a.release().want(t, "release", Won, 0)
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
			w.fault[2].Set(backendtest.Hang())
			return a
		},
		"down from the start": func(w *world) *Attempt {
			w.fault[2].Set(backendtest.Refuse(nil))
			return w.mustAcquire("k")
		},
		"hung from the start": func(w *world) *Attempt {
			w.fault[2].Set(backendtest.Hang())
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
				a.release().want(t, "release", Won, 0)
				synctest.Wait()
				w.empty()
			})
		})
	}
}

// A node is asked once per extension, and one that another has keeps what it has.
func TestRejoinRespectsOthers(t *testing.T) {
	for _, foreign := range []string{"another", "~ticket of a waiter"} {
		inWorld(t, 3, func(t *testing.T, w *world) {
			a := w.mustAcquire("k")
			synctest.Wait()
			w.mem[2].Set("k", foreign, time.Hour)
			for range 5 {
				time.Sleep(ttl / 3)
				a.mustExtend(t, "extend")
			}
			again := "acquire"
			if w.make == bare {
				again = "set"
			}
			if got, want := w.arrived(2), []string{"set", "extend", again, again, again, again, again}; !slices.Equal(got, want) {
				t.Errorf("node 2 got %q, want %q", got, want)
			}
			a.release().want(t, "release", Won, 0)
			synctest.Wait()
			if got := w.value(2, "k"); got != foreign {
				t.Errorf("the foreign key is %q, want %q", got, foreign)
			}
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
			w.fault[2].Set(backendtest.Refuse(nil))
			a.extend().want(t, "extend", Unavailable, 0)
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
			w.fault[1].Set(backendtest.First(1, backendtest.DelayReply(timeout/2)))
			w.fault[2].Set(backendtest.First(1, backendtest.LoseReply(context.DeadlineExceeded)))
			late := make(chan Result)
			go func() { late <- a.extend() }()
			synctest.Wait()
			w.mem[0].Flush()
			w.mem[2].Flush()
			if res := a.extend(); res.Verdict != Gone {
				t.Errorf("the second extension: %v, want gone", res)
			}
			(<-late).want(t, "the first extension", Won, timeout/2)
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
			w.fault[2].Set(backendtest.First(1, backendtest.DelayReply(timeout/2)))
			a.extend().want(t, "extend", Won, 0)
			a.release().want(t, "release", Won, 0)
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
	for name, fault := range map[string]backendtest.Fault{
		"late request":       backendtest.Delay(timeout / 2),
		"late answer":        backendtest.DelayReply(timeout / 2),
		"lost answer":        backendtest.LoseReply(io.ErrUnexpectedEOF),
		"later than a call":  backendtest.Late(2 * CallTimeout),
		"answered too late":  backendtest.DelayReply(2 * CallTimeout),
		"connection refused": backendtest.Refuse(nil),
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, 3, func(t *testing.T, w *world) {
				a := w.mustAcquire("k")
				synctest.Wait()
				w.mem[2].Flush()
				w.fault[2].Set(backendtest.On(acquires, backendtest.First(1, fault)))
				a.mustExtend(t, "extend")
				a.release().want(t, "release", Won, 0)
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
		a.release().want(t, "release", Gone, 0)
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
		a.release().want(t, "release", Won, 0)
		first.Abandon()
	})
}

// The holder's ticket does not get into the queue of a node that does not grant: it would
// be notified of its own release.
func TestRejoinNamesNoTicket(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		for _, mem := range w.mem {
			mem.Set("k", "before", 20*time.Millisecond)
		}
		waiter := p.mustJoin("k")
		p.lose(waiter)
		time.Sleep(30 * time.Millisecond)
		a := p.win(waiter)
		waiter.Leave()
		synctest.Wait()
		w.mem[0].Flush()
		w.mem[0].Set("k", "another", time.Hour)
		a.mustExtend(t, "extend")
		a.mustExtend(t, "extend")
		if got := w.queue(0, "k"); len(got) != 0 {
			t.Errorf("the queue of node 0 is %q, want it empty", got)
		}
		a.release()
		time.Sleep(time.Second)
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
		a.release().want(t, "release", Won, 0)
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
	for name, acquire := range map[string]func(p *process) (*Attempt, Result){
		"plain":  func(p *process) (*Attempt, Result) { return p.plain("k") },
		"fenced": func(p *process) (*Attempt, Result) { return p.fenced("k") },
	} {
		t.Run(name, func(t *testing.T) {
			inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
				a, res := acquire(p)
				res.want(t, "acquire", Won, 0)
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
				a.release().want(t, "release", Won, 0)
				synctest.Wait()
				if _, res := p.plain("k"); res.Verdict != Unavailable || !res.Quarantined(p.need) {
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
		res.want(t, "acquire", Won, 0)
		synctest.Wait()
		p.fault[2].Set(backendtest.Hang())
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

// A grant of a node in quarantine that may come too late is taken back before an
// extension can count it: the quarantine may be over when the node grants.
func TestLateRejoinInQuarantine(t *testing.T) {
	for name, tc := range map[string]struct {
		fault backendtest.Fault
		wait  time.Duration
	}{
		"answered too late": {backendtest.DelayReply(ttl), ttl + CallTimeout},
		"lost answer":       {backendtest.LoseReply(context.DeadlineExceeded), timeout},
	} {
		t.Run(name, func(t *testing.T) {
			inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
				a, res := p.plain("k")
				res.want(t, "acquire", Won, 0)
				synctest.Wait()
				w.mem[2].Flush()
				w.mem[2].Restart()
				p.forget()
				p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, tc.fault)))
				for start := time.Now(); time.Since(start) <= tc.wait; time.Sleep(ttl / 10) {
					for _, i := range a.mustExtend(t, "extend") {
						if len(p.arrived(2)) < 3 || p.arrived(2)[2] != "delete" {
							t.Errorf("node %d is counted; it got %q, want a deletion first", i, p.arrived(2))
						}
					}
				}
				for _, op := range p.fault[2].Arrived() {
					if word(op) == "delete" && op.Kind != backend.OpEvalDelete {
						t.Errorf("the lock was taken back by a script, which may notify waiters while it is held")
					}
				}
				if got := p.arrived(2); len(got) < 3 || !slices.Equal(got[:3], []string{"extend", "acquire", "delete"}) {
					t.Errorf("node 2 got %q, want an extension, the acquire, and its deletion", got)
				}
				p.fault[2].Clear()
				a.release()
			})
		})
	}
}

// The same if the node was last asked when the key was about to expire there: the answer
// comes in time for the call, and too late to be sure.
func TestRejoinInQuarantineAtTheLastMoment(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		res.want(t, "acquire", Won, 0)
		synctest.Wait()
		p.fault[2].Set(dead)
		start := time.Now()
		for time.Since(start) < ttl-time.Second {
			time.Sleep(ttl / 10)
			a.mustExtend(t, "while node 2 is not reached")
		}
		w.mem[2].Flush()
		w.mem[2].Restart()
		p.fault[2].Set(backendtest.On(acquires, backendtest.First(1, backendtest.DelayReply(time.Second))))
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
			w.fault[i].Set(backendtest.DelayReply(time.Duration(i) * 20 * time.Millisecond))
		}
		a.extend().want(t, "extend", Won, 60*time.Millisecond)
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
	for name, fault := range map[string]backendtest.Fault{
		"lost":  backendtest.First(1, backendtest.LoseRequest(context.DeadlineExceeded)),
		"later": backendtest.First(2, lateAfterBreak(ttl/2)), // it is sent again at once
	} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				a := w.mustAcquire("k")
				synctest.Wait()
				w.mem[1].Flush()
				w.fault[1].Set(backendtest.On(acquires, fault))
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
				a.release().want(t, "release", Won, 0)
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
		w.fault[1].Set(backendtest.On(acquires, backendtest.First(2, lateAfterBreak(ttl/2))))
		a.mustExtend(t, "extend")
		w.mem[1].Set("k", "another", ttl/4)
		time.Sleep(longWait)
		a.mustExtend(t, "the next extension, and its rejoin is refused")
		a.release().want(t, "release", Won, 0)
		time.Sleep(ttl/2 + longWait) // the first has arrived
		synctest.Wait()
		w.empty(1)
	})
}
