package memory

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

var errQuarantine = errors.New("ERR the length of the quarantine is not an integer or out of range")

// suspect is quarantine.lua: it returns an error if the node must not vote, because
// it may have lost what it had granted.
func (db *db) suspect(marker, ms string) error {
	length, ok := whole(ms)
	if !ok || length == 0 {
		return errQuarantine
	}
	held, err := db.marked(marker)
	if err != nil {
		return err
	}
	now := db.clock()
	since, ok := db.since(held)
	if !ok || since > now {
		since = now
		db.keep(marker, db.run+" "+strconv.FormatInt(now, 10), 0)
	}
	if left := since + length*1000 - now; since > 0 && left > 0 {
		return fmt.Errorf("QUARANTINE for another %d ms: this server has restarted, or has lost its marker %s, "+
			"and may have lost locks with it; this ends by itself", (left+999)/1000, quoted(marker))
	}
	return nil
}

// since returns since when the node counts, by what a marker of this run holds.
func (db *db) since(held string) (int64, bool) {
	run, text, _ := strings.Cut(held, " ")
	since, ok := number(text)
	return since, ok && run == db.run
}
