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
	for _, m := range z.members[:min(most, int64(len(z.members)))] {
		reply = append(reply, m.text)
		if optional(args, 1) == "1" {
			reply = append(reply, db.waited(m.score))
		}
	}
	return reply, nil
}

// waited returns how many milliseconds ago somebody first asked, by his score; -1 if that
// is not of a time that was.
func (db *db) waited(asked float64) int64 {
	ms := math.Floor(db.milliseconds() - asked)
	if !(ms >= 0 && ms < 1e15) {
		return -1
	}
	return int64(ms)
}
