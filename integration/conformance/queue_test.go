package conformance

import (
	"context"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// The score in the queue is the server's time in milliseconds, with a fraction, less the time
// waited. No script returns it.
func TestQueueScore(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		node := drivers.All[0].Node(t, server.Addr())
		hears(t, node, "inbox")
		server.Do(t, "SET", "lock", "token", "PX", 60_000)
		const waited = 12_345
		before := milliseconds(t, server)
		eval(t, node, lua.Acquire, []string{"lock", "queue"}, "other", "60000", "20:inbox", strconv.Itoa(waited))
		after := milliseconds(t, server)

		members, ok := server.Do(t, "ZRANGE", "queue", 0, -1, "WITHSCORES").([]any)
		if !ok || len(members) != 2 || members[0] != "20:inbox" {
			t.Fatalf("the queue is %v", members)
		}
		score, err := strconv.ParseFloat(members[1].(string), 64)
		// A text of 17 digits does not show the microseconds exactly.
		if err != nil || score < before-waited-0.001 || score > after-waited+0.001 {
			t.Errorf("the score is %q, want one from %f to %f", members[1], before-waited, after-waited)
		}
	})
}

// The time that a waiter has waited is computed with the server's clock, from a score that is a
// past time. It needs the right to use TIME.
func TestQueueTimes(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0] // for the user that the test creates
		node := drivers.All[0].Node(t, server.Addr())
		now := milliseconds(t, server)
		server.Do(t, "ZADD", "queue", "-inf", "a", strconv.FormatFloat(now-5000.25, 'f', 3, 64), "b",
			strconv.FormatFloat(now+3_600_000, 'f', 3, 64), "c", "1e300", "d", "inf", "e")
		r := eval(t, node, lua.Inspect, []string{"lock", "queue"}, "9")[3:]
		if len(r) != 11 || r[0] != int64(5) {
			t.Fatalf("inspect answers %v of the queue", r)
		}
		for i, want := range []int64{-1, 5000, -1, -1, -1} {
			got, err := r.Int(2*i + 2)
			if err != nil || r[2*i+1] != string(rune('a'+i)) || got != want && (want < 0 || got < want || got > want+60_000) {
				t.Errorf("%v has waited for %v ms, want %d", r[2*i+1], r[2*i+2], want)
			}
		}
		server.SetUser(t, "locker", "on", ">pw", "allkeys", "allchannels", "+@all", "-time")
		r = eval(t, drivers.All[0].FromURL(t, "redis://locker:pw@"+server.Addr()), lua.Inspect, []string{"lock", "queue"}, "2")[3:]
		if len(r) != 5 || r[2] != int64(-1) || r[4] != int64(-1) {
			t.Errorf("without the right to TIME inspect answers %v, want no times", r)
		}
	})
}

// Scripts skip whatever else somebody has put into the queue.
func TestQueueWithInvalidMembers(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		node := drivers.All[0].Node(t, server.Addr())
		heard := hears(t, node, "inbox")
		keys := []string{"lock", "queue"}
		for _, free := range []struct {
			script *backend.Script
			args   []string
		}{
			{lua.Release, []string{"token"}},
			{lua.Rollback, []string{"token", "", "", "1"}},
		} {
			server.Do(t, "SET", "lock", "token", "PX", 60_000)
			server.Do(t, "ZADD", "queue", "-inf", "", "-1e300", strings.Repeat("9", 1<<20), "-5", "\xff\x00:\r\n", 0, "~60000:inbox", 1, "60000 inbox", "inf", "0:inbox")
			eval(t, node, lua.Acquire, keys, "other", "60000", "60000:inbox", "0")
			if r := eval(t, node, free.script, keys, free.args...); r[0] != int64(1) {
				t.Errorf("%s answers %v, want 1", free.script.Name(), r)
			}
			if r := eval(t, node, lua.Inspect, keys[:1]); r[1] != "~60000:inbox" {
				t.Errorf("after %s the lock is %v, want it reserved", free.script.Name(), r)
			}
			await(t, heard, "glock")
			server.Do(t, "DEL", "lock", "queue")
		}
	})
}

