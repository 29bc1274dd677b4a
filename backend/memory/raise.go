package memory

import (
	"errors"

	"github.com/quorumlock/quorumlock/backend"
)

var errRaise = errors.New("ERR a number of the raise is not an integer or out of range")

// raise is raise.lua.
func raise(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 2, 3); err != nil {
		return nil, err
	}
	lock, counter, token := keys[0], keys[1], args[0]
	value, ok1 := number(args[1])
	keep, ok2 := whole(args[2])
	if !ok1 || value == 0 || !ok2 {
		return nil, errRaise
	}
	if len(keys) > 2 {
		if err := db.suspect(keys[2], optional(args, 3)); err != nil {
			return nil, err
		}
	}
	if !db.find(lock).holds(token) {
		return backend.Reply{int64(0)}, nil
	}
	if err := db.beyond(counter, value); err != nil {
		return nil, err
	}
	c, err := db.count(counter)
	if err != nil {
		return nil, err
	}
	if c < value {
		db.move(counter, value, keep)
	}
	return backend.Reply{flag(c <= value)}, nil
}
