package conformance

import (
	"errors"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A user who may not use the queue, or only parts of it, can still lock and unlock. An operation
// that the user may not complete is not begun.
func TestQueueWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that the test creates
		server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all")
		all := drivers.All[0].Node(t, server.Addr())
		some := drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr())
		for _, tc := range []struct {
			deny, allow string
			queues      bool   // an acquire queues this user
			calls       bool   // a release by this user notifies the waiter
			mute        string // the command whose failure is reported, if it prevents a notification
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
					if r := eval(t, all, lua.Inspect, keys, "9")[3:]; r[0] != standing || r[1] != waiter {
						t.Errorf("%s: the waiters are %v, want %d", lock, r, standing)
					}

					r = eval(t, some, free.script, keys, free.args...)
					why = ""
					if len(r) > 1 {
						why, _ = r.Text(1)
					}
					if r[0] != int64(1) || !strings.HasPrefix(why, tc.mute) || (why == "") != (tc.mute == "") {
						t.Errorf("%s: %s answers %q, want 1 and the failed command %q", lock, free.script.Name(), r, tc.mute)
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

// A user who may not read the queue, or only parts of it, can still inspect the lock.
func TestInspectWithoutPermission(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that the test creates
		server.SetUser(t, "watcher", "on", ">pw", "allkeys", "allchannels", "+@all")
		all := drivers.All[0].Node(t, server.Addr())
		some := drivers.All[0].FromURL(t, "redis://watcher:pw@"+server.Addr())
		keys := []string{"lock", "lock:queue"}
		server.Do(t, "SET", "lock", "token", "PX", 60_000)
		hears(t, all, "inbox")
		eval(t, all, lua.Acquire, keys, "other", "60000", "60000:inbox", "5000")
		for _, tc := range []struct {
			deny    string
			length  int // of the reply
			waiting int64
			waited  bool // the reply contains the time
		}{
			{"+@all", 6, 1, true},
			{"-zcard", 4, -1, false},
			{"-zrange", 4, 1, false},
			{"-time", 6, 1, false},
		} {
			t.Run(tc.deny, func(t *testing.T) {
				server.SetUser(t, "watcher", tc.deny)
				defer server.SetUser(t, "watcher", "+@all")
				r := eval(t, some, lua.Inspect, keys, "9")
				if len(r) != tc.length || r[0] != int64(1) || r[1] != "token" || r[3] != tc.waiting {
					t.Fatalf("inspect answers %v, want %d parts, the token, and %d waiters", r, tc.length, tc.waiting)
				}
				if tc.length == 6 {
					if ms, err := r.Int(5); err != nil || tc.waited != (ms >= 5000) || !tc.waited && ms != -1 {
						t.Errorf("inspect answers %v; want the time: %v", r, tc.waited)
					}
				}
			})
		}
		for _, deny := range []string{"-get", "-pttl"} {
			server.SetUser(t, "watcher", deny)
			op := backend.Op{Kind: backend.OpEval, Script: lua.Inspect, Keys: keys, Args: []string{"9"}}
			if r := op.Do(t.Context(), some); !errors.Is(r.Err, backend.ErrRefused) {
				t.Errorf("%s: inspect returns %v, %v, want a rejection", deny, r.Reply, r.Err)
			}
			server.SetUser(t, "watcher", "+@all")
		}
	})
}

// If the user may not access the queue's key, the server runs no script and returns an error. A
// plain delete still works.
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
					{Kind: backend.OpEval, Script: lua.Inspect, Keys: []string{"lock", "queue"}, Args: []string{"9"}},
				} {
					if r := call.Do(t.Context(), node); !errors.Is(r.Err, backend.ErrRefused) {
						t.Errorf("%s returns %v, %v, want a rejection", call.Script.Name(), r.Reply, r.Err)
					}
				}
				locker, err := redlock.New([]backend.Node{node})
				if err != nil {
					t.Fatal(err)
				}
				if s, err := locker.Inspect(t.Context(), "lock"); err != nil || s.State != redlock.StateHeld || s.Waiting != -1 {
					t.Errorf("Inspect: %v, %v, want the lock held, and the waiters unknown", s, err)
				}
				if ok, err := node.EvalDelete(t.Context(), "lock", "token"); !ok || err != nil {
					t.Errorf("the plain delete = %v, %v, want true", ok, err)
				}
			})
		}
	})
}
