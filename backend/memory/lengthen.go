package memory

// lengthen is lengthen.lua: it lets e live for at least ms milliseconds from now, and
// never shortens its life.
func (db *db) lengthen(e *entry, ms int64) {
	if left := db.left(e); left >= 0 && left < ms {
		e.expires = db.after(ms)
	}
}
