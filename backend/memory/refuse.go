package memory

import "github.com/quorumlock/quorumlock/backend"

// ownerBytes is how much of a lock's value a refusal shows.
const ownerBytes = 32

// refuse is refuse.lua: it adds to reply what a refusal says of the lock e.
func (db *db) refuse(reply backend.Reply, e *entry, queue, ticket string, waited int64) backend.Reply {
	left, rank := db.left(e), int64(-1)
	var why error
	if ticket != "" {
		rank, why = db.enqueue(queue, ticket, waited)
	}
	reply = append(reply, left, rank, e.text[max(0, len(e.text)-ownerBytes):])
	if why != nil {
		reply = append(reply, why.Error())
	}
	return reply
}
