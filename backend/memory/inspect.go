package memory

import (
	"math"

	"github.com/quorumlock/quorumlock/backend"
)

// inspect is inspect.lua.
func inspect(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 0); err != nil {
		return nil, err
	}
	reply := backend.Reply{int64(0), "", int64(0)}
	if e := db.find(keys[0]); e != nil {
		reply = backend.Reply{int64(1), e.text, db.left(e)}
	}
	if len(keys) == 1 {
		return reply, nil
	}
	if err := takes(keys, args, 2, 1); err != nil {
		return nil, err
	}
	most, ok := whole(args[0])
	if !ok {
		return nil, errInteger
	}
	z, err := db.zset(keys[1])
	if z == nil || err != nil { // a key of another type has no waiters
		return append(reply, int64(0)), nil
	}
	reply = append(reply, int64(len(z.members)))
	for _, m := range z.members[:min(most, int64(len(z.members)))] {
		reply = append(reply, m.text, db.waited(m.score))
	}
	return reply, nil
}

// waited returns how many milliseconds ago a waiter first asked, according to its score.
// It returns -1 if the score is not a time in the past.
func (db *db) waited(asked float64) int64 {
	ms := math.Floor(db.milliseconds() - asked)
	if !(ms >= 0 && ms < 1e15) {
		return -1
	}
	return int64(ms)
}
