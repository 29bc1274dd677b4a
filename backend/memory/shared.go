package memory

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// The limits of invite.lua and purge.lua.
const (
	mostInvited = 4 * 64
	mostEnded   = 16
)

// whole milliseconds since 1970, as now.lua.
func (db *db) nowMillis() int64 { return db.now.UnixMilli() }

// share is share.lua: it lets a token read until the given time, in milliseconds since
// 1970.
func (db *db) share(lock, readers, token string, ends int64) error {
	if z, err := db.zset(readers); err != nil {
		return err
	} else if z != nil && z.rank(token) >= 0 {
		db.zrem(readers, token)
	}
	if err := db.zadd(readers, token, float64(ends)); err != nil {
		return err
	}
	db.untilLast(lock, readers)
	return nil
}

// untilLast lets the lock and the set live until the last reader's share ends.
func (db *db) untilLast(lock, readers string) {
	z, _ := db.zset(readers)
	last := time.UnixMilli(int64(z.members[len(z.members)-1].score))
	db.find(readers).expires = last
	if e := db.find(lock); e != nil {
		e.expires = last
	}
}

// reading is reading.lua: it returns when the share of a token ends, or 0 if the token does
// not read.
func (db *db) reading(readers, token string) (ends int64, err error) {
	z, err := db.zset(readers)
	if z == nil || err != nil {
		return 0, err
	}
	i := z.rank(token)
	if i < 0 || int64(z.members[i].score) <= db.nowMillis() {
		return 0, nil
	}
	return int64(z.members[i].score), nil
}

// purge is purge.lua: it removes a token from the readers, and shares that have ended.
func (db *db) purge(readers, token string) {
	z, err := db.zset(readers)
	if z == nil || err != nil {
		return
	}
	gone := []string{token}
	for _, m := range z.members[:min(mostEnded, len(z.members))] {
		if int64(m.score) <= db.nowMillis() {
			gone = append(gone, m.text)
		}
	}
	for _, token := range gone {
		db.zrem(readers, token)
	}
}

// unshare is unshare.lua: it takes a token out of the readers. It reports whether the token
// was reading, and whether nobody reads any more.
func (db *db) unshare(lock, readers, token string) (mine, last bool, err error) {
	ends, err := db.reading(readers, token)
	if err != nil {
		return false, false, err
	}
	now := db.nowMillis()
	z, _ := db.zset(readers)
	if z == nil {
		return false, true, nil
	}
	db.purge(readers, token)
	if len(z.members) == 0 || int64(z.members[len(z.members)-1].score) <= now {
		delete(db.entries, readers)
		return ends > 0, true, nil
	}
	db.untilLast(lock, readers)
	return ends > 0, false, nil
}

// invite is invite.lua: it notifies the readers at the head of the queue, and reports
// whether the caller with the ticket own may join.
func (db *db) invite(lock, queue, own string) (joins bool) {
	for range mostInvited {
		z, err := db.zset(queue)
		if z == nil || err != nil {
			return true
		}
		ticket := z.members[0].text
		_, channel, heard := db.inbox(ticket)
		if t, _ := proto.ParseTicket(ticket); heard && !t.Shared {
			return joins
		}
		db.zpop(queue)
		switch {
		case ticket == own:
			joins = true
		case heard:
			db.publish(channel, proto.Message{Kind: proto.Notify, Key: lock}.String())
		}
	}
	return joins
}

