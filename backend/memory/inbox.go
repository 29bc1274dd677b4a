package memory

import (
	"strings"

	"github.com/quorumlock/quorumlock/backend/lua"
)

// inbox is inbox.lua: it returns the grace, in milliseconds, and the channel of a
// ticket whose waiter listens.
func (db *db) inbox(ticket string) (grace int64, channel string, heard bool) {
	text, channel, ok := strings.Cut(ticket, ":")
	if !ok || len(text) > 5 || text == "" || text[0] == '0' || len(db.channels[channel]) == 0 {
		return 0, "", false
	}
	if grace, ok = whole(text); !ok {
		return 0, "", false
	}
	return min(grace, lua.MaxGrace.Milliseconds()), channel, true
}
