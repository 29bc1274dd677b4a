package memory

import "strings"

// inbox is inbox.lua: it returns the grace, in milliseconds and as the ticket
// writes it, and the channel of a ticket whose waiter listens.
func (db *db) inbox(ticket string) (grace, channel string, heard bool) {
	grace, channel, ok := strings.Cut(ticket, ":")
	if !ok || len(grace) > 5 || !digits(grace) || grace[0] == '0' || len(db.channels[channel]) == 0 {
		return "", "", false
	}
	return grace, channel, true
}
