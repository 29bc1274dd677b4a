package conformance

import (
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// A user who lacks a right that readers need does not read, and leaves nothing behind. Those who
// read go on.
func TestSharedWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that the test creates
		server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all")
		all := drivers.All[0].Node(t, server.Addr())
		some := drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr())
		keys := []string{"lock", "queue", "readers"}
		acquire := backend.Op{Kind: backend.OpEval, Script: lua.AcquireShared, Keys: keys, Args: []string{"token", "60000"}}
		for _, command := range []string{"time", "get", "set", "del", "zadd", "zscore", "zrem", "zrange", "pexpireat"} {
			server.SetUser(t, "locker", "-"+command)
			if r := acquire.Do(t.Context(), some); r.Err == nil {
				t.Errorf("acquireshared without %s answers %v, want an error", command, r.Reply)
			}
			if left := server.Keys(t); len(left) != 0 {
				t.Errorf("after an acquireshared without %s the keys are %q, want none", command, left)
			}
			server.SetUser(t, "locker", "+"+command)
		}
		if kind != servers.Redis60 { // a right to one of the keys is not enough
			server.SetUser(t, "locker", "-pexpireat", "(+pexpireat ~readers)")
			if r := acquire.Do(t.Context(), some); r.Err == nil || len(server.Keys(t)) != 0 {
				t.Errorf("acquireshared without pexpireat for the lock answers %v, and the keys are %q; want an error and none", r.Reply, server.Keys(t))
			}
			server.SetUser(t, "locker", "clearselectors", "+pexpireat")
		}
		for _, command := range []string{"exists", "pexpiretime"} { // for the fast paths alone
			if command == "pexpiretime" && kind == servers.Redis60 {
				continue
			}
			server.SetUser(t, "locker", "-"+command)
			if r := acquire.Do(t.Context(), some); r.Err != nil || r.Reply[0] != int64(1) {
				t.Errorf("acquireshared without %s answers %v, %v, want 1", command, r.Reply, r.Err)
			}
			if r := eval(t, some, lua.ReleaseShared, keys, "token"); r[0] != int64(1) || len(server.Keys(t)) != 0 {
				t.Errorf("releaseshared without %s answers %v, and the keys are %q; want 1 and none", command, r, server.Keys(t))
			}
			server.SetUser(t, "locker", "+"+command)
		}

		// Without the checks, such a user would read, and could not stop if another reads too.
		unchecked := acquire
		unchecked.Script = without(t, lua.AcquireShared, "err = (free or held == '~shared') and ready(lock, readers, token)", "may('ZREM', readers, token) and ")
		server.SetUser(t, "locker", "-zrem")
		granted := unchecked.Do(t.Context(), some)
		eval(t, all, lua.AcquireShared, keys, "other", "30000")
		release := backend.Op{Kind: backend.OpEval, Script: lua.ReleaseShared, Keys: keys, Args: []string{"token"}}
		if released := release.Do(t.Context(), some); granted.Err != nil || released.Err == nil {
			t.Errorf("without the checks, a user without zrem gets %v, %v, and its release %v: this test shows nothing", granted.Reply, granted.Err, released.Reply)
		}
		server.SetUser(t, "locker", "+zrem")
		eval(t, all, lua.ReleaseShared, keys, "token")

		for _, command := range []string{"time", "get", "zscore", "zrem", "zadd", "zrange", "pexpireat", "del"} {
			if command == "del" && kind == servers.Redis60 {
				continue // it cannot say, and only the last reader deletes
			}
			server.SetUser(t, "locker", "-"+command)
			if r := acquire.Do(t.Context(), some); r.Err == nil && r.Reply[0] != int64(0) {
				t.Errorf("acquireshared beside a reader, without %s, answers %v, want an error or a refusal", command, r.Reply)
			}
			if n := server.Do(t, "ZCARD", "readers"); n != int64(1) {
				t.Errorf("after an acquireshared without %s the set has %v tokens, want 1", command, n)
			}
			if left, _ := server.Do(t, "PTTL", "lock").(int64); left > 30_000 {
				t.Errorf("after an acquireshared without %s the lock lives for %d ms, want at most 30000", command, left)
			}
			server.SetUser(t, "locker", "+"+command)
		}
		eval(t, all, lua.AcquireShared, keys, "token", "40000")
		ends := server.Do(t, "ZSCORE", "readers", "token")
		extend := backend.Op{Kind: backend.OpEval, Script: lua.ExtendShared, Keys: keys, Args: []string{"token", "60000"}}
		for _, command := range []string{"zadd", "zrange", "pexpireat"} {
			server.SetUser(t, "locker", "-"+command)
			if r := extend.Do(t.Context(), some); r.Err == nil || server.Do(t, "ZSCORE", "readers", "token") != ends {
				t.Errorf("extendshared of a reader without %s answers %v, and its share ends at %v; want an error and %v",
					command, r.Reply, server.Do(t, "ZSCORE", "readers", "token"), ends)
			}
			server.SetUser(t, "locker", "+"+command)
		}
		eval(t, all, lua.ReleaseShared, keys, "token")
		if r := eval(t, all, lua.ReleaseShared, keys, "other"); r[0] != int64(1) || len(server.Keys(t)) != 0 {
			t.Errorf("releaseshared answers %v, and the keys are %q; want 1 and none", r, server.Keys(t))
		}

		server.Do(t, "SET", "lock", "token", "PX", 60_000)
		server.SetUser(t, "locker", "-zadd")
		if r := extend.Do(t.Context(), some); r.Err == nil || server.Do(t, "GET", "lock") != "token" {
			t.Errorf("extendshared of a holder without zadd answers %v, and the lock holds %v; want an error and the token", r.Reply, server.Do(t, "GET", "lock"))
		}
		server.SetUser(t, "locker", "+zadd")

		// A reader that cannot be notified stays in the queue.
		heard := hears(t, all, "inbox")
		reader := proto.Ticket{Grace: 100 * time.Millisecond, Channel: "inbox", Shared: true}.String()
		server.Do(t, "ZADD", "queue", 1, reader)
		server.SetUser(t, "locker", "-publish")
		eval(t, some, lua.ExtendShared, keys, "token", "60000")
		if n := server.Do(t, "ZCARD", "queue"); n != int64(1) {
			t.Errorf("after a holder without publish has become a reader, %v waiters are queued, want 1", n)
		}
		server.SetUser(t, "locker", "+publish")
		eval(t, some, lua.ReleaseShared, keys, "another", reader+"x")
		if n := server.Do(t, "ZCARD", "queue"); n != int64(0) {
			t.Errorf("a release with publish leaves %v readers queued, want 0", n)
		}
		select {
		case got := <-heard:
			if got != "glock" {
				t.Errorf("the reader hears %q, want %q", got, "glock")
			}
		case <-time.After(10 * time.Second):
			t.Error("the reader hears nothing")
		}
	})
}

