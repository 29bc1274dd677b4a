package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// fenced makes one try for key, with a fencing token.
func (p *process) fenced(key string) (*Attempt, round.Result) {
	p.w.t.Helper()
	return p.fencing(key).acquire(context.Background(), p.w.token(), ttl, timeout)
}

// acquire makes one attempt that does not wait.
func (f *Fencing) acquire(ctx context.Context, token string, ttl, timeout time.Duration) (*Attempt, round.Result) {
	return f.nodes.acquire(ctx, f, f.key, token, ttl, timeout)
}

func (p *process) fencing(key string) *Fencing {
	p.w.t.Helper()
	f, err := p.Fencing(key)
	if err != nil {
		p.w.t.Fatal(err)
	}
	return f
}

// mustFence locks key, which is free, with a fencing token.
func (p *process) mustFence(key string) *Attempt {
	p.w.t.Helper()
	a, res := p.fenced(key)
	if res.Verdict != round.Won || a.Fence() == 0 {
		p.w.t.Fatalf("acquire: %v, with the fencing token %d", res, a.Fence())
	}
	return a
}

// counters returns where the counters of key stand.
func (w *world) counters(key string) []int64 { return testnodes.Counters(w.mem, key) }

// count sets the counters of key on the nodes.
func (w *world) count(key string, counters ...int64) { testnodes.Count(w.mem, key, counters...) }

// tombstones returns how many tombstones there are for key on node i.
func (w *world) tombstones(i int, key string) int { return testnodes.Tombstones(w.mem[i], key) }

// casts returns what each node voted for, as far as is known.
func (a *Attempt) casts() []int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var casts []int64
	for _, b := range a.voting.votes {
		casts = append(casts, b.cast)
	}
	return casts
}

func (a *Attempt) wantFence(t *testing.T, what string, want int64) {
	t.Helper()
	if got := a.Fence(); got != uint64(want) {
		t.Errorf("%s: the token is %d, want %d", what, got, want)
	}
}

// inFencingWorld runs f with a process on n nodes that can vote.
func inFencingWorld(t *testing.T, n int, f func(t *testing.T, w *world, p *process)) {
	t.Helper()
	for _, m := range []nodeMake{full, scripted} {
		t.Run(fmt.Sprint(m, " ", n), func(t *testing.T) {
			inWorldOf(t, n, m, func(t *testing.T, w *world) { f(t, w, w.process(m)) })
		})
	}
}

// beyondHints is a counter that no hint reaches, so that the next vote is one more.
func beyondHints() int64 { return time.Now().Add(time.Minute).UnixMicro() }

// One round, of votes alone, and extensions and releases that know the token.
func TestFencingOperations(t *testing.T) {
	for _, n := range []int{1, 2, 3, 5} {
		inFencingWorld(t, n, func(t *testing.T, w *world, p *process) {
			last := int64(0)
			for range 3 {
				a := p.mustFence("k")
				synctest.Wait()
				last++
				if last == 1 {
					last = time.Now().UnixMicro()
				}
				a.wantFence(t, "a token is the time, or the next", last)
				expect(t, a.extend(), "extend", round.Won, 0)
				ExtendAll([]Renewal{{a, ttl, timeout}}, func(_ int, r round.Result) { expect(t, r, "extend all", round.Won, 0) })
				synctest.Wait()
				a.wantFence(t, "after extensions", last)
				expect(t, a.release(), "release", round.Won, 0)
				synctest.Wait()
				for i := range w.mem {
					if got := p.arrived(i); !slices.Equal(got, []string{"vote", "prolong", "prolong", "delete"}) {
						t.Errorf("node %d got %q", i, got)
					}
					if n := w.tombstones(i, "k"); n != 0 {
						t.Errorf("there are %d tombstones on node %d, of a vote whose outcome was known", n, i)
					}
				}
				p.forget()
				if v := w.value(0, "k"); v != "" {
					t.Errorf("%q is left", v)
				}
			}
		})
	}
}

