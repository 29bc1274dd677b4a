package scripttest

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// mostDead is how many tickets of dead waiters one script removes.
const mostDead = 515

// stopsShort fails the check unless r says whether the lock held the token (1 or 0), and
// that there may be more tickets of dead waiters than the script has removed.
func (t *trial) stopsShort(r backend.Reply, mine int64) {
	if want := (backend.Reply{mine, "", int64(1)}); !slices.Equal(r, want) {
		t.Failf("a script that has removed %d tickets of the dead, and nothing else, answers %v, want %v", mostDead, check.Brief(r), check.Brief(want))
	}
}

func releaseChecks() []rule {
	const ms = 60_000
	const called = "a waiter that is not called sleeps on a free lock"
	return []rule{{
		name: "Eval/release",
		why:  "who releases must learn whether the lock was still his, and nobody else's may go",
		run: func(t *trial) {
			q := t.queue()
			token := t.Name()
			t.Answer(q.eval(lua.Release, token), "release of a key that does not exist", 0)
			q.free("after a release by another")
			t.SetNX(q.lock, token, long, true, "a free key")
			for _, other := range []string{t.Name(), "", token + "\x00", "~" + token} {
				t.Answer(q.eval(lua.Release, other), "release of a key that another token holds", 0)
				t.Answer(q.eval(lua.Release, other, "20:"+token, ""), "release of a key that another token holds, by a waiter", 0)
			}
			q.holds(token, long, "after releases by others")
			t.Answer(q.eval(lua.Release, token, "", ""), "release of a key by its holder", 1)
			q.free("after its release")
			t.Answer(q.eval(lua.Release, token), "release of a key that was released", 0)
		},
	}, {
		name: "Eval/release without a token",
		why:  "no token is nobody's: it must not be taken for an empty one",
		run: func(t *trial) {
			q := t.queue()
			t.SetNX(q.lock, "", long, true, "a free key, with the empty token")
			t.Answer(q.eval(lua.Release, ""), "release without a token of a key that is empty", 0)
			t.Answer(q.eval(lua.Release, "", "20:a", ""), "release without a token of a key that is empty, by a waiter", 0)
			q.holds("", long, "after a release without a token")
		},
	}, {
		name:  "Eval/release of another type",
		needs: []string{"SetOther", "Subscriber"},
		why:   "a key that holds anything but a token is somebody else's",
		run: func(t *trial) {
			q := t.queue()
			t.SetOther(q.lock)
			w := q.waiter(ms)
			q.waits(w, 0, 0, "of a key that holds no string")
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(q.eval(lua.Release, token, "", ""), "release of a key that holds no string", 0)
			}
			q.stand("after releases of a key that holds no string", w)
			t.Answer(q.eval(lua.Release, "", w.ticket, ""), "release of a key that holds no string, by a waiter", 0)
			q.stand("after one gave up waiting for a key that holds no string")
			t.SetNX(q.lock, t.Name(), long, false, "a key that holds no string, after releases in vain")
			q.hearsOnly(w)
		},
	}, {
		name:  "Eval/release calls",
		needs: []string{"Subscriber"},
		why:   called + ", and two look whether the one that was called came",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			var all []waiter
			for i := range 5 {
				w := q.waiter(ms + i)
				q.waits(w, 9000-1000*i, int64(i), fmt.Sprint("number ", i))
				all = append(all, w)
			}
			t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
			q.reserved(all[0], "after the release")
			q.stand("after the first one was called", all[1:]...)
			for i, want := range [][]string{{q.call()}, {q.next(all[0])}, {q.next(all[0])}, {}, {}} {
				q.hearsOnly(all[i], want...)
			}
		},
	}, {
		name:  "Eval/release calls one after the other",
		needs: []string{"Subscriber"},
		why:   called,
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c := q.waiter(ms), q.waiter(ms+1), q.waiter(ms+2)
			q.waits(a, 3000, 0, "the first one")
			q.waits(b, 2000, 1, "the second one")
			q.waits(c, 1000, 2, "the third one")
			for i, w := range []waiter{a, b, c} {
				t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
				q.reserved(w, fmt.Sprint("after release ", i))
				token = t.Name()
				t.Answer(q.eval(lua.Acquire, token, "60000", w.ticket, "0"), "acquire by the one that was called", 1, ms)
			}
			t.Answer(q.eval(lua.Release, token, c.ticket, ""), "release by the last one", 1)
			q.free("after the last one's release")
			q.stand("after the last one's release")
			q.hearsOnly(a, q.call())
			q.hearsOnly(b, q.next(a), q.call())
			q.hearsOnly(c, q.next(a), q.next(b), q.call())
		},
	}, {
		name:  "Eval/release reserves for the grace",
		needs: []string{"Subscriber"},
		why:   "one that was called and does not come must not hold the lock for longer than he asked for, nor for less",
		run: func(t *trial) {
			t.Expires(short, "a lock that was reserved", func(lock, _ string) (time.Duration, bool) {
				q := t.queueOf(lock)
				token := q.take()
				w := q.waiter(int(short.Milliseconds()))
				q.waits(w, 0, 0, "the only one")
				began := t.Clock()
				t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
				return began, true
			})
		},
	}, {
		name:  "Eval/release caps the grace",
		needs: []string{"Subscriber"},
		why:   "whoever can write to a queue must not have the lock reserved for longer than clients ask for, a second",
		run: func(t *trial) {
			for _, grace := range []int{999, 1000, 1001, 9999, 10_000, 99_999} {
				q := t.queue()
				token := q.take()
				a, b := q.waiter(grace), q.waiter(ms)
				q.waits(a, 2000, 0, "the first one")
				q.waits(b, 1000, 1, "the second one")
				t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
				q.reserved(a, fmt.Sprintf("with a grace of %d ms, after the release", grace))
				q.hearsOnly(b, q.next(a))
			}
		},
	}, {
		name:  "Eval/release by one who gives up",
		needs: []string{"Subscriber"},
		why:   "a waiter that has gone must not be called, and a call that it got must go to the next one",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c, d := q.waiter(ms), q.waiter(ms+1), q.waiter(ms+2), q.waiter(ms+3)
			for i, w := range []waiter{a, b, c, d} {
				q.waits(w, 9000-1000*i, int64(i), fmt.Sprint("number ", i))
			}
			t.Answer(q.eval(lua.Release, "", a.ticket, ""), "release by one who gives up, while another holds the lock", 0)
			q.holds(token, long, "after one gave up")
			q.stand("after the first one gave up", b, c, d)

			t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
			q.reserved(b, "after the release")
			t.Answer(q.eval(lua.Release, "", a.ticket, ""), "release by one who was not called", 0)
			q.staysReserved(b, "after one gave up who was not called")
			t.Answer(q.eval(lua.Release, t.Name(), b.ticket, ""), "release by the one that was called", 0)
			q.reserved(c, "after the one that was called gave up")

			// A free lock with waiters.
			token = t.Name()
			t.Answer(q.eval(lua.Acquire, token, "60000", c.ticket, "0"), "acquire by the one that was called", 1, ms)
			t.EvalDelete(q.lock, token, true, "a key by its holder")
			t.Answer(q.eval(lua.Release, ""), "release of a free lock", 0)
			q.reserved(d, "after the release of a free lock")
			t.Answer(q.eval(lua.Release, "", d.ticket, ""), "release by the one that was called", 0)
			q.free("after the last one gave up")

			q.hearsOnly(a)
			q.hearsOnly(b, q.call())
			q.hearsOnly(c, q.next(b), q.call())
			q.hearsOnly(d, q.next(b), q.next(c), q.call())
		},
	}, {
		name:  "Eval/release passes over the dead",
		needs: []string{"Subscriber"},
		why:   "waiters die without a word; the living must not wait for them, nor the server for any number of them at a time",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			dead := q.waiter(ms) // the waiter with all the dead tickets
			var tickets []waiter
			for i := range mostDead + 4 {
				w := dead
				w.ticket = strconv.Itoa(ms+i) + ":" + dead.channel
				q.waits(w, 900_000-1000*i, int64(i), fmt.Sprint("number ", i))
				tickets = append(tickets, w)
			}
			a, b := q.waiter(ms), q.waiter(ms)
			q.waits(a, 2000, mostDead+4, "the first one alive")
			q.waits(b, 1000, mostDead+5, "the second one alive")
			q.leaves(dead)
			t.stopsShort(q.eval(lua.Release, token), 1)
			q.free("after as many dead ones as a release removes")
			q.stand("after as many dead ones as a release removes", append(tickets[mostDead:], a, b)...)
			t.Answer(q.eval(lua.Release, "", "", ""), "release of a free lock", 0)
			q.reserved(a, "after four dead ones more")
			q.stand("after the first one alive was called", b)
			q.hearsOnly(a, q.call())
			q.hearsOnly(b, q.next(a))
		},
	}, {
		name:  "Eval/release tells those behind the dead",
		needs: []string{"Subscriber"},
		why:   "who is told to look whether the one that was called came must be alive",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, dead, b, c := q.waiter(ms), q.waiter(ms), q.waiter(ms), q.waiter(ms)
			for i, w := range []waiter{a, dead, b, c} {
				q.waits(w, 9000-1000*i, int64(i), fmt.Sprint("number ", i))
			}
			q.leaves(dead)
			t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
			q.reserved(a, "after the release")
			q.hearsOnly(b, q.next(a))
			q.hearsOnly(c, q.next(a))
		},
	}, {
		name:  "Eval/release of bytes",
		needs: []string{"Subscriber"},
		why:   "keys, tokens and channels are arbitrary bytes, and so is the call that names them",
		run: func(t *trial) {
			for _, o := range check.Oddities() {
				if len(o.Text) >= 1<<16 {
					continue
				}
				q := t.queueOf(t.KeyFor(o.Text))
				token := o.Text
				t.SetNX(q.lock, token, long, true, "a free key")
				a, b := q.waiterOn(ms, t.Name()+":"+o.Text), q.waiterOn(ms, t.Name()+":"+o.Text)
				q.waits(a, 2000, 0, "whose channel ends in "+check.Quote(o.Text))
				q.waits(b, 1000, 1, "whose channel ends in "+check.Quote(o.Text))
				t.Answer(q.eval(lua.Release, token), "release of the key "+check.Quote(q.lock)+" by its holder", 1)
				q.reserved(a, "after the release")
				q.hearsOnly(a, q.call())
				q.hearsOnly(b, q.next(a))
			}
		},
	}, {
		name:  "Eval/release tells others",
		needs: []string{"Subscriber"},
		why:   "waiters of another library wait for a word of their own",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, other, late := q.waiter(ms), q.waiter(ms), q.waiter(ms)
			q.waits(a, 0, 0, "the only one")
			t.Answer(q.eval(lua.Release, t.Name(), "", other.channel), "release of a key that another token holds", 0)
			t.Answer(q.eval(lua.Release, "", "20:x", other.channel), "release without a token", 0)
			mark := q.mark(other)
			t.Answer(q.eval(lua.Release, token, "", other.channel), "release of a key by its holder", 1)
			t.Answer(q.eval(lua.Release, token, "", late.channel), "release of a key that is reserved", 0)
			t.Answer(q.eval(lua.Release, "", a.ticket, late.channel), "release by the one that was called", 0)
			other.Hears(mark, "ok")
			q.hearsOnly(a, q.call())
			q.hearsOnly(late)
			// Without a waiter of this check.
			token = q.take()
			other = q.waiter(ms)
			t.Answer(q.eval(lua.Release, token, "", other.channel), "release of a key by its holder", 1)
			q.hearsOnly(other, "ok")
		},
	}, {
		name:  "Eval/release beside no queue",
		needs: []string{"SetOther"},
		why:   "what is wrong with the queue must not keep the lock from being released",
		run: func(t *trial) {
			q := t.queue()
			q.spoil()
			token := q.take()
			t.Answer(q.eval(lua.Release, token, "20:a", ""), "release by its holder, with a list for a queue", 1)
			q.free("after its release, with a list for a queue")
			t.Answer(q.eval(lua.Release, "", "20:a", ""), "release of a free lock, with a list for a queue", 0)
		},
	}}
}