// A server without free memory grants no share, but extends those that it has, as it does with
// exclusive locks.
func TestSharedWithoutMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		node := drivers.All[0].Node(t, server.Addr())
		keys := []string{"lock", "queue", "readers"}
		eval(t, node, lua.AcquireShared, keys, "reader", "30000")
		server.Do(t, "SET", "held", "holder", "PX", 30_000)
		server.Do(t, "CONFIG", "SET", "maxmemory", 1)
		if _, err := server.Query(t.Context(), "SET", "x", "x"); err == nil || !strings.Contains(err.Error(), "OOM") {
			t.Fatalf("SET on a server without memory: %v, want OOM", err)
		}

		extend := backend.Op{Kind: backend.OpEval, Keys: keys, Args: []string{"reader", "60000"}}
		extend.Script = without(t, lua.ExtendShared, "redis.pcall('ZREM', readers, '')")
		if r := extend.Do(t.Context(), node); r.Err == nil || !strings.Contains(r.Err.Error(), "OOM") {
			t.Errorf("an extendshared that writes nothing before answers %v, %v, want OOM: this test shows nothing", r.Reply, r.Err)
		}
		extend.Script = lua.ExtendShared
		if r := extend.Do(t.Context(), node); r.Err != nil || r.Reply[0] != int64(1) {
			t.Errorf("extendshared by a reader answers %v, %v, want 1", r.Reply, r.Err)
		}
		if left, _ := server.Do(t, "PTTL", "lock").(int64); left <= 30_000 {
			t.Errorf("after an extendshared the lock lives for %d ms, want more than 30000", left)
		}
		held := []string{"held", "held queue", "held readers"}
		if r := eval(t, node, lua.ExtendShared, held, "holder", "60000"); r[0] != int64(1) || server.Do(t, "GET", "held") != "~shared" {
			t.Errorf("extendshared by a holder answers %v, want 1 and a reader", r)
		}

		for _, keys := range [][]string{keys, {"free", "free queue", "free readers"}} {
			acquire := backend.Op{Kind: backend.OpEval, Script: lua.AcquireShared, Keys: keys, Args: []string{"another", "60000"}}
			if r := acquire.Do(t.Context(), node); r.Err == nil || !strings.Contains(r.Err.Error(), "OOM") {
				t.Errorf("acquireshared of %s answers %v, %v, want OOM", keys[0], r.Reply, r.Err)
			}
		}
		for _, r := range []backend.Reply{eval(t, node, lua.ReleaseShared, keys, "reader"), eval(t, node, lua.ReleaseShared, held, "holder")} {
			if r[0] != int64(1) {
				t.Errorf("releaseshared answers %v, want 1", r)
			}
		}
		if left := server.Keys(t); len(left) != 0 {
			t.Errorf("the keys are %q, want none", left)
		}
		server.Do(t, "CONFIG", "SET", "maxmemory", 0)
	})
}

// without returns a script without some of its words.
func without(t *testing.T, s *backend.Script, words ...string) *backend.Script {
	t.Helper()
	text := s.Source()
	for _, w := range words {
		if strings.Count(text, w) != 1 {
			t.Fatalf("%s does not contain %q once", s.Name(), w)
		}
		text = strings.Replace(text, w, "", 1)
	}
	return scriptOf(s.Name(), text)
}

// Readers whose shares end one after the other keep the lock and its set until the last one, and
// shares that have ended do not pile up.
func TestSharedEnds(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if kind == servers.Embedded {
			t.Skip("the time of embedded servers stands still between their commands")
		}
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		node := drivers.All[0].Node(t, server.Addr())
		keys := []string{"lock", "queue", "readers"}
		eval(t, node, lua.AcquireShared, keys, "last", "60000")
		for i := range 50 {
			eval(t, node, lua.AcquireShared, keys, "short "+strings.Repeat("x", i), "1")
		}
		time.Sleep(10 * time.Millisecond) // until all of them have ended
		// Either script removes some of them.
		for range 2 {
			eval(t, node, lua.ReleaseShared, keys, "nobody")
			eval(t, node, lua.AcquireShared, keys, "last but one", "30000")
			eval(t, node, lua.ReleaseShared, keys, "last but one")
		}
		if n := server.Do(t, "ZCARD", "readers"); n != int64(1) {
			t.Errorf("the set has %v tokens, want the last reader's", n)
		}
		if r := eval(t, node, lua.ReleaseShared, keys, "last"); r[0] != int64(1) || len(server.Keys(t)) != 0 {
			t.Errorf("releaseshared answers %v, and the keys are %q; want 1 and none", r, server.Keys(t))
		}
	})
}