// Counters live for as long as the group says, from the last extension on.
func TestFencingCounterLife(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		p.Config.CounterLife = time.Minute
		a := p.mustFence("k")
		synctest.Wait()
		time.Sleep(9 * time.Second)
		expect(t, a.extend(), "extend", round.Won, 0)
		synctest.Wait()
		time.Sleep(time.Minute - time.Millisecond)
		if got := w.counters("k"); slices.Contains(got, 0) {
			t.Errorf("the counters are %d a moment before their end", got)
		}
		time.Sleep(time.Millisecond)
		if got := w.counters("k"); !slices.Equal(got, []int64{0, 0, 0}) {
			t.Errorf("the counters are %d after their end", got)
		}
	})
}

// The value for which a quorum has voted is the token, whatever a minority says.
func TestFencingMinorityAhead(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high+1000, high, high)
		p.fault[1].Set(faulty.Delay(time.Millisecond))
		p.fault[2].Set(faulty.Delay(2 * time.Millisecond))
		a := p.mustFence("k")
		// The first two disagree, and the higher one is raised to.
		a.wantFence(t, "a minority that answers first", high+1001)
		synctest.Wait()
		time.Sleep(10 * time.Millisecond)
		a.release()
		time.Sleep(time.Second)
		high += 1001
		if got := w.counters("k"); !slices.Equal(got, []int64{high, high, high}) {
			t.Fatalf("the counters are %d, want all raised to %d, that of the last to answer too", got, high)
		}

		w.count("k", high, high, high+1000)
		a = p.mustFence("k")
		a.wantFence(t, "a minority that answers last", high+1)
		time.Sleep(10 * time.Millisecond)
		p.forget()
		a.wantFence(t, "when that has answered", high+1)
		expect(t, a.extend(), "extend", round.Won, time.Millisecond)
		time.Sleep(time.Second)
		if got := w.counters("k"); !slices.Equal(got, []int64{high + 1, high + 1, high + 1001}) {
			t.Errorf("the counters are %d", got)
		}
		if n := w.holders("k", a.token); n != 3 {
			t.Errorf("%d nodes hold the lock, want the one too whose vote was another", n)
		}
		a.release()
		time.Sleep(time.Second)
		for i := range w.mem {
			if v := w.value(i, "k"); v != "" {
				t.Errorf("%q is left on node %d", v, i)
			}
		}
	})
}

// A quorum that agrees is all that is asked: the others are left as they are.
func TestFencingMinorityBehind(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high, high-1000)
		p.fault[0].Set(faulty.Delay(time.Millisecond))
		p.fault[1].Set(faulty.Delay(2 * time.Millisecond))
		p.fault[2].Set(faulty.Delay(3 * time.Millisecond))
		a := p.mustFence("k")
		a.wantFence(t, "of two that agree", high+1)
		time.Sleep(time.Second)
		if got := w.counters("k"); !slices.Equal(got, []int64{high + 1, high + 1, high - 999}) {
			t.Errorf("the counters are %d", got)
		}
		for i := range w.mem {
			if got := p.arrived(i); !slices.Equal(got, []string{"vote"}) {
				t.Errorf("node %d got %q", i, got)
			}
		}
		a.release()
	})
}

// Nor is anybody asked for more by a try that has lost.
func TestFencingLost(t *testing.T) {
	inFencingWorld(t, 5, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+10)
		for _, m := range w.mem[2:] {
			m.Set("k", "foreign", time.Minute)
		}
		p.fault[4].Set(faulty.Delay(time.Millisecond)) // whose answer decides
		a, res := p.fenced("k")
		expect(t, res, "acquire", round.Lost, time.Millisecond)
		a.wantFence(t, "of a try that lost", 0)
		time.Sleep(time.Second)
		for i, want := range [][]string{{"vote", "delete"}, {"vote", "delete"}, {"vote"}, {"vote"}, {"vote"}} {
			if got := p.arrived(i); !slices.Equal(got, want) {
				t.Errorf("node %d got %q, want %q", i, got, want)
			}
		}
	})
}

