package memory

import (
	"math"

	"github.com/quorumlock/quorumlock/backend"
)

// waiters is waiters.lua.
func waiters(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 1); err != nil {
		return nil, err
	}
	most, ok := whole(args[0])
	if !ok {
		return nil, errInteger
	}
	z, err := db.zset(keys[0])
	if z == nil || err != nil { // nobody waits at what is no queue
		return backend.Reply{int64(0)}, nil
	}
	reply := backend.Reply{int64(len(z.members))}
	for _, ticket := range z.first(int(min(most, math.MaxInt32))) {
		reply = append(reply, ticket)
	}
	return reply, nil
}
