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
		t.Failf("a script that has removed %d tickets of dead waiters, and nothing else, answers %v, want %v", mostDead, check.Brief(r), check.Brief(want))
	}
}

func releaseChecks() []rule {
	const ms = 60_000
	const called = "a waiter that is not notified sleeps while the lock is free"
	return []rule{{
		name: "Eval/release",
		why:  "a release must report whether the lock was still held, and must not delete another holder's lock",
		run: func(t *trial) {
			q := t.queue()
			token := t.Name()
			t.Answer(q.eval(lua.Release, token), "release of a missing key", 0)
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
		why:  "a missing token must not match an empty one",
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
		why:   "a key that does not hold a token belongs to another program",
		run: func(t *trial) {
			q := t.queue()
			t.SetOther(q.lock)
			w := q.waiter(ms)
			q.waits(w, 0, 0, "for a key of another type")
			for _, token := range []string{"", t.Name(), "element"} {
				t.Answer(q.eval(lua.Release, token, "", ""), "release of a key of another type", 0)
			}
			q.inQueue("after releases of a key of another type", w)
			t.Answer(q.eval(lua.Release, "", w.ticket, ""), "release of a key of another type, by a waiter", 0)
			q.inQueue("after a waiter gave up on a key of another type")
			t.SetNX(q.lock, t.Name(), long, false, "a key of another type, after refused releases")
			q.receivesOnly(w)
		},
	}, {
		name:  "Eval/release notifies",
		needs: []string{"Subscriber"},
		why:   called + ", and the two waiters behind check whether the notified one acquires the lock",
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
			q.inQueue("after the first waiter was notified", all[1:]...)
			for i, want := range [][]string{{q.call()}, {q.next(all[0])}, {q.next(all[0])}, {}, {}} {
				q.receivesOnly(all[i], want...)
			}
		},
	}, {
		name:  "Eval/release notifies in order",
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
				t.Answer(q.eval(lua.Acquire, token, "60000", w.ticket, "0"), "acquire by the notified waiter", 1, ms)
			}
			t.Answer(q.eval(lua.Release, token, c.ticket, ""), "release by the last one", 1)
			q.free("after the last one's release")
			q.inQueue("after the last one's release")
			q.receivesOnly(a, q.call())
			q.receivesOnly(b, q.next(a), q.call())
			q.receivesOnly(c, q.next(a), q.next(b), q.call())
		},
	}, {
		name:  "Eval/release reserves for the grace",
		needs: []string{"Subscriber"},
		why:   "a notified waiter that does not acquire the lock must delay the others for exactly its grace",
		run: func(t *trial) {
			t.Expires(short, "a reserved lock", func(lock, _ string) (time.Duration, bool) {
				q := t.queueOf(lock)
				token := q.take()
				w := q.waiter(int(short.Milliseconds()))
				q.waits(w, 0, 0, "the only waiter")
				began := t.Clock()
				t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
				return began, true
			})
		},
	}, {
		name:  "Eval/release caps the grace",
		needs: []string{"Subscriber"},
		why:   "a client that can write to a queue must not cause a reservation longer than a second, the longest normal grace",
		run: func(t *trial) {
			for _, grace := range []int{999, 1000, 1001, 9999, 10_000, 99_999} {
				q := t.queue()
				token := q.take()
				a, b := q.waiter(grace), q.waiter(ms)
				q.waits(a, 2000, 0, "the first one")
				q.waits(b, 1000, 1, "the second one")
				t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
				q.reserved(a, fmt.Sprintf("with a grace of %d ms, after the release", grace))
				q.receivesOnly(b, q.next(a))
			}
		},
	}, {
		name:  "Eval/release by a waiter that gives up",
		needs: []string{"Subscriber"},
		why:   "a waiter that has given up must not be notified, and its reservation must go to the next one",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, b, c, d := q.waiter(ms), q.waiter(ms+1), q.waiter(ms+2), q.waiter(ms+3)
			for i, w := range []waiter{a, b, c, d} {
				q.waits(w, 9000-1000*i, int64(i), fmt.Sprint("number ", i))
			}
			t.Answer(q.eval(lua.Release, "", a.ticket, ""), "release by a waiter that gives up while another holds the lock", 0)
			q.holds(token, long, "after a waiter gave up")
			q.inQueue("after the first one gave up", b, c, d)

			t.Answer(q.eval(lua.Release, token), "release of a key by its holder", 1)
			q.reserved(b, "after the release")
			t.Answer(q.eval(lua.Release, "", a.ticket, ""), "release by a waiter that was not notified", 0)
			q.staysReserved(b, "after a waiter gave up that was not notified")
			t.Answer(q.eval(lua.Release, t.Name(), b.ticket, ""), "release by the notified waiter", 0)
			q.reserved(c, "after the notified waiter gave up")

			// A free lock with waiters.
			token = t.Name()
			t.Answer(q.eval(lua.Acquire, token, "60000", c.ticket, "0"), "acquire by the notified waiter", 1, ms)
			t.EvalDelete(q.lock, token, true, "a key by its holder")
			t.Answer(q.eval(lua.Release, ""), "release of a free lock", 0)
			q.reserved(d, "after the release of a free lock")
			t.Answer(q.eval(lua.Release, "", d.ticket, ""), "release by the notified waiter", 0)
			q.free("after the last waiter gave up")

			q.receivesOnly(a)
			q.receivesOnly(b, q.call())
			q.receivesOnly(c, q.next(b), q.call())
			q.receivesOnly(d, q.next(b), q.next(c), q.call())
		},
	}, {
		name:  "Eval/release skips dead waiters",
		needs: []string{"Subscriber"},
		why:   "waiters can die silently; live ones must not wait for them, and one script must not remove an unlimited number",
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
			q.waits(a, 2000, mostDead+4, "the first live waiter")
			q.waits(b, 1000, mostDead+5, "the second live waiter")
			q.leaves(dead)
			t.stopsShort(q.eval(lua.Release, token), 1)
			q.free("after as many dead waiters as a release removes")
			q.inQueue("after as many dead waiters as a release removes", append(tickets[mostDead:], a, b)...)
			t.Answer(q.eval(lua.Release, "", "", ""), "release of a free lock", 0)
			q.reserved(a, "after four more dead waiters")
			q.inQueue("after the first live waiter was notified", b)
			q.receivesOnly(a, q.call())
			q.receivesOnly(b, q.next(a))
		},
	}, {
		name:  "Eval/release informs waiters behind dead ones",
		needs: []string{"Subscriber"},
		why:   "a waiter that checks on the notified one must be alive",
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
			q.receivesOnly(b, q.next(a))
			q.receivesOnly(c, q.next(a))
		},
	}, {
		name:  "Eval/release of bytes",
		needs: []string{"Subscriber"},
		why:   "keys, tokens and channels are arbitrary bytes, and so are the messages that contain them",
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
				q.receivesOnly(a, q.call())
				q.receivesOnly(b, q.next(a))
			}
		},
	}, {
		name:  "Eval/release announces",
		needs: []string{"Subscriber"},
		why:   "waiters of another library wait for their own message",
		run: func(t *trial) {
			q := t.queue()
			token := q.take()
			a, other, late := q.waiter(ms), q.waiter(ms), q.waiter(ms)
			q.waits(a, 0, 0, "the only waiter")
			t.Answer(q.eval(lua.Release, t.Name(), "", other.channel), "release of a key that another token holds", 0)
			t.Answer(q.eval(lua.Release, "", "20:x", other.channel), "release without a token", 0)
			mark := q.mark(other)
			t.Answer(q.eval(lua.Release, token, "", other.channel), "release of a key by its holder", 1)
			t.Answer(q.eval(lua.Release, token, "", late.channel), "release of a reserved key", 0)
			t.Answer(q.eval(lua.Release, "", a.ticket, late.channel), "release by the notified waiter", 0)
			other.Hears(mark, "ok")
			q.receivesOnly(a, q.call())
			q.receivesOnly(late)
			// There is no waiter of this check.
			token = q.take()
			other = q.waiter(ms)
			t.Answer(q.eval(lua.Release, token, "", other.channel), "release of a key by its holder", 1)
			q.receivesOnly(other, "ok")
		},
	}, {
		name:  "Eval/release with a damaged queue",
		needs: []string{"SetOther"},
		why:   "a damaged queue must not prevent the release of the lock",
		run: func(t *trial) {
			q := t.queue()
			q.spoil()
			token := q.take()
			t.Answer(q.eval(lua.Release, token, "20:a", ""), "release by its holder, with a list as the queue", 1)
			q.free("after the release, with a list as the queue")
			t.Answer(q.eval(lua.Release, "", "20:a", ""), "release of a free lock, with a list as the queue", 0)
		},
	}}
}