// A second round does not wait for those that have not answered the first, who follow,
// and has the node timeout for itself.
func TestFencingSecondRound(t *testing.T) {
	const slow = 200 * time.Millisecond
	inFencingWorld(t, 5, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+10, high+20, high+30, high+5)
		for i, d := range []time.Duration{0, slow, slow, slow + 20*time.Millisecond, slow + 10*time.Millisecond} {
			p.fault[i].Set(faulty.Delay(d))
		}
		a, res := p.fenced("k")
		if res.Verdict != round.Won || res.Elapsed != 2*slow {
			t.Fatalf("acquire: %v, want it won after two rounds of %v", res, slow)
		}
		a.wantFence(t, "the highest of the first three", high+21)
		time.Sleep(time.Second)
		if got, want := w.counters("k"), []int64{high + 21, high + 21, high + 21, high + 31, high + 21}; !slices.Equal(got, want) {
			t.Errorf("the counters are %d, want %d", got, want)
		}
		for i, want := range [][]string{{"vote", "raise"}, {"vote", "raise"}, {"vote"}, {"vote"}, {"vote", "raise"}} {
			if got := p.arrived(i); !slices.Equal(got, want) {
				t.Errorf("node %d got %q, want %q", i, got, want)
			}
		}
		cast := a.casts()
		if got := w.counters("k"); !slices.Equal(cast, got) {
			t.Errorf("the votes are %d, as far as is known, and the counters %d", cast, got)
		}
		a.release()
	})
}

// Who answers the first round when the second is long over is not asked to follow.
func TestFencingStraggler(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+10, high)
		p.fault[2].Set(faulty.Delay(2 * timeout))
		a := p.mustFence("k")
		time.Sleep(time.Second)
		if got := p.arrived(2); !slices.Equal(got, []string{"vote"}) {
			t.Errorf("the straggler got %q", got)
		}
		a.wantFence(t, "of the others", high+11)
		if n := w.holders("k", a.token); n != 3 {
			t.Errorf("%d nodes hold the lock", n)
		}
		expect(t, a.release(), "release", round.Won, 0)
		time.Sleep(time.Second)
		if v := w.value(2, "k"); v != "" {
			t.Errorf("%q is left on the straggler", v)
		}
	})
}

// A server that refuses a key does not say which. The error does, and does not show the
// token.
func TestFencingWithoutRights(t *testing.T) {
	inFencingWorld(t, 1, func(t *testing.T, w *world, p *process) {
		refusal := backend.MarkReply(errors.New("NOPERM no permission for one of the keys"))
		p.set(faulty.On(votes, faulty.Refuse(refusal)))
		a, res := p.fenced("k")
		if res.Verdict != round.Unavailable || !res.Permanent(1) {
			t.Errorf("acquire: %v, want a permanent refusal", res)
		}
		want := refusal.Error() + ` (a fencing token also takes the keys "k{k}:fence" and "k{k}:gone:*")`
		if err := res.Votes[0].Err; !errors.Is(err, refusal) || err.Error() != want || strings.Contains(err.Error(), a.token) {
			t.Errorf("got %v, want %s", err, want)
		}
	})
}

