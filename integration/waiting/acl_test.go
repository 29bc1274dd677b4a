package waiting

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// documentedLines returns the rules of each user for whom docs/safety.md has a line.
func documentedLines(t testing.TB) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/safety.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^ACL SETUSER (\S+) (.*)$`).FindAllStringSubmatch(string(text), -1) {
		lines[m[1]] = strings.Fields(m[2])
	}
	return lines
}

// A use is something that a user must be able to do.
type use struct {
	name     string             // the user's name in the documentation
	settings [][]redlock.Option // the settings of the Lockers, in order
	queues   bool
}

const tenantA, tenantB = "tenantA:", "tenantB:"

// uses lists every use for which docs/safety.md has a line.
var uses = []use{
	{"plain", [][]redlock.Option{nil}, false},
	{"waiting", [][]redlock.Option{nil}, true},
	{"fencing", [][]redlock.Option{{redlock.WithFencing()}, {redlock.WithFencing(), redlock.WithCounterLife(0)}}, true},
	{"quarantine", [][]redlock.Option{
		{redlock.WithQuarantine(quarantine)},
		{redlock.WithQuarantine(quarantine), redlock.WithFencing()},
		{redlock.WithQuarantine(quarantine), redlock.WithFencing(), redlock.WithCounterLife(0)},
	}, true},
}

// quarantine is the length of all quarantines.
const quarantine = redlock.DefaultTTL + 2*time.Second

// plain uses locks without waiting in a queue.
func plain(t testing.TB, first, second *peer) {
	t.Helper()
	lock, err := first.TryLock(t.Context(), "plain")
	if err != nil {
		t.Error(err)
		return
	}
	if err := lock.Extend(t.Context(), redlock.DefaultTTL); err != nil {
		t.Error(err)
	}
	if status, err := second.Inspect(t.Context(), "plain"); err != nil || status.State != redlock.StateHeld {
		t.Errorf("Inspect: %v, %v", status, err)
	}
	time.AfterFunc(20*time.Millisecond, func() { unlock(t, lock) })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	lock, err = second.Lock(ctx, "plain", redlock.WithRetry(redlock.Fixed(20*time.Millisecond)))
	if err != nil {
		t.Error(err)
		return
	}
	unlock(t, lock)
}

// queues makes a waiter queue until it is notified, and a second one until it gives up.
func queues(t testing.TB, s *servers.Server, first, second *peer) {
	t.Helper()
	const key = "queue"
	for _, givesUp := range []bool{false, true} {
		lock := lockOn(t, first, key)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			l, err := second.Lock(ctx, key)
			if err == nil {
				err = l.Unlock(t.Context())
			}
			done <- err
		}()
		waitQueued(t, s, tenantA+key, 1)
		if _, err := first.Inspect(t.Context(), key); err != nil {
			t.Error(err)
		}
		if givesUp {
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("a waiter that gives up: %v", err)
			}
		}
		watch := stall.Begin()
		start := time.Now()
		unlock(t, lock)
		if !givesUp {
			if err := <-done; err != nil {
				t.Error(err)
			}
			// A waiter that is not notified looks after 1.5 s at the earliest.
			within(t, "the hand-over", time.Since(start)-watch.End(), 0, time.Second)
		} else {
			watch.End()
		}
		cancel()
	}
}

// noise lists the commands that drivers send on their own and do not need.
func noise(command string) bool {
	return slices.Contains([]string{"client|setinfo", "client|maint_notifications", "client|tracking", "client"}, strings.ToLower(command))
}

// rejected returns what a server has rejected since ACL LOG RESET because of missing rights.
func rejected(t testing.TB, s *servers.Server) (list []string) {
	t.Helper()
	for _, entry := range s.Do(t, "ACL", "LOG").([]any) {
		fields, about := entry.([]any), map[any]any{}
		for i := 0; i+1 < len(fields); i += 2 {
			about[fields[i]] = fields[i+1]
		}
		if object := fmt.Sprint(about["object"]); !noise(object) {
			list = append(list, fmt.Sprintf("%v of %s, %v", about["reason"], about["username"], object))
		}
	}
	return list
}

// ran returns the commands that a server has run since CONFIG RESETSTAT.
func ran(t testing.TB, s *servers.Server) map[string]bool {
	t.Helper()
	list := map[string]bool{}
	stats, _ := s.Do(t, "INFO", "commandstats").(string)
	for line := range strings.Lines(stats) {
		name, rest, ok := strings.Cut(strings.TrimPrefix(line, "cmdstat_"), ":calls=")
		if ok && !strings.HasPrefix(rest, "0,") {
			list[name] = true
		}
	}
	return list
}

// urlOf returns the URL with which a user connects.
func urlOf(s *servers.Server, name string) string {
	return fmt.Sprintf("redis://%s:%s@%s", name, password, s.Addr())
}

// docs/safety.md has a line of rules for each use, and the package comments of the adapters
// repeat it. The line is sufficient: the server rejects nothing. The line is minimal: the server
// runs every command in it.
func TestHostileLines(t *testing.T) {
	realServers(t, "access control lists")
	lines := documentedLines(t)
	for _, d := range drivers.All { // the package comments repeat the lines with another prefix
		comment, err := os.ReadFile("../../backend/" + d.Name + "/doc.go")
		if err != nil {
			t.Fatal(err)
		}
		repeated := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^//\tACL SETUSER (\S+) (.*)$`).FindAllStringSubmatch(string(comment), -1) {
			repeated[m[1]] = m[2]
		}
		for _, u := range uses {
			want := strings.NewReplacer(tenantA, "lock:", ">secret", ">password").Replace(strings.Join(lines[u.name], " "))
			if repeated[u.name] != want {
				t.Errorf("the package comment of %s for %s has the line\n%s\nwant the line of docs/safety.md\n%s", d.Name, u.name, repeated[u.name], want)
			}
		}
	}
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if !readOnlyPatterns(kind) {
			t.Skipf("%s has no PEXPIRETIME (Redis 7), which the lines name", kind)
		}
		for _, u := range uses {
			t.Run(u.name, func(t *testing.T) {
				t.Parallel()
				rules := lines[u.name]
				if rules == nil {
					t.Fatalf("docs/safety.md has no line for %s", u.name)
				}
				s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
				setUser(t, s, u.name, rules...)
				s.Do(t, "CONFIG", "RESETSTAT")
				s.Do(t, "ACL", "LOG", "RESET")
				for _, d := range drivers.All {
					for _, settings := range u.settings {
						opts := append(slices.Clone(settings), redlock.WithKeyPrefix(tenantA), redlock.WithTTL(redlock.DefaultTTL-time.Second))
						nodes := [2]backend.Node{d.FromURL(t, urlOf(s, u.name)), d.FromURL(t, urlOf(s, u.name))}
						first, second := newPeer(t, nodes[:1], opts...), newPeer(t, nodes[1:], opts...)
						if u.name == "quarantine" {
							if _, err := first.EndQuarantine(t.Context()); err != nil {
								t.Fatal(err)
							}
						}
						for range 2 { // from the second time on, a script is sent by its hash
							plain(t, first, second)
						}
						if u.queues {
							queues(t, s, first, second)
						}
					}
				}
				connect(t, s, u.name).must(t, "PING") // drivers send it on an idle connection
				for _, what := range rejected(t, s) {
					t.Errorf("the server rejected: %s", what)
				}
				all := ran(t, s)
				for _, rule := range rules {
					if command, ok := strings.CutPrefix(rule, "+"); ok && !all[command] {
						t.Errorf("nothing needs %s", rule)
					}
				}
			})
		}
		t.Run("control", func(t *testing.T) {
			t.Parallel()
			s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
			setUser(t, s, "waiting", append(slices.Clone(lines["waiting"]), "-zrem")...)
			s.Do(t, "ACL", "LOG", "RESET")
			node := func() backend.Node { return drivers.All[0].FromURL(t, urlOf(s, "waiting")) }
			prefix := redlock.WithKeyPrefix(tenantA)
			queues(t, s, newPeer(t, []backend.Node{node()}, prefix), newPeer(t, []backend.Node{node()}, prefix))
			if len(rejected(t, s)) == 0 {
				t.Error("the log does not show the missing right")
			}
		})
	})
}

