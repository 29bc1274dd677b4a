package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// acquire is acquire.lua.
func acquire(db *db, keys, args []string) (backend.Reply, error) {
	a, err := proto.ParseAcquire(keys, args)
	if err != nil {
		return nil, err
	}
	if err := db.suspect(a.Check); err != nil {
		return nil, err
	}
	e, ms := db.find(a.Lock), a.TTL.Milliseconds()
	switch {
	case e.holds(a.Token):
		return backend.Reply{int64(1), db.left(e)}, nil
	case e == nil || e.reservedFor(a.Wait.Ticket):
		if err := db.set(a.Lock, a.Token, ms); err != nil {
			return nil, err
		}
		db.leave(a.Wait)
		return backend.Reply{int64(1), ms}, nil
	}
	return db.refuse(backend.Reply{int64(0)}, e, a.Wait), nil
}
