package memory

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// newRun returns a run_id that has never been used.
func newRun() string {
	var id [20]byte
	rand.Read(id[:])
	return hex.EncodeToString(id[:])
}

// marked is marked of marker.lua: it returns what a marker holds, or "" if it is missing.
func (db *db) marked(marker string) (string, error) {
	e := db.find(marker)
	switch {
	case e == nil:
		return "", nil
	case e.list != nil || e.zset != nil:
		return "", fmt.Errorf("WRONGTYPE the marker %s is in use for something else, and is not overwritten", quoted(marker))
	}
	return e.text, nil
}
