package scripttest

import (
	"strconv"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// sharingChecks are about readers and the waiters in the queue.
func sharingChecks() []rule {
	const ms = 60_000
	return []rule{{
		name:  "Eval/acquireshared behind a writer",
		needs: []string{"Subscriber"},
		why:   "readers that overtake a waiting writer can keep it waiting forever",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			before, writer, behind := s.reader(), s.waiter(ms), s.reader()
			s.waits(writer, 1000, 0, "while somebody reads")
			t.refused(s.run(lua.AcquireShared, t.Name(), "60000"), "acquire to read, while a writer waits,", sharedValue)
			s.waitsToRead(behind, 0, 1, "behind a writer")
			s.inQueue("after a reader was refused", writer, behind)
			token := t.Name()
			t.Answer(s.run(lua.AcquireShared, token, "60000", before.ticket, "2000"), "acquire to read by a waiter that was before the writer", 1)
			s.inQueue("after a reader from before the writer has joined", writer, behind)
			s.receivesOnly(behind)
		},
	}, {
		name:  "Eval/acquireshared of a token that reads elsewhere",
		needs: []string{"Subscriber"},
		why:   "a reader that a server has lost must get it back although a writer waits, but only beside other readers",
		run: func(t *trial) {
			again := func(s shared, token string) backend.Reply {
				return s.run(lua.AcquireShared, token, "60000", "", "", "", "1")
			}
			s := t.shared()
			s.reads(long, "of a free key")
			writer, behind, lost := s.waiter(ms), s.reader(), t.Name()
			s.waits(writer, 1000, 0, "while somebody reads")
			s.waitsToRead(behind, 0, 1, "behind a writer")
			t.Answer(again(s, lost), "acquire by a token that reads elsewhere, while a writer waits,", 1)
			s.inQueue("after a reader has joined again", writer, behind)
			t.refused(s.run(lua.AcquireShared, t.Name(), "60000", "", "", "", "0"), "acquire by a token that does not read elsewhere", sharedValue)
			t.Answer(s.run(lua.ReleaseShared, lost), "release by a reader that has joined again", 1)
			s.receivesOnly(writer)
			s.receivesOnly(behind)

			s = t.shared()
			token := s.take()
			t.refused(again(s, lost), "acquire of a held lock by a token that reads elsewhere", owner(token))
			writer = s.waiter(ms)
			s.waits(writer, 0, 0, "the first one")
			t.Answer(s.eval(lua.Release, token), "release of a key by its holder", 1)
			s.reserved(writer, "after the release")
			t.refused(again(s, lost), "acquire of a reserved lock by a token that reads elsewhere", owner("~"+writer.ticket))
			s.staysReserved(writer, "after a refused reader")

			s = t.shared()
			t.Answer(again(s, lost), "acquire of a free lock by a token that reads elsewhere", 1)
			s.holds(sharedValue, long, "after the only reader has joined again")
		},
	}, {
		name:  "Eval/acquireshared past dead waiters",
		needs: []string{"Subscriber"},
		why:   "a writer that has died must not keep readers waiting while others read",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			dead, w := s.waiter(ms), s.reader()
			s.waits(dead, 1000, 0, "while somebody reads")
			s.waitsToRead(w, 0, 1, "behind a writer")
			s.leaves(dead)
			s.joins(w, 0, "behind a dead writer")
			s.inQueue("after a reader has joined")
			s.reads(long, "that others read, without a ticket")
		},
	}, {
		name:  "Eval/acquireshared invites",
		needs: []string{"Subscriber"},
		why:   "readers that wait side by side must get the lock together, but not those behind a writer",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			a, b, c, writer, d := s.reader(), s.reader(), s.reader(), s.waiter(ms), s.reader()
			for i, w := range []waiter{a, b, c} {
				s.waitsToRead(w, 9000-1000*i, int64(i), "number "+strconv.Itoa(i))
			}
			s.waits(writer, 5000, 3, "behind three readers")
			s.waitsToRead(d, 4000, 4, "behind a writer")
			s.sends()
			t.Answer(s.eval(lua.Release, token), "release of a key by its holder", 1)
			s.reserved(a, "after the release")
			s.joins(a, 9000, "for whom the lock is reserved")
			s.holds(sharedValue, long, "after the notified reader acquired it")
			s.inQueue("after the readers next to it were notified", writer, d)
			s.joins(b, 8000, "that was invited")
			s.joins(c, 7000, "that was invited")
			s.inQueue("after the invited readers have joined", writer, d)
			s.receivesOnly(a, s.call())
			s.receivesOnly(b, s.next(a), s.call())
			s.receivesOnly(c, s.next(a), s.call())
			s.receivesOnly(writer)
			s.receivesOnly(d)
		},
	}, {
		name:  "Eval/acquireshared of a reserved lock",
		needs: []string{"Subscriber"},
		why:   "only the notified waiter may get the lock, whether it reads or not",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			writer, w := s.waiter(ms), s.reader()
			s.waits(writer, 1000, 0, "the first one")
			s.waitsToRead(w, 0, 1, "behind a writer")
			t.Answer(s.eval(lua.Release, token), "release of a key by its holder", 1)
			s.reserved(writer, "after the release")
			t.refused(s.run(lua.AcquireShared, t.Name(), "60000"), "acquire to read of a key that is reserved", owner("~"+writer.ticket))
			s.waitsToRead(w, 0, 0, "while the lock is reserved for a writer")
			s.staysReserved(writer, "after refused readers")
		},
	}, {
		name:  "Eval/extendshared invites",
		needs: []string{"Subscriber"},
		why:   "readers that wait for a holder must not sleep once it only reads",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			w, writer := s.reader(), s.waiter(ms)
			s.waitsToRead(w, 1000, 0, "the first one")
			s.waits(writer, 0, 1, "behind a reader")
			t.Answer(s.run(lua.ExtendShared, token, "60000"), "extension to read by the holder", 1)
			s.inQueue("after the holder has become a reader", writer)
			s.joins(w, 1000, "that was invited")
			s.receivesOnly(w, s.call())
			s.receivesOnly(writer)
		},
	}, {
		name:  "Eval/releaseshared notifies",
		needs: []string{"Subscriber"},
		why:   "a writer that is not notified by the last reader sleeps while the lock is free",
		run: func(t *trial) {
			s := t.shared()
			a := s.reads(long, "of a free key")
			b := s.reads(long, "that another reads")
			writer, w := s.waiter(ms), s.reader()
			s.waits(writer, 1000, 0, "while others read")
			s.waitsToRead(w, 0, 1, "behind a writer")
			t.Answer(s.run(lua.ReleaseShared, a), "release by a reader", 1)
			s.holds(sharedValue, long, "while another reads")
			s.inQueue("while another reads", writer, w)
			t.Answer(s.run(lua.ReleaseShared, b), "release by the last reader", 1)
			s.reserved(writer, "after the last reader's release")
			s.inQueue("after the writer was notified", w)
			s.receivesOnly(writer, s.call())
			s.receivesOnly(w, s.next(writer))
		},
	}, {
		name:  "Eval/releaseshared of a waiter",
		needs: []string{"Subscriber"},
		why:   "a reader that gives up passes its notification on",
		run: func(t *trial) {
			s := t.shared()
			token := s.take()
			w, other, next := s.reader(), s.reader(), s.reader()
			s.waitsToRead(w, 2000, 0, "the first one")
			s.waitsToRead(other, 1000, 1, "the second one")
			s.waitsToRead(next, 0, 2, "the third one")
			t.Answer(s.run(lua.ReleaseShared, "", other.ticket), "release without a token by a waiter", 0)
			s.inQueue("after the second one has given up", w, next)
			s.holds(token, long, "after the second one has given up")
			t.Answer(s.eval(lua.Release, token), "release of a key by its holder", 1)
			s.reserved(w, "after the release")
			t.Answer(s.run(lua.ReleaseShared, "", w.ticket), "release without a token by the notified waiter", 0)
			s.reserved(next, "after the notified reader has given up")
			s.receivesOnly(next, s.next(w), s.call())
		},
	}, {
		name:  "Eval/release of a writer that waits for readers",
		needs: []string{"Subscriber"},
		why:   "readers behind a writer that gives up must not sleep while others read",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			writer, w, next := s.waiter(ms), s.reader(), s.waiter(ms)
			s.waits(writer, 2000, 0, "while somebody reads")
			s.waitsToRead(w, 1000, 1, "behind a writer")
			s.waits(next, 0, 2, "behind a reader")
			t.Answer(s.eval(lua.Release, "", writer.ticket), "release without a token by a waiter", 0)
			s.inQueue("after the first writer has given up", next)
			s.joins(w, 1000, "that was invited")
			s.receivesOnly(w, s.call())
			s.receivesOnly(next)
		},
	}, {
		name:  "Eval/releaseshared of a former writer",
		needs: []string{"Subscriber"},
		why:   "a holder that has become a reader may still be queued elsewhere, and readers behind it must not sleep while others read",
		run: func(t *trial) {
			s := t.shared()
			s.reads(long, "of a free key")
			former := s.reads(long, "that another reads")
			writer, w, next := s.waiter(ms), s.reader(), s.waiter(ms)
			s.waits(writer, 2000, 0, "while others read")
			s.waitsToRead(w, 1000, 1, "behind a writer")
			s.waits(next, 0, 2, "behind a reader")
			t.Answer(s.run(lua.ReleaseShared, former, writer.ticket), "release by a reader, with the ticket of a writer", 1)
			s.holds(sharedValue, long, "while another reads")
			s.inQueue("after the former writer has left", next)
			s.joins(w, 1000, "that was invited")
			s.receivesOnly(w, s.call())
			s.receivesOnly(writer)
			s.receivesOnly(next)
		},
	}, {
		name:  "Eval/releaseshared announces",
		needs: []string{"Subscriber"},
		why:   "waiters of another library get the lock only when nobody reads any more",
		run: func(t *trial) {
			s := t.shared()
			a := s.reads(long, "of a free key")
			b := s.reads(long, "that another reads")
			early, w := s.waiter(ms), s.waiter(ms)
			t.Answer(s.run(lua.ReleaseShared, a, "", early.channel), "release by a reader, with an announcement", 1)
			t.Answer(s.run(lua.ReleaseShared, t.Name(), "", early.channel), "release for a token that does not read, with an announcement", 0)
			t.Answer(s.run(lua.ReleaseShared, b, "", w.channel), "release by the last reader, with an announcement", 1)
			s.receivesOnly(early)
			s.receivesOnly(w, "ok")
		},
	}, {
		name:  "Eval/rollbackshared",
		needs: []string{"Subscriber"},
		why:   "a failed attempt must end its own share alone, and keep its waiter's place",
		run: func(t *trial) {
			for _, notify := range []string{"0", "1"} {
				s := t.shared()
				t.Answer(s.run(lua.RollbackShared, t.Name(), "", "0", notify), "rollback of a missing key", 0)
				a := s.reads(long, "of a free key")
				b := s.reads(long, "that another reads")
				writer, w := s.waiter(ms), s.reader()
				s.waits(writer, 1000, 0, "while others read")
				t.Answer(s.run(lua.RollbackShared, t.Name(), "", "0", notify), "rollback for a token that does not read", 0)
				t.Answer(s.run(lua.RollbackShared, b, "", "0", notify), "rollback by a reader", 1)
				s.holds(sharedValue, long, "while another reads")
				t.Answer(s.run(lua.RollbackShared, a, w.ticket, "2000", notify), "rollback by the last reader, which waits longest", 1)
				if notify == "1" {
					s.reserved(writer, "after the rollback by the last reader")
					s.inQueue("after a rollback with a notification", w)
					s.receivesOnly(writer, s.call())
				} else {
					s.free("after the rollback by the last reader")
					s.inQueue("after a rollback without a notification", w, writer)
					s.receivesOnly(writer)
				}
				s.receivesOnly(w)
			}
		},
	}, {
		name: "Eval/rollbackshared of a holder",
		why:  "the token of a holder that no extension has reached is taken back too",
		run: func(t *trial) {
			for _, script := range []*backend.Script{lua.RollbackShared, lua.ReleaseShared} {
				s := t.shared()
				token := s.take()
				t.Answer(s.run(script, "~"+token, "", "0", "1"), script.Name()+" by another", 0)
				s.holds(token, long, "after a rollback by another")
				t.Answer(s.run(script, token, "", "0", "1"), script.Name()+" by the holder", 1)
				s.free("after a rollback by the holder")
			}
		},
	}, {
		name:  "Eval/acquireshared with a damaged queue",
		needs: []string{"SetOther"},
		why:   "a damaged queue must not prevent the acquisition or the release of the lock",
		run: func(t *trial) {
			s := t.shared()
			s.spoil()
			a := s.reads(long, "of a free key with a list as the queue")
			b := s.reads(long, "that another reads, with a list as the queue")
			for _, token := range []string{a, b} {
				t.Answer(s.run(lua.ReleaseShared, token), "release by a reader, with a list as the queue", 1)
			}
			s.free("after the last reader's release, with a list as the queue")
		},
	}, {
		name:  "Eval/acquireshared with a damaged set",
		needs: []string{"SetOther"},
		why:   "a set that somebody has overwritten must not make a reader of anybody, nor keep the next lock",
		run: func(t *trial) {
			s := t.shared()
			t.SetOther(s.keys()[2])
			a := s.reads(long, "of a free key with a list as the set")
			t.Answer(s.run(lua.ReleaseShared, a), "release by the only reader, with a list as the former set", 1)
			s.free("after the only reader's release, with a list as the former set")
		},
	}}
}

