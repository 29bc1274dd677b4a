package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// slots is slots.lua.
func slots(db *db, keys, args []string) (backend.Reply, error) {
	s := proto.ParseSlots(keys, args)
	reply := backend.Reply{}
	for _, slot := range s.Keys {
		e := db.find(slot)
		if e == nil || e.reservedFor(s.Ticket) {
			reply = append(reply, int64(-2))
		} else {
			reply = append(reply, db.left(e))
		}
	}
	return reply, nil
}