// A server without free memory does not queue waiters, but notifies those in the queue, because
// it lets a script go on that has freed something.
func TestQueueWithoutMemory(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		node := drivers.All[0].Node(t, server.Addr())
		heard := hears(t, node, "inbox")
		keys := []string{"lock", "queue"}
		for _, free := range []struct {
			script *backend.Script
			args   []string
		}{
			{lua.Release, []string{"token"}},
			{lua.Rollback, []string{"token", "", "", "1"}},
		} {
			server.Do(t, "SET", "lock", "token", "PX", 60_000)
			eval(t, node, lua.Acquire, keys, "other", "60000", "60000:inbox", "0")
			server.Do(t, "CONFIG", "SET", "maxmemory", 1)
			if _, err := server.Query(t.Context(), "SET", "x", "x"); err == nil || !strings.Contains(err.Error(), "OOM") {
				t.Fatalf("SET on a server without memory: %v, want OOM", err)
			}
			if r := eval(t, node, lua.Acquire, keys, "other", "60000", "30000:inbox", "0"); r[0] != int64(0) || r[2] != int64(-1) {
				t.Errorf("acquire answers %v, want a refusal with the rank -1", r)
			}
			if r := eval(t, node, free.script, keys, free.args...); r[0] != int64(1) {
				t.Errorf("%s answers %v, want 1", free.script.Name(), r)
			}
			await(t, heard, "glock")
			if r := eval(t, node, lua.Inspect, keys[:1]); r[1] != "~60000:inbox" {
				t.Errorf("after %s the lock is %v, want it reserved", free.script.Name(), r)
			}
			// There is no waiter, so the lock is deleted.
			if r := eval(t, node, lua.Release, keys, "", "60000:inbox"); r[0] != int64(0) || len(server.Keys(t)) != 0 {
				t.Errorf("the notified waiter gives up: %v; the keys are %q, want none", r, server.Keys(t))
			}
			server.Do(t, "CONFIG", "SET", "maxmemory", 0)
		}
	})
}

// await waits for the next message, which must be want.
func await(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Errorf("the message is %q, want %q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Errorf("the message %q did not arrive", want)
	}
}

// milliseconds returns the server's time.
func milliseconds(t *testing.T, server *servers.Server) float64 {
	t.Helper()
	now, ok := server.Do(t, "TIME").([]any)
	if !ok || len(now) != 2 {
		t.Fatalf("TIME answers %v", now)
	}
	seconds, err1 := strconv.ParseFloat(now[0].(string), 64)
	micros, err2 := strconv.ParseFloat(now[1].(string), 64)
	if err1 != nil || err2 != nil {
		t.Fatalf("TIME answers %v", now)
	}
	return seconds*1000 + micros/1000
}

// hears subscribes to channel until the test ends, and returns the messages.
func hears(t *testing.T, node backend.Node, channel string) <-chan string {
	t.Helper()
	s, ok := backend.As[backend.Subscriber](node)
	if !ok {
		t.Fatal("the node is not a Subscriber")
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, done, messages := make(chan struct{}), make(chan error, 1), make(chan string, 100)
	go func() {
		done <- s.Subscribe(ctx, channel, backend.Events{
			Ready: func() { close(ready) },
			Message: func(payload string) {
				select {
				case messages <- payload:
				default:
				}
			},
		})
	}()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return messages
}

func eval(t *testing.T, node backend.Node, s *backend.Script, keys []string, args ...string) backend.Reply {
	t.Helper()
	scripter, ok := backend.As[backend.Scripter](node)
	if !ok {
		t.Fatal("the node is not a Scripter")
	}
	r, err := scripter.Eval(t.Context(), s, keys, args)
	if err != nil {
		t.Fatalf("%s of %q: %v", s.Name(), keys, err)
	}
	return r
}
