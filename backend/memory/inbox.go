package memory

import (
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// inbox is inbox.lua: it returns the grace and the channel of a ticket, and whether its
// waiter can be notified.
func (db *db) inbox(ticket string) (grace time.Duration, channel string, heard bool) {
	t, ok := proto.ParseTicket(ticket)
	if !ok || t.Grace == 0 || len(db.channels[t.Channel]) == 0 {
		return 0, "", false
	}
	return min(t.Grace, proto.MaxGrace), t.Channel, true
}
