package memory

import "github.com/quorumlock/quorumlock/backend"

// acquire is acquire.lua.
func acquire(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 2); err != nil {
		return nil, err
	}
	if e := db.find(keys[0]); e != nil {
		return backend.Reply{flag(e.holds(args[0])), db.left(e)}, nil
	}
	ms, err := integer(args[1])
	if err != nil {
		return nil, err
	}
	if err := db.set(keys[0], args[0], ms); err != nil {
		return nil, err
	}
	return backend.Reply{int64(1), ms}, nil
}
