package memory

// ownerBytes is how much of a lock's value a refusal shows.
const ownerBytes = 32

// refuse is refuse.lua: it returns what a refusal says of the lock e.
func (db *db) refuse(e *entry, queue, ticket string, waited int64) (left, rank int64, owner string) {
	left, rank = db.left(e), -1
	if ticket != "" {
		rank = db.enqueue(queue, ticket, waited)
	}
	return left, rank, e.text[max(0, len(e.text)-ownerBytes):]
}
