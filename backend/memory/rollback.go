package memory

import "github.com/quorumlock/quorumlock/backend"

// rollback is rollback.lua.
func rollback(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 2, 1); err != nil {
		return nil, err
	}
	lock, queue := keys[0], keys[1]
	token, ticket := args[0], optional(args, 1)
	var ms int64
	if ticket != "" {
		var err error
		if ms, err = waited(args, 2); err != nil {
			return nil, err
		}
	}
	tomb, stands, err := tombstone(keys, args, 4)
	if err != nil {
		return nil, err
	}
	rest := false
	mine := token != "" && db.find(lock).holds(token)
	switch {
	case mine && optional(args, 3) == "1":
		if ticket != "" {
			db.zrem(queue, ticket)
		}
		rest = db.call(lock, queue)
	case mine:
		delete(db.entries, lock)
	}
	if ticket != "" {
		db.enqueue(queue, ticket, ms)
	}
	db.bury(tomb, stands)
	return answer(mine, rest), nil
}
