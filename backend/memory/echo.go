package memory

import "github.com/quorumlock/quorumlock/backend"

// echo is echo.lua.
func echo(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 0, 2); err != nil {
		return nil, err
	}
	return backend.Reply{flag(db.publish(args[0], args[1]) > 0)}, nil
}
