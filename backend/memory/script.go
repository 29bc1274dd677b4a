package memory

import (
	"errors"
	"strconv"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// A script does to db what the Lua script of the same name does to a server, and gives
// the same answer. Each has a file of its own. So does each file that scripts include:
// inbox, enqueue, notify and so on are methods of db.
type script func(db *db, keys, args []string) (backend.Reply, error)

// lookup returns the script with the given hash, or nil if there is none.
func lookup(hash string) script {
	switch hash {
	case lua.Acquire.Hash():
		return acquire
	case lua.AcquireShared.Hash():
		return acquireShared
	case lua.Delete.Hash():
		return deleteIfHeld
	case lua.Echo.Hash():
		return echo
	case lua.Extend.Hash():
		return extend
	case lua.ExtendShared.Hash():
		return extendShared
	case lua.Inspect.Hash():
		return inspect
	case lua.Mark.Hash():
		return mark
	case lua.Prolong.Hash():
		return prolong
	case lua.Raise.Hash():
		return raise
	case lua.Release.Hash():
		return release
	case lua.ReleaseShared.Hash():
		return releaseShared
	case lua.Rollback.Hash():
		return rollback
	case lua.RollbackShared.Hash():
		return rollbackShared
	case lua.Slots.Hash():
		return slots
	case lua.Vote.Hash():
		return vote
	}
	return nil
}

var (
	errArguments = errors.New("ERR Wrong number of args calling Redis command from script")
	errInteger   = errors.New("ERR value is not an integer or out of range")
)

// takes returns an error if a script was called with too few keys or arguments.
func takes(keys, args []string, wantKeys, wantArgs int) error {
	if len(keys) < wantKeys || len(args) < wantArgs {
		return errArguments
	}
	return nil
}

// integer returns the number in an argument.
func integer(arg string) (int64, error) {
	n, err := strconv.ParseInt(arg, 10, 64)
	if err != nil {
		return 0, errInteger
	}
	return n, nil
}

// whole returns the number in arg, and whether arg is a number of at most 15 digits.
func whole(arg string) (int64, bool) {
	if len(arg) > 15 {
		return 0, false
	}
	return proto.ParseNumber(arg)
}

// flag returns ok as the number that scripts answer.
func flag(ok bool) int64 {
	if ok {
		return 1
	}
	return 0
}
