package conformance

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

var (
	voteKeys = []string{"lock", "counter", "tombstone"}
	voteArgs = []string{"token", "60000", "0", "3600000"}
)

// The usual calls run exactly these commands. A release without a tombstone runs none in addition
// to those of a lock without fencing.
func TestFenceCommands(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if kind == servers.Embedded {
			t.Skip("embedded servers do not count the commands of scripts")
		}
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // its commands are counted
		node := drivers.All[0].Node(t, server.Addr())
		for _, call := range []struct {
			what     string
			script   *backend.Script
			keys     []string
			args     []string
			commands string
		}{
			{"vote, first", lua.Vote, voteKeys, voteArgs, "mget:1 exists:1 get:2 set:2 time:1"},
			{"vote, repeated", lua.Vote, voteKeys, voteArgs, "mget:1 exists:1 get:2 time:1"},
			{"prolong", lua.Prolong, []string{"lock", "counter"}, []string{"token", "90000", "41", "3600000"}, "get:2 pexpire:2 pttl:1"},
			{"raise", lua.Raise, []string{"lock", "counter"}, []string{"token", "41", "3600000"}, "get:2 time:1"},
			{"release", lua.Release, []string{"lock", "queue"}, []string{"token"}, "del:1 exists:1 get:1"},
			{"vote", lua.Vote, voteKeys, []string{"token", "60000", strconv.FormatInt(time.Now().UnixMicro(), 10), "3600000"}, "mget:1 pexpiretime:1 set:2"},
			{"acquireshared", lua.AcquireShared, []string{"shared", "shared queue", "readers"}, []string{"token", "60000"}, "exists:1 pexpireat:1 pexpiretime:1 set:1 zadd:1"},
			{"releaseshared", lua.ReleaseShared, []string{"shared", "shared queue", "readers"}, []string{"token"}, "del:1 exists:1 get:1 zrange:1"},
			{"release with a tombstone", lua.Release, []string{"lock", "queue", "tombstone"}, []string{"token", "", "", "60000"}, "get:1 set:1 zrange:1 del:1"},
		} {
			if kind.Before(7, 0) {
				call.commands = strings.ReplaceAll(call.commands, "pexpiretime:1", "time:1")
				if call.script == lua.AcquireShared { // it has no fast path there
					call.commands = "del:1 get:1 pexpireat:2 set:1 time:1 zadd:2 zrange:2 zrem:1 zscore:1"
				}
			}
			server.Do(t, "CONFIG", "RESETSTAT")
			eval(t, node, call.script, call.keys, call.args...)
			counted := map[string]string{}
			stats, _ := server.Do(t, "INFO", "commandstats").(string)
			for line := range strings.Lines(stats) {
				name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
				if n, _, _ := strings.Cut(rest, ","); ok && !strings.Contains(name, "|") {
					counted[name] = n
				}
			}
			for _, own := range []string{"eval", "evalsha", "info", "config", "ping", "hello", "client"} {
				delete(counted, own)
			}
			for _, want := range strings.Fields(call.commands) {
				name, n, _ := strings.Cut(want, ":")
				if counted[name] != n {
					t.Errorf("%s runs %s %q times, want %s", call.what, name, counted[name], n)
				}
				delete(counted, name)
			}
			if len(counted) > 0 {
				t.Errorf("%s runs in addition %v", call.what, counted)
			}
		}
	})
}

// A user who lacks a right that a vote needs does not vote, and can still unlock.
func TestVoteWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that the test creates
		server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all")
		node := drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr())
		vote := backend.Op{Kind: backend.OpEval, Script: lua.Vote, Keys: voteKeys, Args: voteArgs}
		for _, command := range []string{"exists", "time", "get", "set"} {
			server.SetUser(t, "locker", "-"+command)
			if r := vote.Do(t.Context(), node); r.Err == nil {
				t.Errorf("vote without %s answers %v, want an error", command, r.Reply)
			}
			if keys := server.Keys(t); len(keys) != 0 {
				t.Errorf("after a vote without %s the keys are %q, want none", command, keys)
			}
			server.SetUser(t, "locker", "+"+command)
		}
		// A fast-path vote finds that the clock does not allow the hint, and may not undo its
		// set. The counter belongs to another vote.
		server.SetUser(t, "locker", "-del")
		now := time.Now().UnixMicro()
		server.Do(t, "SET", "counter", now-1_000_000)
		vote.Args = []string{"token", "60000", strconv.FormatInt(now+3_600_000_000, 10), "3600000"}
		if r := vote.Do(t.Context(), node); r.Err == nil {
			t.Errorf("vote without del answers %v, want an error", r.Reply)
		}
		server.Do(t, "DEL", "lock", "counter")
		server.SetUser(t, "locker", "+del")

		server.SetUser(t, "locker", "-mget") // makes it slower, but no more
		eval(t, node, lua.Vote, voteKeys, voteArgs...)
		server.SetUser(t, "locker", "-set")
		keys := []string{"lock", "queue", "tombstone"}
		if r := eval(t, node, lua.Release, keys, "token", "", "", "60000"); r[0] != int64(1) {
			t.Errorf("release without the right to a tombstone answers %v, want 1", r)
		}
	})
}