// sharing returns a script for a lock that others may read, usually with the token of op.
// It does not look at the order of the readers, because two shares may end in the same
// millisecond on one node and not on the other.
func (g *generator) sharing(op backend.Op) backend.Op {
	if g.rng.IntN(3) > 0 { // usually a lock that changes hands
		op.Key, op.Token = g.prefix+"shared", pick(g, "x", "x", "y\r\n", "z")
	}
	ttl := strconv.FormatInt(adapterkit.Milliseconds(op.TTL), 10)
	readers := op.Key + "{" + op.Key + "}:readers"
	if op.Key != g.odd() && g.rng.IntN(6) == 0 {
		readers = g.odd()
	}
	keys := []string{op.Key, g.queueOf(op.Key), readers}
	ticket := g.ticket()
	if g.rng.IntN(2) == 0 {
		ticket = "9" + pick(g, "0500", "9999", "0000", "1000") + ":" + pick(g, g.channels()...)
	}
	return pick(g,
		script(lua.AcquireShared, keys, op.Token, ttl),
		script(lua.AcquireShared, keys, op.Token, ttl),
		script(lua.AcquireShared, keys, op.Token, ttl, ticket, g.waited()),
		script(lua.AcquireShared, keys, op.Token, ttl, ticket, g.waited()),
		script(lua.AcquireShared, keys, op.Token, pick(g, "0", g.badNumber()), ticket, g.waited()),
		script(lua.AcquireShared, keys, op.Token, ttl, pick(g, "", ticket), g.waited(), "", pick(g, "1", "1", "", "0")),
		script(lua.Acquire, keys[:2], op.Token, ttl, ticket, g.waited()),
		script(lua.ExtendShared, keys, op.Token, ttl),
		script(lua.ExtendShared, keys, op.Token, ttl),
		script(lua.ExtendShared, keys, op.Token, pick(g, "0", g.badNumber())),
		script(lua.ReleaseShared, keys, op.Token),
		script(lua.ReleaseShared, keys, op.Token),
		script(lua.ReleaseShared, keys, op.Token, "", pick(g, g.channels()...)),
		script(lua.ReleaseShared, keys, pick(g, "", op.Token), ticket),
		script(lua.RollbackShared, keys, op.Token, ticket, g.waited(), pick(g, "0", "1")),
		script(lua.RollbackShared, keys, op.Token, "", "0", pick(g, "0", "1")),
		script(lua.Inspect, keys[:2], "100"),
		script(lua.Inspect, []string{op.Key, readers}, "0"),
		script(lua.Delete, keys[:1], sharedValue))
}
