package behaviour

import (
	"fmt"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A server without EVALSHA gets the text of each script. Either the command does not exist
// because it was renamed, or this user may not use it. (The tests of the adapters cover the first
// case.)
func TestWithoutEvalsha(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers have no access control lists")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		s.Do(t, "ACL", "SETUSER", "locker", "on", ">secret", "~*", "+@all", "-evalsha")
		locker := newLocker(t, []backend.Node{a.FromURL(t, fmt.Sprintf("redis://locker:secret@%s", s.Addr()))})
		for i := range 4 {
			cycle(t, locker, fmt.Sprint("k", i))
		}
	})
}

// A server on which EVAL is renamed cannot release a lock, so it grants none.
func TestWithoutEval(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers rename no commands")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		s := servers.Start(t, kind, 1, servers.WithoutReuse(), servers.WithArgs("--rename-command", "EVAL", ""))[0]
		cannotLock(t, s, a.locker(t, []string{s.Addr()}), "unknown command")
	})
}
