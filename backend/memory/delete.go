package memory

import "github.com/quorumlock/quorumlock/backend"

// deleteIfHeld is delete.lua.
func deleteIfHeld(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 1); err != nil {
		return nil, err
	}
	return backend.Reply{flag(db.deleteHeld(keys[0], args[0]))}, nil
}

// deleteHeld deletes key if it holds token, and reports whether it did.
func (db *db) deleteHeld(key, token string) bool {
	if !db.find(key).holds(token) {
		return false
	}
	delete(db.entries, key)
	return true
}