// acquireShared is acquireshared.lua.
func acquireShared(db *db, keys, args []string) (backend.Reply, error) {
	a, err := proto.ParseAcquireShared(keys, args)
	if err != nil {
		return nil, err
	}
	if err := db.suspect(a.Check); err != nil {
		return nil, err
	}
	e, ms, now := db.find(a.Lock), a.TTL.Milliseconds(), db.nowMillis()
	shared := e.holds(proto.SharedValue)
	if shared {
		ends, err := db.reading(a.Readers, a.Token)
		if err != nil {
			return nil, err
		}
		if ends > 0 {
			return backend.Reply{int64(1), ends - now}, nil
		}
		db.purge(a.Readers, a.Token)
	}
	if shared && a.Wait.Ticket != "" {
		db.enqueue(a.Wait)
	}
	free := e == nil || e.reservedFor(a.Wait.Ticket)
	if !free && !(shared && (a.Reads || db.invite(a.Lock, a.Wait.Queue, a.Wait.Ticket))) {
		return db.refuse(backend.Reply{int64(0)}, e, a.Wait), nil
	}
	if free {
		delete(db.entries, a.Readers)
		if err := db.set(a.Lock, proto.SharedValue, ms); err != nil {
			return nil, err
		}
	}
	if err := db.share(a.Lock, a.Readers, a.Token, now+ms); err != nil {
		return nil, err
	}
	db.leave(a.Wait)
	if free {
		db.invite(a.Lock, a.Wait.Queue, "")
	}
	return backend.Reply{int64(1)}, nil
}

// extendShared is extendshared.lua.
func extendShared(db *db, keys, args []string) (backend.Reply, error) {
	x, err := proto.ParseExtendShared(keys, args)
	if err != nil {
		return nil, err
	}
	e, ms, now := db.find(x.Lock), x.TTL.Milliseconds(), db.nowMillis()
	if e.holds(proto.SharedValue) {
		ends, err := db.reading(x.Readers, x.Token)
		if err != nil {
			return nil, err
		}
		if ends > 0 {
			if now+ms <= ends {
				return backend.Reply{int64(1)}, nil
			}
			if x.Token != "" { // otherwise the set would be gone for a moment
				db.zrem(x.Readers, "") // as the script does
			}
			return backend.Reply{int64(1)}, db.share(x.Lock, x.Readers, x.Token, now+ms)
		}
	}
	if x.Token == "" || !e.holds(x.Token) || e.holds(proto.SharedValue) {
		return backend.Reply{int64(0)}, nil
	}
	ms = max(ms, db.left(e))
	delete(db.entries, x.Readers)
	if err := db.set(x.Lock, proto.SharedValue, ms); err != nil {
		return nil, err
	}
	if err := db.share(x.Lock, x.Readers, x.Token, now+ms); err != nil {
		return nil, err
	}
	db.invite(x.Lock, x.Queue, "")
	return backend.Reply{int64(1)}, nil
}

// endShare takes a token out of the lock, in whichever mode it has it.
func (db *db) endShare(lock, readers, token string) (mine, last bool, err error) {
	switch e := db.find(lock); {
	case e.holds(proto.SharedValue):
		return db.unshare(lock, readers, token)
	case token != "" && e.holds(token):
		return true, true, nil
	}
	return false, false, nil
}

// releaseShared is releaseshared.lua.
func releaseShared(db *db, keys, args []string) (backend.Reply, error) {
	r, err := proto.ParseReleaseShared(keys, args)
	if err != nil {
		return nil, err
	}
	db.leave(proto.Wait{Queue: r.Queue, Ticket: r.Ticket})
	e := db.find(r.Lock)
	mine, last, err := db.endShare(r.Lock, r.Readers, r.Token)
	if err != nil {
		return nil, err
	}
	rest := false
	switch {
	case last || e == nil || e.reservedFor(r.Ticket):
		rest = db.notify(r.Lock, r.Queue)
	case r.Ticket != "" && e.holds(proto.SharedValue):
		db.invite(r.Lock, r.Queue, "")
	}
	if last && r.Announce != "" {
		db.publish(r.Announce, "ok")
	}
	return answer(mine, rest), nil
}

// rollbackShared is rollbackshared.lua.
func rollbackShared(db *db, keys, args []string) (backend.Reply, error) {
	r, err := proto.ParseRollbackShared(keys, args)
	if err != nil {
		return nil, err
	}
	mine, last, err := db.endShare(r.Lock, r.Readers, r.Token)
	if err != nil {
		return nil, err
	}
	rest := false
	switch {
	case last && r.Notify:
		db.leave(r.Wait)
		rest = db.notify(r.Lock, r.Wait.Queue)
	case last:
		delete(db.entries, r.Lock)
	}
	if r.Wait.Ticket != "" {
		db.enqueue(r.Wait)
	}
	return answer(mine, rest), nil
}
