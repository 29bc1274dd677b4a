package memory

import "errors"

var errStands = errors.New("ERR the life of the tombstone is not an integer or out of range")

// tombstone returns the third key, empty if there is none, and argument i, for how
// many milliseconds it stands.
func tombstone(keys, args []string, i int) (key string, ms int64, err error) {
	if len(keys) < 3 {
		return "", 0, nil
	}
	ms, ok := whole(optional(args, i))
	if !ok || ms == 0 {
		return "", 0, errStands
	}
	return keys[2], ms, nil
}

// bury is bury.lua. A key that is empty is none.
func (db *db) bury(key string, ms int64) {
	if key == "" {
		return
	}
	if err := db.set(key, "1", ms); err != nil {
		panic("memory: a tombstone without a life") // tombstone lets none through
	}
}