// A raise that has to wait for room in the lane is not sent once nobody has use for it: its
// round is over, or the attempt was given up.
func TestFencingRaiseWaits(t *testing.T) {
	for _, tc := range []struct {
		name     string
		busy     time.Duration // for how long the lane of node 0 is full
		third    faulty.Fault
		patience time.Duration // of the caller
		verdict  round.Verdict
		raised   bool
	}{
		{"in time", 100 * time.Millisecond, faulty.Delay(30 * time.Millisecond), time.Second, round.Won, true},
		{"too late", 2 * timeout, faulty.Delay(30 * time.Millisecond), time.Second, round.Won, false},
		{"when the attempt was given up", 100 * time.Millisecond, dead, 50 * time.Millisecond, round.Unavailable, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				p := w.process(full)
				high := beyondHints()
				w.count("k", high, high+10, high+10)
				p.fault[0].Set(faulty.On(votes, faulty.Delay(20*time.Millisecond)), faulty.On(sets, faulty.Delay(tc.busy)))
				p.fault[1].Set(faulty.On(votes, faulty.Delay(25*time.Millisecond)))
				p.fault[2].Set(faulty.On(votes, tc.third))
				for i := range senderDepth { // the last one goes when the vote has come back
					time.AfterFunc(time.Duration(i+1)*2*senderStagger, func() {
						other := p.mustAcquire(fmt.Sprint("other", i))
						time.Sleep(time.Second)
						other.release()
					})
				}
				ctx, cancel := context.WithTimeout(context.Background(), tc.patience)
				defer cancel()
				a, res := p.fencing("k").acquire(ctx, w.token(), ttl, timeout)
				if res.Verdict != tc.verdict {
					t.Errorf("acquire: %v, want %v", res, tc.verdict)
				}
				time.Sleep(sender.CallTimeout)
				if got := p.arrived(0); slices.Contains(got, "raise") != tc.raised || !slices.Contains(got, "vote") {
					t.Errorf("node 0 got %q", got)
				}
				if tc.verdict == round.Won {
					a.wantFence(t, "of the others", high+11)
					a.release()
				}
			})
		})
	}
}

// Nor is one that waits for the answer to its vote.
func TestFencingRaiseBehindTheVote(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+10, high+20)
		p.fault[0].Set(faulty.On(votes, faulty.Delay(100*time.Millisecond)))
		p.fault[1].Set(faulty.On(raises, faulty.Delay(100*time.Millisecond)))
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		if _, res := p.fencing("k").acquire(ctx, w.token(), ttl, timeout); res.Verdict == round.Won {
			t.Fatal(res)
		}
		time.Sleep(time.Second)
		for i, want := range [][]string{{"vote", "delete"}, {"vote", "raise", "delete"}} {
			if got := p.arrived(i); !slices.Equal(got, want) {
				t.Errorf("node %d got %q, want %q", i, got, want)
			}
		}
	})
}

// An attempt that gets no quorum for its token fails, and leaves nothing.
func TestFencingSecondRoundFails(t *testing.T) {
	refuse := faulty.Refuse(nil)
	for _, tc := range []struct {
		name    string
		fault   faulty.Fault // nil: the lock is lost between the rounds
		verdict round.Verdict
		after   time.Duration
	}{
		{"nobody can be reached", refuse, round.Unavailable, 0},
		{"nobody answers", faulty.Hang(), round.Unavailable, timeout},
		{"too late", faulty.Delay(2 * ttl), round.Unavailable, timeout},
		{"somebody else has the lock by then", nil, round.Lost, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
				high := beyondHints()
				w.count("k", high, high+10, high+20)
				for i := range p.fault {
					fault := tc.fault
					if fault == nil {
						fault = func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
							w.mem[i].Set("k", "another", time.Second)
							return next(ctx, ops)
						}
					}
					p.fault[i].Set(faulty.On(raises, fault))
				}
				if tc.fault != nil {
					p.fault[2].Set(dead) // whose vote, above the others, would count as a refusal
				}
				a, res := p.fenced("k")
				expect(t, res, "acquire", tc.verdict, tc.after)
				a.wantFence(t, "without a quorum", 0)
				time.Sleep(5 * time.Second)
				for i := range w.mem {
					if v := w.value(i, "k"); v != "" {
						t.Errorf("%q is left on node %d", v, i)
					}
				}
				p.set()
				p.mustFence("k").release()
			})
		})
	}
}

