package memory

import "fmt"

// queueLife is for how long a queue stays for which nobody asks, in milliseconds.
const queueLife = 600_000

// enqueue is enqueue.lua: it puts ticket into queue, and returns its rank, -1 if
// it is not queued, and the error if a command failed.
func (db *db) enqueue(queue, ticket string, waited int64) (rank int64, why error) {
	if _, _, heard := db.inbox(ticket); !heard {
		return -1, nil
	}
	if err := db.zadd(queue, ticket, db.milliseconds()-float64(waited)); err != nil {
		return -1, fmt.Errorf("ZADD: %w", err)
	}
	e := db.find(queue)
	e.expires = db.after(queueLife)
	return int64(e.zset.rank(ticket)), nil
}

// milliseconds returns the server's time, in milliseconds with a fraction.
func (db *db) milliseconds() float64 {
	return float64(db.now.Unix())*1000 + float64(db.now.Nanosecond()/1000)/1000
}
