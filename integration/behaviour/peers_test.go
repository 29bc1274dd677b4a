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

// Each test of this file shows that a defect of another lock library is not a defect of this one.
// It uses real servers, and each driver with its default settings. docs/peers.md lists all of
// these defects.

// bound is the longest time of an operation that waits in vain for a node.
const bound = redlock.DefaultNodeTimeout + 100*time.Millisecond

// noWait is more than an operation needs that waits for no node, and less than a node timeout.
const noWait = redlock.DefaultNodeTimeout - 50*time.Millisecond

// redsync: with one hung node, each lock and each unlock leaves a goroutine and a connection
// behind.
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
		t.Logf("connections: %d, before %d; %d opened meanwhile", pinned, open, dialled-made)
		if pinned > max(4, open) || dialled > made+8 {
			t.Errorf("50 locks with a hung node: %d connections to it, and %d opened; want at most 4, and 8", pinned, dialled-made)
		}
		if err := proxies[0].Resume(); err != nil {
			t.Fatal(err)
		}
		servers.WaitEmpty(t, 2*time.Second, list...)
	})
}

// redsync: a SET that a node executes late keeps the key for the whole TTL after a successful
// Unlock.
func TestNoLateSetSurvivesUnlock(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		proxies := proxied(t, list)
		nodes := a.nodes(t, proxyAddrs(proxies)...)
		warm(t, nodes)
		locker := newLocker(t, nodes)
		cycle(t, locker, "first") // the first acquire on a node is a script
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

// calls returns how many times the server has executed a command. Embedded servers do not count.
func calls(t *testing.T, s *servers.Server, command string) (n int) {
	t.Helper()
	if s.Kind() != servers.Embedded {
		_, stat, _ := strings.Cut(fmt.Sprint(s.Do(t, "INFO", "commandstats")), "cmdstat_"+command+":calls=")
		fmt.Sscan(stat, &n) // 0 if the line is missing
	}
	return n
}

// redsync: if a node hangs while a lock is held, Extend fails after 6 s although both other nodes
// have extended, and Unlock takes as long. rueidislock: with every server hung, a release blocks
// for 5 s and returns nothing.
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
		if err != nil || took > noWait {
			t.Errorf("Extend with one of three hung: %v after %v, want nil at once", err, took)
		}
		took = timed(func() { err = lock.Unlock(t.Context()) })
		if err != nil || took > noWait {
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

// redsync: of five nodes, two hold another's key, one is down and two hang. No quorum is
// possible, but TryLock takes 6 s to say so. Here three answers decide.
//
// The clients are those of the adapters' helpers. By default, go-redis dials five times with
// pauses of 100 ms before it reports a server as down.
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
		if took > noWait {
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

// rueidislock: expiry is an absolute time of the client's clock. Here it is always a number of
// milliseconds that begins when the server receives it.
func TestNoClientClockReachesTheServers(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		proxies := proxied(t, list)
		var mu sync.Mutex
		var sent [][]string
		proxies[0].LoseRequest(1, func(args []string) bool { // loses none, only records
			mu.Lock()
			defer mu.Unlock()
			sent = append(sent, slices.Clone(args))
			return false
		})
		locker := a.locker(t, proxyAddrs(proxies))
		cycle(t, locker, "first") // the first acquire on a node is a script
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
				continue // sent by the driver itself
			}
			text := strings.ToUpper(strings.Join(args, " ")) // including the text of a script
			for _, absolute := range []string{"PXAT", "EXAT", "EXPIREAT"} {
				if strings.Contains(text, absolute) {
					t.Errorf("sent %s: %q", absolute, args)
				}
			}
			set = set || strings.HasPrefix(text, "SET K ") && strings.Contains(text, " PX 12345")
			extended = extended || slices.Contains(args, "23456")
		}
		if !set || !extended {
			t.Errorf("the times to live were not sent: %q", sent)
		}
	})
}

// rueidislock: a user who may not run scripts waits until the deadline, and the error says only
// that it has passed.
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
				t.Errorf("%s: the rejection took %v", o.name, took)
			}
		}
		if err := locker.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if text := log.String(); !strings.Contains(text, "NOPERM") || strings.Contains(text, lock.Token()) {
			t.Errorf("want a log that says that the key stays and does not contain the token: %s", text)
		}
	})
}

// rueidislock: a key that equals the library's own prefix panics. Here any key works on every
// server, whatever bytes it contains, unless it is used next to another lock.
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

// redislock: a token that is the beginning of another token opens that token's lock: "worker-1"
// opens the locks of "worker-10".
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

// redislock: Release with a cancelled ctx leaves the key for its TTL, because drivers send
// nothing with such a ctx.
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
				// Release does not know of a grant that is still under way.
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
