package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// release is release.lua.
func release(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 2, 1); err != nil {
		return nil, err
	}
	tomb, stands, err := tombstone(keys, args, 3)
	if err != nil {
		return nil, err
	}
	lock, queue := keys[0], keys[1]
	token, ticket, channel := args[0], optional(args, 1), optional(args, 2)
	e := db.find(lock)
	if ticket != "" {
		db.zrem(queue, ticket)
	}
	rest := false
	mine := token != "" && e.holds(token)
	switch {
	case mine:
		rest = db.call(lock, queue)
		if channel != "" {
			db.publish(channel, "ok")
		}
	case e == nil || ticket != "" && e.holds(proto.Reservation(ticket)):
		rest = db.call(lock, queue)
	}
	db.bury(tomb, stands)
	return answer(mine, rest), nil
}
