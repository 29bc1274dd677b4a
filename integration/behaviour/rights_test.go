package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A user lacks the right to one command of the script that votes for a fencing token. Waiting
// does not help, so the call fails at once and quotes the server.
func TestMissingRight(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers have no access control lists")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		t.Parallel()
		s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		s.Do(t, "ACL", "SETUSER", "control", "on", ">secret", "~*", "+@all")
		for _, command := range []string{"SET", "GET", "EXISTS", "TIME"} {
			t.Run(command, func(t *testing.T) {
				user := "without" + command
				s.Do(t, "ACL", "SETUSER", user, "on", ">secret", "~*", "+@all", "-"+command)
				if command == "TIME" { // not needed on servers from Redis 7 on
					s.Query(t.Context(), "ACL", "SETUSER", user, "-PEXPIRETIME")
				}
				locker := newLocker(t, []backend.Node{a.FromURL(t, fmt.Sprintf("redis://%s:secret@%s", user, s.Addr()))}, redlock.WithFencing())
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var err error
				took := timed(func() { _, err = locker.Lock(ctx, "key"+command) })
				if !errors.Is(err, redlock.ErrUnavailable) || took > time.Second {
					t.Errorf("Lock took %v, and returned %v: want ErrUnavailable at once", took, err)
				}
				t.Logf("after %v: %v", took, err)
			})
		}
		control := newLocker(t, []backend.Node{a.FromURL(t, "redis://control:secret@"+s.Addr())}, redlock.WithFencing())
		cycle(t, control, "control")
	})
}

// A user without scripts could set a lock but not release it, so no node grants one. The call
// fails at once, and the error says what to allow. The same holds if the rights change later,
// after one lock that shows it.
func TestUserWithoutScripts(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers have no access control lists")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		rules := func(change ...string) {
			s.SetUser(t, "plain", append([]string{"on", ">secret", "~*"}, change...)...)
		}
		rules("-@all", "+ping", "+set", "+get", "+del", "+pttl")
		locker := newLocker(t, []backend.Node{a.FromURL(t, fmt.Sprintf("redis://plain:secret@%s", s.Addr()))})
		cannotLock(t, s, locker, "NOPERM")
		rules("+@all")
		cycle(t, locker, "allowed")
		held, err := locker.Lock(t.Context(), "shows it", redlock.WithTTL(time.Second))
		if err != nil {
			t.Fatal(err)
		}
		rules("-eval", "-evalsha")
		if err := held.Unlock(t.Context()); !errors.Is(err, redlock.ErrUnavailable) {
			t.Errorf("Unlock: %v", err)
		}
		servers.WaitEmpty(t, 3*time.Second, s)
		cannotLock(t, s, locker, "NOPERM")
		rules("+@all")
		cycle(t, locker, "allowed again")
	})
}

// cannotLock checks that the server grants no lock, that the error contains the reasons, and that
// no lock is left.
func cannotLock(t *testing.T, s *servers.Server, locker *redlock.Locker, why ...string) {
	t.Helper()
	for range 2 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var err error
		took := timed(func() { _, err = locker.Lock(ctx, "k") })
		if !errors.Is(err, redlock.ErrUnavailable) || took > time.Second {
			t.Errorf("Lock took %v, and returned %v: want ErrUnavailable at once", took, err)
		}
		for _, want := range append(why, "could not release it", "EVALSHA", s.Addr()) {
			if !strings.Contains(fmt.Sprint(err), want) {
				t.Errorf("%q does not contain %q", err, want)
			}
		}
	}
	if keys := s.Keys(t); slices.Contains(keys, "k") {
		t.Errorf("the server has the keys %q", keys)
	}
}
