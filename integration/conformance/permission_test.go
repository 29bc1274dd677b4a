package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A user who may not use the queue, or not all of it, can lock and unlock all the
// same. What he must not do half is not done.
func TestQueueWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that it makes
		server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all")
		all := drivers.All[0].Node(t, server.Addr())
		some := drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr())
		for _, tc := range []struct {
			deny, allow string
			queues      bool   // he is queued by an acquire
			calls       bool   // his release calls the waiter
			mute        string // the command that fails, and says so, if that keeps it from being called
		}{
			{"-zadd", "+zadd", false, true, ""},
			{"-zrank", "+zrank", false, true, ""},
			{"-pexpire", "+pexpire", false, true, ""},
			{"-time", "+time", false, true, ""},
			{"-pubsub", "+pubsub", false, false, "PUBSUB: "},
			{"-zrem", "+zrem", true, true, ""},
			{"-zpopmin", "+zpopmin", true, false, "ZPOPMIN: "},
			{"-set", "+set", true, false, "SET: "},
			{"-zrange", "+zrange", true, false, "ZRANGE: "},
			{"-publish", "+publish", true, false, "PUBLISH: "},
			{"resetchannels", "allchannels", true, false, "PUBLISH: "},
		} {
			t.Run(tc.deny, func(t *testing.T) {
				if tc.deny == "resetchannels" && kind.Before(6, 2) {
					t.Skip("before Redis 6.2 there are no rights to channels")
				}
				name := strings.TrimLeft(tc.deny, "-")
				waiter, behind, locker := "60000:"+name+" waiter", "60000:"+name+" behind", "60000:"+name+" locker"
				for _, ticket := range []string{waiter, behind, locker} {
					_, channel, _ := strings.Cut(ticket, ":")
					hears(t, all, channel)
				}
				server.SetUser(t, "locker", tc.deny)
				defer server.SetUser(t, "locker", tc.allow)

				for _, free := range []struct {
					script *backend.Script
					args   []string
				}{
					{lua.Release, []string{"token", locker, "others"}},
					{lua.Rollback, []string{"token", locker, "0", "1"}},
				} {
					lock := name + " " + free.script.Name()
					keys := []string{lock, lock + ":queue"}
					server.Do(t, "SET", lock, "token", "PX", 60_000)
					eval(t, all, lua.Acquire, keys, "other", "60000", waiter, "2000")
					eval(t, all, lua.Acquire, keys, "other", "60000", behind, "1000")

					rank, standing := int64(-1), int64(2)
					if tc.queues {
						rank, standing = 2, 3
					}
					r := eval(t, some, lua.Acquire, keys, "another", "60000", locker, "0")
					why, _ := r.Text(4)
					if tc.queues != (why == "") || !tc.queues && !strings.HasPrefix(why, strings.ToUpper(name)+": ") || r[0] != int64(0) || r[2] != rank {
						t.Errorf("%s: acquire answers %v, want a refusal with the rank %d, and the command that failed", lock, r, rank)
					}
					if r := eval(t, all, lua.Waiters, keys[1:], "9"); r[0] != standing || r[1] != waiter {
						t.Errorf("%s: those who wait are %v, want %d", lock, r, standing)
					}

					r = eval(t, some, free.script, keys, free.args...)
					why = ""
					if len(r) > 1 {
						why, _ = r.Text(1)
					}
					if r[0] != int64(1) || !strings.HasPrefix(why, tc.mute) || (why == "") != (tc.mute == "") {
						t.Errorf("%s: %s answers %q, want 1, and which command failed: %q", lock, free.script.Name(), r, tc.mute)
					}
					want := ""
					if tc.calls {
						want = "~" + waiter
					}
					if r := eval(t, all, lua.Inspect, keys[:1]); r[1] != want {
						t.Errorf("%s: after %s the lock holds %q, want %q", lock, free.script.Name(), r[1], want)
					}
				}
			})
		}
	})
}

// Where the queue's key itself is out of bounds the server runs nothing, and says so:
// the plain delete is left.
func TestQueueKeyWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithUser("locker", "pw", "~lock", "allchannels", "+@all"))[0]
		for _, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				node := d.FromURL(t, server.URL())
				server.Do(t, "SET", "lock", "token", "PX", 60_000)
				for _, call := range []backend.Op{
					{Kind: backend.OpEval, Script: lua.Release, Keys: []string{"lock", "queue"}, Args: []string{"token"}},
					{Kind: backend.OpEval, Script: lua.Rollback, Keys: []string{"lock", "queue"}, Args: []string{"token", "", "", "1"}},
					{Kind: backend.OpEval, Script: lua.Acquire, Keys: []string{"lock", "queue"}, Args: []string{"other", "1000", "20:inbox", "0"}},
				} {
					if r := call.Do(t.Context(), node); !errors.Is(r.Err, backend.ErrRefused) {
						t.Errorf("%s ends with %v, %v, want a refusal", call.Script.Name(), r.Reply, r.Err)
					}
				}
				if ok, err := node.EvalDelete(t.Context(), "lock", "token"); !ok || err != nil {
					t.Errorf("the plain delete = %v, %v, want true", ok, err)
				}
			})
		}
	})
}