// A server without free memory casts no vote, but releases. The tombstone of an existing lock is
// added.
func TestVoteWithoutMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		node := drivers.All[0].Node(t, server.Addr())
		server.Do(t, "SET", "lock", "token", "PX", 60_000)
		server.Do(t, "CONFIG", "SET", "maxmemory", 1)
		keys := []string{"lock", "queue", "tombstone"}
		if r := eval(t, node, lua.Release, keys, "token", "", "", "60000"); r[0] != int64(1) {
			t.Errorf("release answers %v, want 1", r)
		}
		if all := server.Keys(t); len(all) != 1 || all[0] != "tombstone" {
			t.Errorf("after a release the keys are %q, want the tombstone", all)
		}
		server.Do(t, "DEL", "tombstone")
		vote := backend.Op{Kind: backend.OpEval, Script: lua.Vote, Keys: voteKeys, Args: voteArgs}
		if r := vote.Do(t.Context(), node); !backend.NotExecuted(r.Err) || len(server.Keys(t)) != 0 {
			t.Errorf("vote returns %v, %v, and the keys are %q; want an error and no keys", r.Reply, r.Err, server.Keys(t))
		}

		// A token that is not there gets its tombstone all the same, and a holder is extended even
		// where its counter is below its token.
		server.Do(t, "CONFIG", "SET", "maxmemory", 0)
		server.Do(t, "SET", "lock", "other", "PX", 30_000)
		now := time.Now().UnixMicro()
		server.Do(t, "SET", "counter", now)
		server.Do(t, "CONFIG", "SET", "maxmemory", 1)
		for _, script := range []*backend.Script{lua.Release, lua.Rollback} {
			args := []string{"token", "", "", "60000"}
			if script == lua.Rollback {
				args = []string{"token", "", "", "0", "60000"}
			}
			if r := eval(t, node, script, keys, args...); r[0] != int64(0) || server.Do(t, "DEL", "tombstone") != int64(1) {
				t.Errorf("%s of another token answers %v; want 0, and a tombstone", script.Name(), r)
			}
		}
		higher := strconv.FormatInt(now+5, 10)
		prolong := backend.Op{Kind: backend.OpEval, Script: lua.Prolong, Keys: []string{"lock", "counter"}, Args: []string{"other", "60000", higher, "3600000"}}
		if r := prolong.Do(t.Context(), node); r.Err != nil || r.Reply[0] != int64(1) || server.Do(t, "GET", "counter") != higher {
			t.Errorf("prolong answers %v, %v, and the counter is %v; want 1 and %v", r.Reply, r.Err, server.Do(t, "GET", "counter"), higher)
		}
		if left, _ := server.Do(t, "PTTL", "lock").(int64); left <= 30_000 {
			t.Errorf("after prolong the lock lives for %d ms, want more than 30000", left)
		}
		server.Do(t, "CONFIG", "SET", "maxmemory", 0)
	})
}

// A server that cannot write still reports who has the lock. A refusal must not look as if the
// server were down.
func TestVoteWithoutWriting(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if kind == servers.Embedded {
			t.Skip("embedded servers always write")
		}
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		node := drivers.All[0].Node(t, server.Addr())
		server.Do(t, "SET", "lock", "other", "PX", 60_000)
		server.Do(t, "SET", "counter", time.Now().UnixMicro(), "PX", 60_000)
		for _, state := range []struct {
			what        string
			begin, ends []any
		}{
			{"without memory", []any{"CONFIG", "SET", "maxmemory", 1}, []any{"CONFIG", "SET", "maxmemory", 0}},
			{"without enough replicas", []any{"CONFIG", "SET", "min-replicas-to-write", 1}, []any{"CONFIG", "SET", "min-replicas-to-write", 0}},
		} {
			server.Do(t, state.begin...)
			now := strconv.FormatInt(time.Now().UnixMicro(), 10)
			r := eval(t, node, lua.Vote, voteKeys, "token", "60000", now, "3600000")
			if len(r) != 6 || r[0] != int64(0) || r[5] != "other" {
				t.Errorf("a server that cannot write, %s, answers %v, want a refusal with the owner", state.what, r)
			}
			server.Do(t, state.ends...)
		}
	})
}

// An error that names a key of arbitrary bytes is complete and has one line, with every driver.
func TestFenceNamesTheKey(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		for _, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				if kind == servers.Embedded {
					t.Skip("embedded servers quote the key differently")
				}
				counter := "a\x00b\r\nc\"%d"
				server.Do(t, "SET", counter, "rubbish", "PX", 60_000)
				vote := backend.Op{Kind: backend.OpEval, Script: lua.Vote, Keys: []string{"lock", counter, "tombstone"}, Args: voteArgs}
				r := vote.Do(t.Context(), d.Node(t, server.Addr()))
				if r.Err == nil {
					t.Fatalf("vote answers %v, want an error", r.Reply)
				}
				text := r.Err.Error()
				if !strings.HasPrefix(text, `FENCE the counter "a\000b\r\ c\"%d" holds`) || !strings.HasSuffix(text, "nobody holds the lock") {
					t.Errorf("the error is %q", text)
				}
				if errors.Is(r.Err, errors.ErrUnsupported) {
					t.Errorf("the error %v matches one that says that scripts do not work", r.Err)
				}
			})
		}
	})
}
