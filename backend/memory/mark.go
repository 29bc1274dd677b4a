package memory

import (
	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// mark is mark.lua.
func mark(db *db, keys, args []string) (backend.Reply, error) {
	m, err := proto.ParseMark(keys)
	if err != nil {
		return nil, err
	}
	if _, err := db.marked(m.Marker); err != nil {
		return nil, err
	}
	db.keep(m.Marker, db.run+" 0", 0)
	return backend.Reply{int64(1)}, nil
}
