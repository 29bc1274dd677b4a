package memory

// queueLife is for how long a queue stays for which nobody asks, in milliseconds.
const queueLife = 600_000

// enqueue is enqueue.lua: it puts ticket into queue, and returns its rank, -1 if
// it does not stand there.
func (db *db) enqueue(queue, ticket string, waited int64) int64 {
	if _, _, heard := db.inbox(ticket); !heard {
		return -1
	}
	if db.zadd(queue, ticket, db.milliseconds()-float64(waited)) != nil {
		return -1
	}
	e := db.find(queue)
	e.expires = db.after(queueLife)
	return int64(e.zset.rank(ticket))
}

// milliseconds returns the server's time, in milliseconds with a fraction.
func (db *db) milliseconds() float64 {
	return float64(db.now.Unix())*1000 + float64(db.now.Nanosecond()/1000)/1000
}
