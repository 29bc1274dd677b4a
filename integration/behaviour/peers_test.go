package behaviour

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Each test of this file shows on real servers, with each driver in its default
// settings, that a defect which was found in another lock library of this kind is
// not one of ours: docs/peers.md has them all.

// bound is how long an operation may take that has to wait for a node in vain.
const bound = redlock.DefaultNodeTimeout + 100*time.Millisecond

// redsync: with one hung node each lock and unlock left goroutines and connections
// behind, two of each for a pair.
func TestNoConnectionPinnedPerLock(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		proxies := proxied(t, list)
		nodes := a.nodes(t, proxyAddrs(proxies)...)
		warm(t, nodes)
		locker := newLocker(t, nodes)
		open, made := proxies[0].Connections()

		proxies[0].Hold()
		for i := range 50 {
			cycle(t, locker, fmt.Sprint("k", i))
		}
		pinned, dialled := proxies[0].Connections()
		t.Logf("connections: %d, before %d; %d made meanwhile", pinned, open, dialled-made)
		if pinned > max(4, open) || dialled > made+8 {
			t.Errorf("50 locks with a hung node: %d connections to it, and %d made; want at most 4, and 8", pinned, dialled-made)
		}
		if err := proxies[0].Resume(); err != nil {
			t.Fatal(err)
		}
		servers.WaitEmpty(t, 2*time.Second, list...)
	})
}

// redsync: a SET that a node executes late keeps the key for the whole TTL after a
// successful Unlock.
func TestNoLateSetSurvivesUnlock(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		proxies := proxied(t, list)
		nodes := a.nodes(t, proxyAddrs(proxies)...)
		warm(t, nodes)
		locker := newLocker(t, nodes)
		cycle(t, locker, "first") // whose acquire is a script
		servers.WaitEmpty(t, time.Second, list...)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()

		late := proxies[2].StallRequest(1, netfault.Command("SET"))
		lock, err := locker.Lock(ctx, "k", redlock.WithTTL(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if err := late.Wait(ctx, 1); err != nil {
			t.Fatal("no SET to the third node: ", err)
		}
		if err := lock.Unlock(ctx); err != nil {
			t.Error(err)
		}
		deletions, sets := proxies[2].Count("EVAL", "EVALSHA"), calls(t, list[2], "set")
		late.Remove()
		eventually(t, time.Second, func() error {
			if list[2].Kind() != servers.Embedded && calls(t, list[2], "set") == sets {
				return errors.New("the late SET has not been executed")
			}
			return nil
		})
		if err := proxies[2].WaitCount(ctx, deletions+1, "EVAL", "EVALSHA"); err != nil {
			t.Error("no deletion after the late SET: ", err)
		}
		if err := locker.Close(ctx); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// calls returns how many times the server has executed a command. Embedded servers
// do not count.
func calls(t *testing.T, s *servers.Server, command string) (n int) {
	t.Helper()
	if s.Kind() != servers.Embedded {
		_, stat, _ := strings.Cut(fmt.Sprint(s.Do(t, "INFO", "commandstats")), "cmdstat_"+command+":calls=")
		fmt.Sscan(stat, &n) // 0 if it is not there
	}
	return n
}

// redsync: a node that hangs while a lock is held makes Extend fail after 6 s, though
// both others have extended, and Unlock take as long. rueidislock: with every server
// hung giving back blocks for 5 s and returns nothing.
func TestNoHungNodeDelaysExtendOrUnlock(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		proxies := proxied(t, list)
		nodes := a.nodes(t, proxyAddrs(proxies)...)
		warm(t, nodes)
		locker := newLocker(t, nodes)
		lock, err := locker.Lock(t.Context(), "k", redlock.WithTTL(4*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		second, err := locker.Lock(t.Context(), "second")
		if err != nil {
			t.Fatal(err)
		}

		proxies[0].Hold()
		took := timed(func() { err = lock.Extend(t.Context(), 4*time.Second) })
		if err != nil || took > 100*time.Millisecond {
			t.Errorf("Extend with one of three hung: %v after %v, want nil at once", err, took)
		}
		took = timed(func() { err = lock.Unlock(t.Context()) })
		if err != nil || took > 100*time.Millisecond {
			t.Errorf("Unlock with one of three hung: %v after %v, want nil at once", err, took)
		}

		proxies[1].Hold()
		proxies[2].Hold()
		took = timed(func() { err = second.Unlock(t.Context()) })
		if !errors.Is(err, redlock.ErrUnavailable) || took > bound {
			t.Errorf("Unlock with all hung: %v after %v, want ErrUnavailable within %v", err, took, bound)
		}
		for _, p := range proxies {
			if err := p.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		servers.WaitEmpty(t, 2*time.Second, list...)
	})
}

// redsync: of five nodes two have it taken, one is down and two hang, so there can
// be no quorum, and TryLock takes 6 s to say so. Three answers decide.
//
// The clients are those of the adapters' helpers: by default go-redis dials five
// times, 100 ms apart, before it says that a server is down.
func TestNoWaitOnceAQuorumIsImpossible(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 5)
		proxies := proxied(t, list)
		var nodes []backend.Node
		for _, p := range proxies {
			nodes = append(nodes, a.FromURL(t, "redis://"+p.Addr()))
		}
		warm(t, nodes)
		locker := newLocker(t, nodes)
		list[0].Do(t, "SET", "k", "other")
		list[1].Do(t, "SET", "k", "other")
		proxies[2].Refuse()
		proxies[3].Hold()
		proxies[4].Hold()
		var err error
		took := timed(func() { _, err = locker.TryLock(t.Context(), "k") })
		if !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("got %v, want ErrTaken", err)
		}
		if took > 100*time.Millisecond {
			t.Errorf("took %v, want no wait for the two that hang", took)
		}
		for _, p := range proxies {
			if err := p.Resume(); err != nil {
				t.Fatal(err)
			}
		}
		servers.WaitEmpty(t, 2*time.Second, list[2:]...)
	})
}

