package memory

import (
	"errors"
	"math"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A db is what a node holds. Callers of its methods hold the node's mutex.
type db struct {
	now     time.Time // of the current operation, for which time stands still
	run     string    // the run_id, which changes with each start
	entries map[string]*entry
	sweepAt int // the number of entries that starts a sweep

	channels map[string][]*subscription // in the order of subscribing
}

// An entry is what a key holds: a text, a list or a sorted set. In the last two cases the
// text is empty, and no token is equal to it.
type entry struct {
	text    string
	list    []string  // not nil if the entry is a list
	zset    *zset     // not nil if it is a sorted set
	expires time.Time // zero if never
}

// holds reports whether e holds the text token. e may be nil.
func (e *entry) holds(token string) bool {
	return e != nil && e.list == nil && e.zset == nil && e.text == token
}

// reservedFor reports whether e is a reservation for the waiter with that ticket.
func (e *entry) reservedFor(ticket string) bool {
	return ticket != "" && e.holds(proto.Reservation(ticket))
}

var errExpireTime = errors.New("ERR invalid expire time in 'set' command")

// find returns the entry at key, or nil if there is none or it has expired.
func (db *db) find(key string) *entry {
	e := db.entries[key]
	if e == nil || !db.expired(e) {
		return e
	}
	delete(db.entries, key)
	return nil
}

func (db *db) expired(e *entry) bool {
	return !e.expires.IsZero() && !db.now.Before(e.expires)
}

// put stores e at key. It removes expired entries whenever the number of entries has
// doubled, because otherwise keys that are never used again would pile up.
func (db *db) put(key string, e *entry) {
	if db.entries == nil {
		db.entries = make(map[string]*entry)
		db.sweepAt = 64
	}
	db.entries[key] = e
	if len(db.entries) < db.sweepAt {
		return
	}
	for k, e := range db.entries {
		if db.expired(e) {
			delete(db.entries, k)
		}
	}
	db.sweepAt = max(64, 2*len(db.entries))
}

// set stores text at key for ms milliseconds.
func (db *db) set(key, text string, ms int64) error {
	if ms <= 0 {
		return errExpireTime
	}
	db.put(key, &entry{text: text, expires: db.after(ms)})
	return nil
}

// keep stores text at key for ms milliseconds, or for ever if that is 0.
func (db *db) keep(key, text string, ms int64) {
	e := &entry{text: text}
	if ms > 0 {
		e.expires = db.after(ms)
	}
	db.put(key, e)
}

// after returns the time in ms milliseconds. If that is too much for a Duration, it
// returns the latest possible time.
func (db *db) after(ms int64) time.Time {
	d := time.Duration(math.MaxInt64)
	if ms <= int64(d/time.Millisecond) {
		d = time.Duration(ms) * time.Millisecond
	}
	return db.now.Add(d)
}

// left returns for how many milliseconds e will live, or -1 if for ever. It rounds down,
// so that nobody expects more time than there is.
func (db *db) left(e *entry) int64 {
	if e.expires.IsZero() {
		return -1
	}
	return e.expires.Sub(db.now).Milliseconds()
}

func (db *db) keys() []string {
	keys := make([]string, 0, len(db.entries))
	for k, e := range db.entries {
		if !db.expired(e) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys
}
