package memory

import (
	"errors"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

var errProlong = errors.New("ERR a number of the extension is not an integer or out of range")

// prolong is prolong.lua.
func prolong(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 2, 4); err != nil {
		return nil, err
	}
	lock, counter, token := keys[0], keys[1], args[0]
	ttl, ok1 := whole(args[1])
	value, ok2 := number(args[2])
	keep, ok3 := whole(args[3])
	if !ok1 || ttl == 0 || !ok2 || value == 0 || !ok3 {
		return nil, errProlong
	}
	if !db.find(lock).holds(token) {
		return backend.Reply{int64(0)}, nil
	}
	c, err := db.count(counter)
	switch {
	case err != nil: // nobody can vote here
	case c < value:
		if err := db.beyond(counter, value); err != nil {
			return nil, err
		}
		db.move(counter, value, keep)
	case keep > 0:
		db.find(counter).expires = db.after(keep)
	default:
		db.find(counter).expires = time.Time{}
	}
	db.lengthen(db.find(lock), ttl)
	return backend.Reply{int64(1)}, nil
}
