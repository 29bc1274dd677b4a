package behaviour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A logBuffer is a log that can be read while it is written.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// refusals returns the number of lines that say that a node rejects an unlock.
func (b *logBuffer) refusals() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), "refuses to unlock")
}

// lines returns the number of all lines.
func (b *logBuffer) lines() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Count(b.text.String(), "\n")
}

// refused is the user whose rights and password change.
const refused = "refused"

// manyLocks is the number of locks that are released while the server rejects it.
const manyLocks = 300

// refusing runs f with its own user, and a Locker that holds many locks for a minute each.
func refusing(t *testing.T, f func(t *testing.T, s *servers.Server, locker *redlock.Locker, locks []*redlock.Lock, log *logBuffer)) {
	if embedded(t) {
		t.Skip("embedded servers have no access control lists")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		t.Parallel()
		s, log := servers.Start(t, kind, 1, servers.WithoutReuse())[0], new(logBuffer)
		s.SetUser(t, refused, "on", ">secret", "~*", "+@all")
		locker := newLocker(t, []backend.Node{a.FromURL(t, fmt.Sprintf("redis://%s:secret@%s", refused, s.Addr()))},
			redlock.WithTTL(time.Minute), redlock.WithLogger(slog.New(slog.NewTextHandler(log, nil))))
		var locks []*redlock.Lock
		for i := range manyLocks {
			lock, err := locker.Lock(t.Context(), fmt.Sprint("k", i))
			if err != nil {
				t.Fatal(err)
			}
			locks = append(locks, lock)
		}
		f(t, s, locker, locks, log)
	})
}

// unlockAll unlocks locks at the same time. Every unlock must fail.
func unlockAll(t *testing.T, locks []*redlock.Lock) {
	t.Helper()
	var all sync.WaitGroup
	for _, lock := range locks {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			if err := lock.Unlock(ctx); err == nil {
				t.Error("a lock was released")
			}
		})
	}
	all.Wait()
}

// While a password is being changed, the server rejects the release of locks. They are released
// soon after it accepts the password again. The rejection is logged once.
func TestUnlockDuringAPasswordRotation(t *testing.T) {
	refusing(t, func(t *testing.T, s *servers.Server, _ *redlock.Locker, locks []*redlock.Lock, log *logBuffer) {
		s.SetUser(t, refused, "resetpass", ">other")
		s.Do(t, "CLIENT", "KILL", "USER", refused)
		unlockAll(t, locks)
		time.Sleep(3 * time.Second)
		if n := len(s.Keys(t)); n != manyLocks {
			t.Errorf("%d keys are left while the password is wrong, want %d", n, manyLocks)
		}
		s.SetUser(t, refused, ">secret")
		start := time.Now()
		servers.WaitEmpty(t, 10*time.Second, s)
		t.Logf("the keys are gone %v after the server accepted the password", time.Since(start).Round(time.Millisecond))
		if n := log.refusals(); n != 1 {
			t.Errorf("%d lines of the log report the rejection, want one", n)
		}
	})
}

// If a user loses the right to DEL, the server sends only a few error replies per second, however
// many locks are to be released. It grants no other lock.
func TestUnlockWithoutDel(t *testing.T) {
	refusing(t, func(t *testing.T, s *servers.Server, locker *redlock.Locker, locks []*redlock.Lock, log *logBuffer) {
		scripts := func() int { return calls(t, s, "eval") + calls(t, s, "evalsha") }
		s.SetUser(t, refused, "-del")
		unlockAll(t, locks)
		cannotLock(t, s, locker, "it grants no lock", "DEL")
		time.Sleep(time.Second)
		const lasts = 8 // seconds, after which all deletions are due again
		before := scripts()
		time.Sleep(lasts * time.Second)
		n := scripts() - before
		t.Logf("%d scripts in %d seconds", n, lasts)
		if n < 2 || n > 10*lasts {
			t.Errorf("%d scripts in %d seconds, want a few per second", n, lasts)
		}
		if n := log.refusals(); n != 1 {
			t.Errorf("%d lines of the log report the rejection, want one", n)
		}
		s.SetUser(t, refused, "+del")
		servers.WaitEmpty(t, 10*time.Second, s)
	})
}

// A user has every right but DEL. From Redis 7 on, the first plain lock is refused. Otherwise one
// lock shows that it cannot be released, and no other one is granted. Each error names the right.
func TestLockWithoutDel(t *testing.T) {
	if embedded(t) {
		t.Skip("embedded servers have no access control lists")
	}
	each(t, func(t *testing.T, a adapter, kind servers.Kind) {
		for name, opts := range map[string][]redlock.Option{
			"plain":      nil,
			"fencing":    {redlock.WithFencing()},
			"quarantine": {redlock.WithQuarantine(time.Minute)},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s, log := servers.Start(t, kind, 1, servers.WithoutReuse())[0], new(logBuffer)
				s.SetUser(t, refused, "on", ">secret", "~*", "+@all", "-del")
				locker := newLocker(t, []backend.Node{a.FromURL(t, fmt.Sprintf("redis://%s:secret@%s", refused, s.Addr()))},
					append(opts, redlock.WithTTL(2*time.Second), redlock.WithLogger(slog.New(slog.NewTextHandler(log, nil))))...)
				if name == "quarantine" {
					if _, err := locker.EndQuarantine(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				refusals := 0
				if name != "plain" || kind.Before(7, 0) {
					refusals = 1
					lock, err := locker.Lock(t.Context(), "shows it")
					if err != nil {
						t.Fatal(err)
					}
					if err := lock.Unlock(t.Context()); !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(err.Error(), "GET and DEL") {
						t.Errorf("Unlock: %v, want ErrUnavailable, and that DEL is missing", err)
					}
				}
				cannotLock(t, s, locker, "it grants no lock", "GET and DEL")
				s.SetUser(t, refused, "+del")
				cycle(t, locker, "allowed")
				cycle(t, locker, "allowed again")
				if n, lines := log.refusals(), log.lines(); n != refusals || lines != refusals {
					t.Errorf("%d of %d lines of the log report the rejection, want %d and no other line", n, lines, refusals)
				}
			})
		}
	})
}
