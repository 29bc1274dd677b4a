package memory

import (
	"errors"
	"strconv"

	"github.com/quorumlock/quorumlock/backend"
)

// extend is extend.lua.
func extend(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 2); err != nil {
		return nil, err
	}
	e := db.find(keys[0])
	if !e.holds(args[0]) {
		return backend.Reply{int64(0)}, nil
	}
	// Read the number where the script does. It has to be an integer only where the server
	// needs one.
	if left := db.left(e); left >= 0 {
		ttl, err := strconv.ParseFloat(args[1], 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return nil, errCompare
		}
		if float64(left) < ttl {
			ms, err := integer(args[1])
			if err != nil {
				return nil, err
			}
			db.extendHeld(keys[0], args[0], ms)
		}
	}
	return backend.Reply{int64(1)}, nil
}

var errCompare = errors.New("ERR attempt to compare number with nil")

// extendHeld lets key live for at least ms milliseconds if it holds token, and reports
// whether it does.
func (db *db) extendHeld(key, token string, ms int64) bool {
	e := db.find(key)
	if !e.holds(token) {
		return false
	}
	db.lengthen(e, ms)
	return true
}
