package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// acquire is acquire.lua.
func acquire(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 2); err != nil {
		return nil, err
	}
	lock, queue, token, ticket := keys[0], optional(keys, 1), args[0], optional(args, 2)
	if len(keys) > 2 {
		if err := db.suspect(keys[2], optional(args, 4)); err != nil {
			return nil, err
		}
	}
	e := db.find(lock)
	if e.holds(token) {
		return backend.Reply{int64(1), db.left(e)}, nil
	}
	if e == nil || ticket != "" && e.holds(proto.Reservation(ticket)) {
		ms, err := integer(args[1])
		if err != nil {
			return nil, err
		}
		if err := db.set(lock, token, ms); err != nil {
			return nil, err
		}
		if ticket != "" && len(keys) > 1 {
			db.zrem(queue, ticket)
		}
		return backend.Reply{int64(1), ms}, nil
	}
	var ms int64
	if ticket != "" {
		var err error
		if ms, err = waited(args, 3); err != nil {
			return nil, err
		}
	}
	if len(keys) < 2 {
		ticket = ""
	}
	return db.refuse(backend.Reply{int64(0)}, e, queue, ticket, ms), nil
}
