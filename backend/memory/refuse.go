package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// ownerBytes is how much of a lock's value a refusal shows.
const ownerBytes = 32

// refuse is refuse.lua: it adds to reply what a refusal says about the lock e.
func (db *db) refuse(reply backend.Reply, e *entry, wait proto.Wait) backend.Reply {
	left, rank := db.left(e), int64(-1)
	var why error
	if wait.Ticket != "" && wait.Queue != "" {
		rank, why = db.enqueue(wait)
	}
	reply = append(reply, left, rank, e.text[max(0, len(e.text)-ownerBytes):])
	if why != nil {
		reply = append(reply, why.Error())
	}
	return reply
}
