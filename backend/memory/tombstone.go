package memory

import "github.com/quorumlock/quorumlock/internal/proto"

// entomb is tombstone.lua.
func (db *db) entomb(t proto.Tombstone) {
	if t.Key == "" {
		return
	}
	if err := db.set(t.Key, "1", t.Life.Milliseconds()); err != nil {
		panic("memory: a tombstone without a life") // the parser accepts none
	}
}
