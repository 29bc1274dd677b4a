package memory

import (
	"errors"

	"github.com/quorumlock/quorumlock/backend"
)

var errMarker = errors.New("ERR a marker must not be empty")

// mark is mark.lua.
func mark(db *db, keys, args []string) (backend.Reply, error) {
	if err := takes(keys, args, 1, 2); err != nil {
		return nil, err
	}
	marker, want, before := keys[0], args[0], args[1]
	if want == "" {
		return nil, errMarker
	}
	e := db.find(marker)
	switch {
	case e.holds(want):
	case e == nil && before == "", e.holds(before):
		db.keep(marker, want, 0)
	case e == nil:
		return backend.Reply{int64(0), ""}, nil
	default:
		return backend.Reply{int64(0), e.text}, nil
	}
	return backend.Reply{int64(1), want}, nil
}