// What refuses to vote is not asked in a plainer way, and other locks of the node go on
// to be queued for.
func TestFencingRefused(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		name, _ := proto.CounterKey("k")
		for i := range w.mem {
			w.mem[i].Push(name, "a list")
		}
		_, res := p.fenced("k")
		if res.Verdict != round.Unavailable || !res.Permanent(p.Need()) {
			t.Errorf("acquire: %v, want it to be permanent", res)
		}
		synctest.Wait()
		for i := range w.mem {
			// The last one may not be asked any more when two have refused.
			if got := p.arrived(i); len(got) > 1 || len(got) == 1 && got[0] != "vote" {
				t.Errorf("node %d got %q", i, got)
			}
			if !p.Members[i].Queueing.Works() {
				t.Errorf("node %d is taken for one that has no queues", i)
			}
		}
		w.mem[0].Push(name, "a list")
		w.count("k", 0, 1, 1)
		w.mem[0].Push(name, "a list")
		a := p.mustFence("k")
		a.release()
	})
}

// A vote that may still arrive finds a tombstone, where one is needed and nowhere else.
func TestFencingTombstone(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  faulty.Fault
		buried bool
	}{
		{"the outcome is known", faulty.Delay(time.Millisecond), false},
		{"it was not sent", dead, false},
		{"it arrives after its connection broke", lateAfterBreak(2 * time.Second), true},
		{"its reply is lost", faulty.LoseReply(io.ErrUnexpectedEOF), true},
		{"it times out", faulty.Late(3 * time.Second), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
				p.fault[0].Set(faulty.On(votes, tc.fault))
				a := p.mustFence("k")
				time.Sleep(time.Second)
				expect(t, a.release(), "release", round.Won, 0)
				time.Sleep(time.Second + sender.CallTimeout)
				want := 0
				if tc.buried {
					want = 1
				}
				for i := range w.mem {
					if got := w.tombstones(i, "k"); got != want {
						t.Errorf("%d tombstones are on node %d, want %d", got, i, want)
					}
					want = 0
				}
				if e, _ := w.mem[0].Inspect(context.Background(), a.voting.tombstone); tc.buried && e.TTL < ttl-time.Second {
					// It was put up a second and a call ago, for a TTL and a call.
					t.Errorf("the tombstone stands for %v more", e.TTL)
				}
				time.Sleep(3 * time.Second)
				if v := w.value(0, "k"); v != "" {
					t.Errorf("%q came late, and stays", v)
				}
				time.Sleep(ttl)
				if got := w.tombstones(0, "k"); got != 0 {
					t.Errorf("%d tombstones stay", got)
				}
			})
		})
	}
}

// What no vote answers is no vote, and what it may have locked is released.
func TestFencingStrangeAnswers(t *testing.T) {
	now := time.Now().UnixMicro()
	for _, reply := range []backend.Reply{
		{}, {"x", now, now}, {int64(1)}, {int64(0)}, {int64(-1)}, {"x"}, {int64(1), now}, {int64(1), "x", now}, {int64(1), now, "x"},
		{int64(1), int64(0), now}, {int64(1), int64(-1), now}, {now, now},
	} {
		inFencingWorld(t, 1, func(t *testing.T, w *world, p *process) {
			p.set(faulty.On(votes, faulty.Each(func(ctx context.Context, _ backend.Op, next func(context.Context) backend.Result) backend.Result {
				next(ctx)
				return backend.Result{Reply: reply}
			})))
			a, res := p.fenced("k")
			if res.Verdict != round.Unavailable || res.Votes[0].Err == nil {
				t.Errorf("%v: %v, want it to have failed", reply, res)
			}
			a.wantFence(t, "of none", 0)
			time.Sleep(time.Second)
			if v := w.value(0, "k"); v != "" {
				t.Errorf("%v: %q is left", reply, v)
			}
			if _, known := p.Members[0].Clock.Get(); known && len(reply) < 3 {
				t.Errorf("%v: it is taken for a look at the clock", reply)
			}
		})
	}
}

