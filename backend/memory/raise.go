package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// raise is raise.lua.
func raise(db *db, keys, args []string) (backend.Reply, error) {
	r, err := proto.ParseRaise(keys, args)
	if err != nil {
		return nil, err
	}
	if err := db.suspect(r.Check); err != nil {
		return nil, err
	}
	if !db.find(r.Lock).holds(r.Token) {
		return backend.Reply{int64(0)}, nil
	}
	if err := db.beyond(r.Counter, r.Value); err != nil {
		return nil, err
	}
	c, err := db.count(r.Counter)
	if err != nil {
		return nil, err
	}
	if c < r.Value {
		db.move(r.Counter, r.Value, r.Keep.Milliseconds())
	}
	return backend.Reply{flag(c <= r.Value)}, nil
}
