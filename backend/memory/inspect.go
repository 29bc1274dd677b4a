package memory

import "github.com/quorumlock/quorumlock/backend"

// inspect is inspect.lua.
func inspect(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 0); err != nil {
		return nil, err
	}
	e := db.find(keys[0])
	if e == nil {
		return backend.Reply{int64(0), "", int64(0)}, nil
	}
	return backend.Reply{int64(1), e.text, db.left(e)}, nil
}
