package memory

import "github.com/quorumlock/quorumlock/backend"

// mark is mark.lua.
func mark(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 0); err != nil {
		return nil, err
	}
	if _, err := db.marked(keys[0]); err != nil {
		return nil, err
	}
	db.keep(keys[0], db.run+" 0", 0)
	return backend.Reply{int64(1)}, nil
}
