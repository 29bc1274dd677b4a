package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// release is release.lua.
func release(db *db, keys, args []string) (backend.Reply, error) {
	r, err := proto.ParseRelease(keys, args)
	if err != nil {
		return nil, err
	}
	e := db.find(r.Lock)
	db.leave(proto.Wait{Queue: r.Queue, Ticket: r.Ticket})
	rest := false
	mine := r.Token != "" && e.holds(r.Token)
	switch {
	case mine:
		rest = db.notify(r.Lock, r.Queue)
		if r.Announce != "" {
			db.publish(r.Announce, "ok")
		}
	case e == nil || e.reservedFor(r.Ticket):
		rest = db.notify(r.Lock, r.Queue)
	case r.Ticket != "" && e.holds(proto.SharedValue):
		db.invite(r.Lock, r.Queue, "")
	}
	db.entomb(r.Tombstone)
	return answer(mine, rest), nil
}
