package memory

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// prolong is prolong.lua.
func prolong(db *db, keys, args []string) (backend.Reply, error) {
	p, err := proto.ParseProlong(keys, args)
	if err != nil {
		return nil, err
	}
	if !db.find(p.Lock).holds(p.Token) {
		return backend.Reply{int64(0)}, nil
	}
	keep := p.Keep.Milliseconds()
	c, err := db.count(p.Counter)
	switch {
	case err != nil: // nobody can vote on this node
	case c < p.Value:
		if err := db.beyond(p.Counter, p.Value); err != nil {
			return nil, err
		}
		db.move(p.Counter, p.Value, keep)
	case keep > 0:
		db.find(p.Counter).expires = db.after(keep)
	default:
		db.find(p.Counter).expires = time.Time{}
	}
	db.lengthen(db.find(p.Lock), p.TTL.Milliseconds())
	return backend.Reply{int64(1)}, nil
}
