package memory

import (
	"errors"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

var errVote = errors.New("ERR a number of the vote is not an integer or out of range")

// vote is vote.lua. What quickvote.lua does before it is what the rest would do.
func vote(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 3, 4); err != nil {
		return nil, err
	}
	lock, counter, tomb, queue := keys[0], keys[1], keys[2], optional(keys, 3)
	token, ticket := args[0], optional(args, 4)
	ttl, ok1 := whole(args[1])
	hint, ok2 := number(args[2])
	keep, ok3 := whole(args[3])
	waited, ok4 := whole(optional(args, 5))
	queues := ticket != "" && len(keys) > 3
	if !ok1 || ttl == 0 || !ok2 || !ok3 || queues && !ok4 {
		return nil, errVote
	}
	if len(keys) > 4 {
		if err := db.suspect(keys[4], optional(args, 6)); err != nil {
			return nil, err
		}
	}
	e, dead, now := db.find(lock), db.find(tomb) != nil, db.clock()
	c, err := db.count(counter)
	if err != nil {
		return nil, err
	}

	granted := func(vote int64) backend.Reply {
		if vote == hint {
			return backend.Reply{now}
		}
		return backend.Reply{int64(1), vote, now}
	}
	mine := e.holds(token) && !dead
	if mine && c > 0 && c <= mostCount {
		return granted(c), nil
	}
	v := max(c+1, min(max(hint, now-hintSlack), now+hintSlack))
	if err := db.beyond(counter, v); err != nil {
		return nil, err
	}
	switch {
	case dead:
		return backend.Reply{int64(0), c, now, int64(-2), int64(-1), ""}, nil
	case mine:
		db.move(counter, v, keep)
		return granted(v), nil
	case e == nil || ticket != "" && e.holds(proto.Reservation(ticket)):
		db.move(counter, v, keep)
		if err := db.set(lock, token, ttl); err != nil {
			return nil, err
		}
		if queues {
			db.zrem(queue, ticket)
		}
		return granted(v), nil
	}
	if !queues {
		ticket = ""
	}
	return db.refuse(backend.Reply{int64(0), c, now}, e, queue, ticket, waited), nil
}