// A user with the line for one tenant can neither change nor see anything of another tenant.
func TestHostileTenants(t *testing.T) {
	realServers(t, "access control lists")
	lines := documentedLines(t)
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if !readOnlyPatterns(kind) {
			t.Skipf("%s has no read-only key patterns (Redis 7)", kind)
		}
		s := servers.Start(t, kind, 1, servers.WithoutReuse())[0]
		const theirs = tenantB + "x"
		holder := newPeer(t, []backend.Node{drivers.All[0].Node(t, s.Addr())}, redlock.WithKeyPrefix(tenantB),
			redlock.WithFencing(), redlock.WithQuarantine(quarantine))
		if _, err := holder.EndQuarantine(t.Context()); err != nil {
			t.Fatal(err)
		}
		lock := lockOn(t, holder, "x")
		write := "return redis.call('SET', ARGV[1], 'stolen')"
		attacks := [][]any{
			{"GET", theirs}, {"SET", theirs, "x"}, {"DEL", theirs}, {"PTTL", theirs}, {"PEXPIRE", theirs, 1},
			{"EVAL", lua.Delete.Source(), 1, theirs, "x"},
			{"EVAL", write, 0, theirs}, // a key that the script does not declare
			{"EVAL", write, 1, tenantA + "x", theirs},
			{"SET", counterOf(theirs), 1}, {"DEL", counterOf(theirs)},
			{"SET", tombstoneOf(theirs, "x"), 1}, {"SET", tenantB + "redlock:marker", "x"},
			{"DEL", queueOf(theirs)}, {"ZADD", queueOf(theirs), 0, "20:x"}, {"ZREM", queueOf(theirs), "x"}, {"ZPOPMIN", queueOf(theirs)},
			{"PUBLISH", tenantB + "redlock:inbox:x", "gx"}, {"EVAL", "return redis.call('PUBLISH', ARGV[1], 'gx')", 0, tenantB + "redlock:inbox:x"},
			{"SUBSCRIBE", tenantB + "redlock:inbox:x"}, {"PSUBSCRIBE", "*"},
			{"KEYS", "*"}, {"SCAN", 0}, {"PUBSUB", "CHANNELS"}, {"MONITOR"}, {"FLUSHALL"}, {"CONFIG", "GET", "*"}, {"ACL", "LIST"},
			{"SCRIPT", "FLUSH"}, {"CLIENT", "KILL", "TYPE", "normal"}, {"SHUTDOWN", "NOSAVE"}, {"SWAPDB", 0, 1},
		}
		for _, u := range uses {
			setUser(t, s, u.name, lines[u.name]...)
			a := connect(t, s, u.name)
			for _, attack := range attacks {
				a.denied(t, attack...)
			}
			if u.name != "quarantine" {
				a.denied(t, "INFO")
			}
			// The control: the same commands on the tenant's own keys.
			a.must(t, "SET", tenantA+"x", "x")
			a.must(t, "EVAL", write, 1, tenantA+"x", tenantA+"x")
			a.must(t, "DEL", tenantA+"x")
		}
		setUser(t, s, "monitoring", lines["monitoring"]...)
		m := connect(t, s, "monitoring")
		for _, attack := range append(attacks, []any{"INFO"}, []any{"SET", tenantA + "x", "x"}, []any{"DEL", tenantA + "x"},
			[]any{"ZADD", queueOf(tenantA + "x"), 0, "20:x"}, []any{"EVAL", lua.Inspect.Source(), 1, tenantA + "x"}) {
			m.denied(t, attack...)
		}
		m.must(t, "GET", tenantA+"x")
		m.must(t, "PTTL", tenantA+"x")
		m.must(t, "ZCARD", queueOf(tenantA+"x"))
		m.must(t, "ZRANGE", queueOf(tenantA+"x"), 0, -1)

		if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
			t.Errorf("after all attacks: %v", err)
		}
		unlock(t, lock)

		// The line of the other tenant, made from the same text, is enough for that tenant.
		setUser(t, s, "other", "reset")
		var rules []string
		for _, rule := range lines["waiting"] {
			rules = append(rules, strings.ReplaceAll(rule, tenantA, tenantB))
		}
		setUser(t, s, "other", rules...)
		b := connect(t, s, "other")
		b.must(t, "SET", theirs, "x")
		b.must(t, "ZADD", queueOf(theirs), 0, "20:x")
		b.must(t, "PUBLISH", tenantB+"redlock:inbox:x", "gx")
		b.denied(t, "SET", tenantA+"x", "x")
		b.must(t, "DEL", theirs, queueOf(theirs))

		// The control: a user with the keys of both tenants can do it.
		setUser(t, s, "other", "~*", "&*")
		b = connect(t, s, "other")
		for _, attack := range attacks[:4] {
			b.must(t, attack...)
		}
	})
}
