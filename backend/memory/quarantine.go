package memory

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// suspect is quarantine.lua: it returns an error if the node must not vote, because it
// may have lost locks.
func (db *db) suspect(c proto.Check) error {
	if c.Marker == "" {
		return nil
	}
	held, err := db.marked(c.Marker)
	if err != nil {
		return err
	}
	now := db.clock()
	since, ok := db.since(held)
	if !ok || since > now {
		since = now
		db.keep(c.Marker, db.run+" "+strconv.FormatInt(now, 10), 0)
	}
	if left := since + c.Quarantine.Microseconds() - now; since > 0 && left > 0 {
		return fmt.Errorf("QUARANTINE for another %d ms: this server has restarted, or has lost its marker %s, "+
			"and may have lost locks with it; this ends by itself", (left+999)/1000, quoted(c.Marker))
	}
	return nil
}

// since returns when the node's quarantine began, according to a marker of this run.
func (db *db) since(held string) (int64, bool) {
	run, text, _ := strings.Cut(held, " ")
	since, ok := proto.ParseNumber(text)
	return since, ok && run == db.run
}
