package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// rollback is rollback.lua.
func rollback(db *db, keys, args []string) (backend.Reply, error) {
	r, err := proto.ParseRollback(keys, args)
	if err != nil {
		return nil, err
	}
	rest := false
	mine := r.Token != "" && db.find(r.Lock).holds(r.Token)
	switch {
	case mine && r.Notify:
		db.leave(r.Wait)
		rest = db.notify(r.Lock, r.Wait.Queue)
	case mine:
		delete(db.entries, r.Lock)
	}
	if r.Wait.Ticket != "" {
		db.enqueue(r.Wait)
	}
	db.entomb(r.Tombstone)
	return answer(mine, rest), nil
}
