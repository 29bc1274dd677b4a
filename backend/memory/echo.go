package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// echo is echo.lua.
func echo(db *db, keys, args []string) (backend.Reply, error) {
	e, err := proto.ParseEcho(keys, args)
	if err != nil {
		return nil, err
	}
	return backend.Reply{flag(db.publish(e.Channel, e.Payload) > 0)}, nil
}