// rueidislock: expiry is an absolute time by the client's clock. Ours is always a
// number of milliseconds from when the server gets it.
func TestNoClientClockReachesTheServers(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		proxies := proxied(t, list)
		var mu sync.Mutex
		var sent [][]string
		proxies[0].LoseRequest(1, func(args []string) bool { // none: it listens
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, slices.Clone(args))
			return false
		})
		locker := a.locker(t, proxyAddrs(proxies))
		cycle(t, locker, "first") // whose acquire is a script
		lock, err := locker.Lock(t.Context(), "k", redlock.WithTTL(12345*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		if err := lock.Extend(t.Context(), 23456*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if left := list[0].Do(t, "PTTL", "k").(int64); left < 22_000 || left > 23_456 {
			t.Errorf("the server lets it expire in %d ms, want just under 23456", left)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}

		mu.Lock()
		defer mu.Unlock()
		var set, extended bool
		for _, args := range sent {
			if strings.EqualFold(args[0], "HELLO") || strings.EqualFold(args[0], "CLIENT") {
				continue // the driver's own
			}
			text := strings.ToUpper(strings.Join(args, " ")) // a script's too
			for _, absolute := range []string{"PXAT", "EXAT", "EXPIREAT"} {
				if strings.Contains(text, absolute) {
					t.Errorf("sent %s: %q", absolute, args)
				}
			}
			set = set || strings.HasPrefix(text, "SET K ") && strings.Contains(text, " PX 12345")
			extended = extended || slices.Contains(args, "23456")
		}
		if !set || !extended {
			t.Errorf("the times to live are not among what was sent: %q", sent)
		}
	})
}