// A vote that is sent again, or arrives twice, is one vote.
func TestFencingVotesAgain(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  func() faulty.Fault
		buried int // tombstones on each node after the release
	}{
		{"the request is lost", func() faulty.Fault { return faulty.First(1, broken) }, 1},
		{"the reply is lost", func() faulty.Fault { return faulty.First(1, faulty.LoseReply(io.ErrUnexpectedEOF)) }, 1},
		{"the request is doubled", func() faulty.Fault { return faulty.Duplicate(time.Millisecond) }, 0}, // which nobody knows
	} {
		t.Run(tc.name, func(t *testing.T) {
			inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
				for i := range p.fault {
					p.fault[i].Set(tc.fault())
				}
				a := p.mustFence("k")
				a.wantFence(t, "a vote that was sent twice", time.Now().UnixMicro())
				time.Sleep(10 * time.Millisecond)
				if c := int64(a.Fence()); !slices.Equal(w.counters("k"), []int64{c, c, c}) {
					t.Errorf("the counters are %d, and the token %d", w.counters("k"), c)
				}
				p.set()
				expect(t, a.release(), "release", round.Won, 0)
				synctest.Wait()
				for i := range w.mem {
					if got := w.tombstones(i, "k"); got != tc.buried {
						t.Errorf("%d tombstones are on node %d, want %d", got, i, tc.buried)
					}
				}
			})
		})
	}
}

// A client whose clock is wrong pays for a second round once, and once more when it is
// set; where the clocks of nodes differ, a quorum of those that agree is enough.
func TestFencingClocks(t *testing.T) {
	for _, n := range []int{3, 5} {
		inFencingWorld(t, n, func(t *testing.T, w *world, p *process) {
			const trip = time.Millisecond
			for i := range p.fault { // so that no two nodes have the same time
				p.fault[i].Set(faulty.Delay(trip/2+time.Duration(i)*10*time.Microsecond), faulty.DelayReply(trip/2))
			}
			offset := -10 * time.Second
			p.Config.Clock = &clock.Clock{Wall: func() time.Time { return time.Now().Add(offset) }}
			raised := func() (arrived int) {
				for i := range p.fault {
					for _, op := range p.fault[i].Arrived() {
						if raises(op) {
							arrived++
						}
					}
				}
				p.forget()
				return arrived
			}
			for _, offset = range []time.Duration{-10 * time.Second, 5 * time.Hour, 0} {
				for i := range 5 {
					a := p.mustFence("k")
					time.Sleep(2 * trip)
					a.release()
					time.Sleep(time.Second)
					if got := raised(); (got > 0) != (i == 0) {
						t.Errorf("%v off, try %d: %d raises", offset, i, got)
					}
					for _, l := range p.Members { // there and back take as long
						if got, _ := l.Clock.Get(); (got + offset).Abs() > 100*time.Microsecond {
							t.Errorf("%v off, %s is thought to be %v ahead", offset, l.Name, got)
						}
					}
				}
			}
		})
	}
}

// A node whose clock is days off does not take the others along, even if it answers
// before they are a quorum. Where they are none, the error says which node it is.
func TestFencingWithAClockDaysOff(t *testing.T) {
	for _, n := range []int{3, 5} {
		for _, off := range []time.Duration{48 * time.Hour, -48 * time.Hour} {
			t.Run(fmt.Sprint(n, " ", off), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { clockDaysOff(t, n, off) })
			})
		}
	}
}

