package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// The most tickets that notify reads: in search of a waiter to notify, and of two waiters
// behind it.
const (
	mostDead   = 3 + 4*128
	mostBehind = 8
)

// notify is notify.lua: it reserves the lock for the next waiter in queue and notifies
// it, or deletes the lock if there is none. It reports whether it stopped before the end
// of the queue.
func (db *db) notify(lock, queue string) (rest bool) {
	rest = true
	for range mostDead {
		ticket, ok := db.zpop(queue)
		if !ok {
			rest = false
			break
		}
		grace, channel, heard := db.inbox(ticket)
		if !heard {
			continue
		}
		if err := db.set(lock, proto.Reservation(ticket), grace.Milliseconds()); err != nil {
			panic("memory: a ticket without a grace") // inbox accepts none
		}
		db.tellBehind(queue, proto.Message{Kind: proto.Next, Key: lock, Grace: grace}.String())
		db.publish(channel, proto.Message{Kind: proto.Notify, Key: lock}.String())
		return false
	}
	delete(db.entries, lock)
	return rest
}

// answer returns the answer of release and rollback. rest is the result of notify.
func answer(mine, rest bool) backend.Reply {
	if rest {
		return backend.Reply{flag(mine), "", int64(1)}
	}
	return backend.Reply{flag(mine)}
}

// tellBehind publishes payload to the first two waiters in queue.
func (db *db) tellBehind(queue, payload string) {
	z, err := db.zset(queue)
	if z == nil || err != nil {
		return
	}
	told := 0
	for _, ticket := range z.first(mostBehind) {
		if _, channel, heard := db.inbox(ticket); heard && told < 2 {
			db.publish(channel, payload)
			told++
		}
	}
}