// rueidislock: a user who may not run scripts hangs until the deadline, and hears no
// more than that it has passed.
func TestNoRefusalIsHidden(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1, servers.WithUser("locker", "pw", "resetchannels", "-@all", "~*", "+set", "+get", "+del", "+eval", "+evalsha"))
		var log bytes.Buffer
		locker := newLocker(t, []backend.Node{a.FromURL(t, list[0].URL())}, redlock.WithLogger(slog.New(slog.NewTextHandler(&log, nil))))
		lock, err := locker.Lock(t.Context(), "k", redlock.WithTTL(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		list[0].SetUser(t, "locker", "-get", "-del", "-eval", "-evalsha")
		for _, o := range []struct {
			name string
			run  func() error
		}{
			{"Extend", func() error { return lock.Extend(t.Context(), time.Minute) }},
			{"Resume", func() error { _, err := locker.Resume(t.Context(), lock.Handover()); return err }},
			{"Unlock", func() error { return lock.Unlock(t.Context()) }},
		} {
			var err error
			took := timed(func() { err = o.run() })
			if !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "NOPERM") {
				t.Errorf("%s: %v, want ErrUnavailable that says NOPERM", o.name, err)
			}
			if took > 200*time.Millisecond {
				t.Errorf("%s took %v to be refused", o.name, took)
			}
		}
		if err := locker.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if text := log.String(); !strings.Contains(text, "NOPERM") || strings.Contains(text, lock.Token()) {
			t.Errorf("the log must say that the key stays, and not show the token: %s", text)
		}
	})
}

// rueidislock: a key that is the library's own prefix panics. No key is special here, on
// no server, whatever it looks like on the wire, unless it is kept beside another lock.
func TestNoKeyIsSpecial(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		nodes := a.nodes(t, addrs(list)...)
		for _, key := range []string{"lock:", "{", "a}b", "k:queue", "k:fence", ":gone:", "*", " ", "\r\n", "\x00", "\xff\xfe", "KEYS[1]", strings.Repeat("k", 10_000)} {
			for _, prefix := range []string{"", key} {
				cycle(t, newLocker(t, nodes, redlock.WithKeyPrefix(prefix)), key)
			}
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// redislock: a token that another one begins with takes that one's lock over:
// "worker-1" those of "worker-10".
func TestNoPrefixOfATokenOpensTheLock(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		locker := a.locker(t, addrs(list))
		lock, err := locker.Lock(t.Context(), "k", redlock.WithOwner("worker-10"))
		if err != nil {
			t.Fatal(err)
		}
		token := lock.Token()
		for _, part := range []string{"worker-1", "worker-10", token[:len(token)-1], token + "x", strings.ToUpper(token)} {
			if _, err := locker.Resume(t.Context(), redlock.NewHandover("k", part, 0)); !errors.Is(err, redlock.ErrNotHeld) {
				t.Errorf("Resume with %d bytes of the token: %v, want ErrNotHeld", len(part), err)
			}
			if err := locker.Release(t.Context(), redlock.NewHandover("k", part, 0)); !errors.Is(err, redlock.ErrNotHeld) {
				t.Errorf("Release with %d bytes of the token: %v, want ErrNotHeld", len(part), err)
			}
		}
		if _, err := locker.TryLock(t.Context(), "k", redlock.WithOwner("worker-1")); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("got %v, want ErrTaken", err)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// redislock: Release under a ctx that was cancelled leaves the key for its TTL, as
// drivers send nothing under one.
func TestNoUnlockIsLostToACancelledContext(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n)
				locker := a.locker(t, addrs(list))
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				lock, err := locker.Lock(ctx, "k")
				if err != nil {
					t.Fatal(err)
				}
				handed, err := locker.Lock(ctx, "handed over")
				if err != nil {
					t.Fatal(err)
				}
				// Release knows nothing of a grant that is still on its way.
				eventually(t, time.Second, func() error { return onAll(t.Context(), locker, "handed over") })
				cancel()
				if err := lock.Unlock(ctx); err != nil {
					t.Error("Unlock: ", err)
				}
				if err := locker.Release(ctx, handed.Handover()); err != nil {
					t.Error("Release: ", err)
				}
				servers.WaitEmpty(t, time.Second, list...)
			})
		}
	})
}