func clockDaysOff(t *testing.T, n int, off time.Duration) {
	var fault []*faulty.FaultNode
	var nodes []backend.Node
	for i := range n {
		clock := time.Now
		if i == 0 {
			clock = func() time.Time { return time.Now().Add(off) }
		}
		f := faulty.NewFaultNode(memory.New(memory.WithName(fmt.Sprint("n", i)), memory.WithClock(clock)))
		f.Set(faulty.Delay(time.Duration(i) * time.Millisecond))
		fault, nodes = append(fault, f), append(nodes, f)
	}
	g, err := NewNodes(nodes, Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Wait(context.Background())
	f, err := g.Fencing("k")
	if err != nil {
		t.Fatal(err)
	}
	last := uint64(time.Now().UnixMicro()) - 1
	for try := range 3 {
		a, res := f.acquire(context.Background(), fmt.Sprint("token ", try), ttl, timeout)
		if res.Verdict != round.Won || a.Fence() <= last || a.Fence() > uint64(time.Now().UnixMicro()) {
			t.Errorf("try %d: %v, and the token %d after %d", try, res, a.Fence(), last)
		}
		last = a.Fence()
		a.Release(context.Background(), timeout)
		time.Sleep(time.Second)
	}

	for _, f := range fault[n/2+1:] { // of those that are left one is off
		f.Set(faulty.Refuse(nil))
	}
	_, res := f.acquire(context.Background(), "last token", ttl, timeout)
	if want := "more than a day ahead"; res.Verdict != round.Unavailable || !slices.ContainsFunc(res.Votes, func(v round.Vote) bool {
		return v.Err != nil && strings.Contains(v.Err.Error(), want)
	}) {
		t.Errorf("without a quorum of the others: %v, want one that says %q", res, want)
	}
}

// twoServers is a node of two, as a cluster is: keys that begin with "h" are on the second.
type twoServers struct {
	*memory.Node
	second *memory.Node
}

func (twoServers) Partition(key string) (part, parts int) { return halves{}.Partition(key) }

func (n twoServers) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	if part, _ := n.Partition(keys[0]); part == 1 {
		return n.second.Eval(ctx, script, keys, args)
	}
	return n.Node.Eval(ctx, script, keys, args)
}

func (n twoServers) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	results := make([]backend.Result, len(ops))
	for i, op := range ops {
		results[i] = op.Do(ctx, n)
	}
	return results
}

// The parts of a node are servers with clocks of their own: what one says is a first guess at
// what the other will, and nothing after that.
func TestFencingClocksOfParts(t *testing.T) {
	for _, apart := range []time.Duration{0, 10 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var (
				nodes  []backend.Node
				faults []*faulty.FaultNode
			)
			for i := range 3 {
				second := memory.New(memory.WithClock(func() time.Time { return time.Now().Add(apart) }))
				f := faulty.NewFaultNode(twoServers{memory.New(), second})
				f.Set(faulty.Delay(time.Millisecond + time.Duration(i)*10*time.Microsecond)) // so that no two nodes have the same time
				nodes, faults = append(nodes, f), append(faults, f)
			}
			g, err := NewNodes(nodes, Config{Clock: &clock.Clock{Wall: func() time.Time { return time.Now().Add(-5 * time.Hour) }}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, key := range []string{"k", "h", "k", "h", "k", "h"} {
				f, err := g.Fencing(key)
				if err != nil {
					t.Fatal(err)
				}
				a, res := f.acquire(t.Context(), fmt.Sprint("t", i), ttl, timeout)
				if res.Verdict != round.Won {
					t.Fatal(res)
				}
				raised := 0
				time.Sleep(10 * time.Millisecond)
				for _, f := range faults {
					for _, op := range f.Arrived() {
						if raises(op) {
							raised++
						}
					}
					f.Forget()
				}
				if want := i == 0 || i == 1 && apart > 0; (raised > 0) != want {
					t.Errorf("%v apart, lock %d, of %q: %d raises, want some: %v", apart, i, key, raised, want)
				}
				a.Release(t.Context(), timeout)
				time.Sleep(time.Second)
			}
		})
	}
}

