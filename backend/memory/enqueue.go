package memory

import (
	"fmt"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// queueLife is how long a queue lives after its last use, in milliseconds.
const queueLife = 600_000

// enqueue is enqueue.lua: it puts the ticket into the queue. It returns its rank, or -1
// if it is not queued, and an error if a command failed.
func (db *db) enqueue(w proto.Wait) (rank int64, why error) {
	if _, _, heard := db.inbox(w.Ticket); !heard {
		return -1, nil
	}
	if err := db.zadd(w.Queue, w.Ticket, db.milliseconds()-float64(w.Waited.Milliseconds())); err != nil {
		return -1, fmt.Errorf("ZADD: %w", err)
	}
	e := db.find(w.Queue)
	e.expires = db.after(queueLife)
	return int64(e.zset.rank(w.Ticket)), nil
}

// leave removes the ticket from the queue, if w has both.
func (db *db) leave(w proto.Wait) {
	if w.Queue != "" && w.Ticket != "" {
		db.zrem(w.Queue, w.Ticket)
	}
}

// milliseconds returns the server's time in milliseconds, with a fraction.
func (db *db) milliseconds() float64 {
	return float64(db.now.Unix())*1000 + float64(db.now.Nanosecond()/1000)/1000
}
