package memory

import "github.com/quorumlock/quorumlock/backend"

// extend is extend.lua.
func extend(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 2); err != nil {
		return nil, err
	}
	// The text reads the number only once it needs it.
	if !db.find(keys[0]).holds(args[0]) {
		return backend.Reply{int64(0)}, nil
	}
	ms, err := integer(args[1])
	if err != nil {
		return nil, err
	}
	return backend.Reply{flag(db.extendHeld(keys[0], args[0], ms))}, nil
}

// extendHeld lets key live for at least so many milliseconds if it holds token,
// and reports whether it does.
func (db *db) extendHeld(key, token string, ms int64) bool {
	e := db.find(key)
	if !e.holds(token) {
		return false
	}
	if left := db.left(e); left >= 0 && left < ms {
		e.expires = db.after(ms)
	}
	return true
}