// The hint passes a counter that is ahead of the clocks, if a refusal has told of it and the
// nodes would follow.
func TestFencingHint(t *testing.T) {
	inFencingWorld(t, 3, func(t *testing.T, w *world, p *process) {
		f := p.fencing("k")
		a := New(p.Nodes, "k", "t")
		now := time.Now().UnixMicro()
		for _, tc := range []struct{ seen, want int64 }{
			{now - 1, now}, {now, now + 1}, {now + 1000, now + 1001}, {now + 10, now + 1001},
			{now + maxHint.Microseconds() - 1, now + maxHint.Microseconds()}, {now + maxHint.Microseconds(), now},
		} {
			f.sees(tc.seen)
			if got := f.hint(a, time.Now()); got != tc.want {
				t.Errorf("with a counter at %+d the hint is %+d, want %+d", tc.seen-now, got-now, tc.want-now)
			}
		}

		for i, l := range p.Members[:2] { // what is not known of the third does not count
			l.Clock.Learn(time.Now().Add(time.Duration(i+1)*time.Hour), time.Now(), 0, time.Now())
		}
		if got, want := f.hint(a, time.Now()), now+(90*time.Minute).Microseconds(); got != want {
			t.Errorf("with nodes ahead by one and two hours the hint is %v, want %v", got-now, want-now)
		}
	})
}

// What cannot be fenced is refused, with the reason.
func TestFencingRefusesBeforehand(t *testing.T) {
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		p := w.process(bare)
		if _, err := p.Fencing("k"); err == nil || !strings.Contains(err.Error(), p.Members[0].Name.String()) || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("bare nodes: %v", err)
		}
		p = w.process(scripted)
		for key, ok := range map[string]bool{"k": true, "{k}": true, "a}b": false, "{}x": false, "a{b": false} {
			if _, err := p.Fencing(key); (err == nil) != ok {
				t.Errorf("%q: %v", key, err)
			}
		}
	})
}

// unqueued is a local queue without a ticket.
type unqueued struct{}

func (unqueued) Ticket() string                { return "" }
func (unqueued) Hears(int) bool                { return false }
func (unqueued) Enters(int, *Attempt)          {}
func (unqueued) IsNewest(int, *Attempt) bool   { return false }
func (unqueued) Queued(int, *Attempt) bool     { return false }
func (unqueued) SetQueued(int, *Attempt, bool) {}

// A node that joins a lock that was won on the others votes for its token.
func TestFencingJoin(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		p := w.process(full)
		w.mem[2].Set("k", "another", 50*time.Millisecond)
		ahead := time.Now().UnixMicro() + 100000
		w.count("k", ahead, ahead)
		a := New(p.Nodes, "k", w.token())
		a.Wait(unqueued{}, time.Now(), ttl, timeout)
		a.Vote(p.fencing("k"), ttl)
		res := a.Acquire(t.Context(), ttl, timeout)
		expect(t, res, "acquire", round.Won, 0)
		synctest.Wait()
		fence := int64(a.Fence())
		a.wantFence(t, "on the first two", ahead+1)
		if cast := a.casts(); !slices.Equal(cast, []int64{fence, fence, 0}) {
			t.Errorf("the votes before the join are %d", cast)
		}
		a.Lasts(p.Config.Clock.Now().Add(ttl))
		time.Sleep(100 * time.Millisecond)
		if !a.Join(2) {
			t.Error("the lock does not use the notification")
		}
		synctest.Wait()
		// The third was not asked for the hint, and says no more than that it did as it was asked.
		if cast := a.casts(); !slices.Equal(cast, []int64{fence, fence, fence}) {
			t.Errorf("the votes are %d, as far as is known, want all for the token, %d", cast, fence)
		}
		a.wantFence(t, "after the join", fence)
		expect(t, a.release(), "release", round.Won, 0)
	})
}
