package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// vote is vote.lua. The quick part at its top gives the same answers.
func vote(db *db, keys, args []string) (backend.Reply, error) {
	a, err := proto.ParseVote(keys, args)
	if err != nil {
		return nil, err
	}
	if err := db.suspect(a.Check); err != nil {
		return nil, err
	}
	counter, hint, keep := a.Vote.Counter, a.Vote.Hint, a.Vote.Keep.Milliseconds()
	e, dead, now := db.find(a.Lock), db.find(a.Vote.Tombstone) != nil, db.clock()
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
	mine := e.holds(a.Token) && !dead
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
	case e == nil || e.reservedFor(a.Wait.Ticket):
		db.move(counter, v, keep)
		if err := db.set(a.Lock, a.Token, a.TTL.Milliseconds()); err != nil {
			return nil, err
		}
		db.leave(a.Wait)
		return granted(v), nil
	}
	return db.refuse(backend.Reply{int64(0), c, now}, e, a.Wait), nil
}
