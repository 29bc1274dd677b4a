package doctor

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/doctor"
	"github.com/quorumlock/quorumlock/integration/servers"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// documentedLines returns the rules of each user for whom docs/safety.md has a line,
// without commands that the kind of server does not know.
func documentedLines(t testing.TB, kind servers.Kind) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/safety.md")
	if err != nil {
		t.Fatal(err)
	}
	lines := map[string][]string{}
	for _, m := range regexp.MustCompile(`(?m)^ACL SETUSER (\S+) (.*)$`).FindAllStringSubmatch(string(text), -1) {
		lines[m[1]] = slices.DeleteFunc(strings.Fields(m[2]), func(rule string) bool { return rule == "+pexpiretime" && kind.Before(7, 0) })
	}
	return lines
}

// set returns a fault: settings of the second server that are wrong.
func set(pairs ...string) func(*testing.T, []*servers.Server) {
	return func(t *testing.T, list []*servers.Server) {
		for i := 0; i < len(pairs); i += 2 {
			name := pairs[i]
			was := list[1].Do(t, "CONFIG", "GET", name).([]any)[1]
			list[1].Do(t, "CONFIG", "SET", name, pairs[i+1])
			t.Cleanup(func() { list[1].Do(t, "CONFIG", "SET", name, was) })
		}
	}
}

// infoNumber returns a field of INFO that is a number.
func infoNumber(t testing.TB, s *servers.Server, field string) (n int64) {
	t.Helper()
	awaitInfo(t, s, field, func(v string) (ok bool) {
		var err error
		n, err = strconv.ParseInt(v, 10, 64)
		return err == nil
	})
	return n
}

// key returns a fault: a key of the second server that is wrong.
func key(args ...any) func(*testing.T, []*servers.Server) {
	return func(t *testing.T, list []*servers.Server) {
		list[1].Do(t, args...)
		t.Cleanup(func() { list[1].Do(t, "DEL", args[1]) })
	}
}

// Faults of servers that run: each is planted on the second of three healthy servers, and
// removed again.
func TestFaultsOfSettings(t *testing.T) {
	list := healthy(t)
	all := reached(t, list...)
	for _, tt := range []struct {
		name  string
		plant func(*testing.T, []*servers.Server)
		want  []string
	}{
		{"appendonly", set("appendonly", "no"), []string{"warning appendonly s2"}},
		{"appendfsync everysec", set("appendfsync", "everysec"), []string{"warning appendfsync s2"}},
		{"appendfsync no", set("appendfsync", "no"), []string{"warning appendfsync s2"}},
		{"no-appendfsync-on-rewrite", set("no-appendfsync-on-rewrite", "yes"), []string{"warning appendfsync s2"}},
		{"eviction", set("maxmemory", "1gb", "maxmemory-policy", "volatile-ttl"), []string{"failure eviction s2"}},
		{"eviction without a limit", set("maxmemory-policy", "allkeys-lru"), []string{"warning eviction s2"}},
		{"no memory", set("maxmemory", "1"), []string{"failure memory s2"}},
		{"little memory", func(t *testing.T, list []*servers.Server) {
			key("SET", "ballast", strings.Repeat("x", 20<<20))(t, list)
			used := infoNumber(t, list[1], "used_memory:")
			set("maxmemory", itoa(used+used/20))(t, list)
		}, []string{"warning memory s2"}},
		{"timeout", set("timeout", "30"), []string{"warning timeout s2"}},
		{"client-output-buffer-limit", set("client-output-buffer-limit", "pubsub 65536 32768 60"), []string{"warning pubsub-buffer s2"}},
		{"maxclients", func(t *testing.T, list []*servers.Server) {
			for range 60 {
				conn, err := net.Dial("tcp", list[1].Addr())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
			}
			awaitInfo(t, list[1], "connected_clients:", func(v string) bool { n, _ := strconv.Atoi(v); return n >= 60 })
			set("maxclients", itoa(infoNumber(t, list[1], "connected_clients:")+8))(t, list)
		}, []string{"warning maxclients s2"}},
		{"min-replicas-to-write", set("min-replicas-to-write", "1"), []string{"failure role s2"}},
		{"a replica is attached", func(t *testing.T, list []*servers.Server) {
			conn, err := net.Dial("tcp", list[1].Addr())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				conn.Close()
				awaitInfo(t, list[1], "connected_slaves:", func(v string) bool { return v == "0" })
			})
			if _, err := conn.Write([]byte("SYNC\r\n")); err != nil {
				t.Fatal(err)
			}
			awaitInfo(t, list[1], "connected_slaves:", func(v string) bool { return v == "1" })
		}, []string{"warning role s2"}},
		{"a counter of text", key("SET", "x{x}:fence", "banana"), []string{"failure bookkeeping s2"}},
		{"a counter far ahead", key("SET", "x{x}:fence", itoa(time.Now().Add(48*time.Hour).UnixMicro())), []string{"failure bookkeeping s2"}},
		{"a counter that is a list", key("RPUSH", "x{x}:fence", "1"), []string{"failure bookkeeping s2"}},
		{"a queue of text", key("SET", "{x}y:queue", "1"), []string{"failure bookkeeping s2"}},
		{"a marker that is a list", key("RPUSH", "redlock:marker", "1"), []string{"failure quarantine s2"}},
		{"a marker of text", key("SET", "redlock:marker", "banana"), []string{"warning quarantine s2"}},

		// Controls: what looks like a fault, and is none.
		{"a good counter", key("SET", "x{x}:fence", itoa(time.Now().UnixMicro())), nil},
		{"a good queue", key("ZADD", "x{x}:queue", 1, "20:x"), nil},
		{"keys of others", func(t *testing.T, list []*servers.Server) {
			key("SET", "x:fence", "banana")(t, list)
			key("SET", "x}:fancie", "banana")(t, list)
		}, nil},
		{"a long timeout", set("timeout", "300"), nil},
		{"enough memory", set("maxmemory", "1gb"), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.plant(t, list)
			examine(t, all, usual, tt.want...)
		})
	}
	examine(t, all, usual) // the controls: all faults are removed
}

// Faults of how a server was started, or is reached: it takes the place of the second of
// three healthy ones.
func TestFaultsOfServers(t *testing.T) {
	list := healthy(t)
	kind := list[0].Kind()
	start := func(opts ...servers.Option) func(*testing.T) doctor.Server {
		return func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, append(opts, servers.WithAOF())...)[0]
			return goRedis(t, "s2", s.URL())
		}
	}
	user := func(rules ...string) func(*testing.T) doctor.Server {
		return start(servers.WithUser("locker", "secret", append([]string{"~*", "&*", "+@all"}, rules...)...))
	}
	with := func(change func(*doctor.Settings)) doctor.Settings {
		s := usual
		change(&s)
		return s
	}
	for _, tt := range []struct {
		name     string
		server   func(*testing.T) doctor.Server
		settings doctor.Settings
		want     []string
		says     string
	}{
		{"down", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithOutages(), servers.WithAOF())[0]
			s.Kill(t)
			return goRedis(t, "s2", s.URL())
		}, usual, []string{"failure connection s2"}, "connection refused"},
		{"hangs", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithOutages(), servers.WithAOF())[0]
			s.Pause(t)
			return goRedis(t, "s2", s.URL())
		}, usual, []string{"failure connection s2"}, "PING was not answered within"},
		{"hangs later", func(t *testing.T) doctor.Server {
			s := start()(t)
			do := s.Do
			s.Do = func(ctx context.Context, args ...any) (any, error) {
				if args[0] == "TIME" {
					<-t.Context().Done() // as a driver that ignores its ctx
				}
				return do(ctx, args...)
			}
			return s
		}, usual, []string{"failure connection s2"}, "TIME was not answered"},
		{"unknown host", func(t *testing.T) doctor.Server {
			return goRedis(t, "s2", "redis://no-such-host.invalid:6379")
		}, usual, []string{"failure connection s2"}, "host name"},
		{"TLS without TLS", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithTLS(), servers.WithAOF())[0]
			return goRedis(t, "s2", "redis://"+s.Addr())
		}, usual, []string{"failure connection s2"}, "TLS"},
		{"no TLS with TLS", func(t *testing.T) doctor.Server {
			return goRedis(t, "s2", "rediss://"+list[1].Addr())
		}, usual, []string{"failure connection s2"}, "both sides use TLS"}, // the server waits for the end of what it takes for a command
		{"an unknown authority", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithTLS(), servers.WithAOF())[0]
			return goRedis(t, "s2", "rediss://"+s.Addr())
		}, usual, []string{"failure tls s2"}, "certificate"},
		{"no client certificate", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithTLS(), servers.WithAOF())[0]
			config := s.TLSConfig()
			config.Certificates, config.MaxVersion = nil, tls.VersionTLS12 // with 1.3 a client may only see that the connection is cut
			return ofClient(t, "s2", goredisdriver.NewClient(&goredisdriver.Options{Addr: s.Addr(), TLSConfig: config, MaxRetries: -1, DialerRetries: 1}))
		}, usual, []string{"failure tls s2"}, "handshake"},
		{"good TLS", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithTLS(), servers.WithAOF())[0]
			return ofClient(t, "s2", goredisdriver.NewClient(&goredisdriver.Options{Addr: s.Addr(), TLSConfig: s.TLSConfig()}))
		}, usual, nil, ""},
		{"no password", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithPassword("sekrit"), servers.WithAOF())[0]
			return goRedis(t, "s2", "redis://"+s.Addr())
		}, usual, []string{"failure auth s2"}, "password"},
		{"a wrong password", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithPassword("sekrit"), servers.WithAOF())[0]
			return goRedis(t, "s2", "redis://:wrong-sekrit@"+s.Addr())
		}, usual, []string{"failure auth s2"}, "rejects"},
		{"a password for a server without one", func(t *testing.T) doctor.Server {
			return goRedis(t, "s2", "redis://u:sekrit@"+list[1].Addr())
		}, usual, []string{"failure auth s2"}, "rejects"},
		{"another name of the first", func(t *testing.T) doctor.Server {
			_, port, _ := net.SplitHostPort(list[0].Addr())
			return goRedis(t, "s2", "redis://localhost:"+port)
		}, usual, []string{"failure identity s2"}, "same server as s1"},
		{"the first once more", func(t *testing.T) doctor.Server {
			return goRedis(t, "s1", list[0].URL())
		}, usual, []string{"failure identity s1"}, "twice"},
		{"a replica", start(servers.WithArgs("--replicaof", "127.0.0.1", "1")), usual, []string{"failure role s2"}, "replica of 127.0.0.1:1"},
		{"a Sentinel", func(t *testing.T) doctor.Server {
			set := servers.StartSentinel(t, kind, 1)
			return goRedis(t, "s2", set.Sentinels[0].URL())
		}, usual, []string{"failure topology s2"}, "Sentinel"},
		{"a part of a Cluster", start(servers.WithArgs("--cluster-enabled", "yes")), usual, []string{"failure topology s2"}, "Cluster"},
		{"an old version", func(t *testing.T) doctor.Server {
			return versioned(start()(t), "5.0.14")
		}, usual, []string{"warning version s2"}, "5.0.14"},
		{"a very old version", func(t *testing.T) doctor.Server {
			return versioned(start()(t), "4.0.14")
		}, usual, []string{"failure version s2"}, "4.0.14"},
		{"far away", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithAOF())[0]
			proxy := netfault.New(t, s.Addr())
			server := goRedis(t, "s2", "redis://"+proxy.Addr())
			proxy.Delay(netfault.ToClient, 600*time.Millisecond)
			go func() { // later commands need not be slow
				if proxy.WaitCount(t.Context(), 10, "PING") == nil {
					proxy.Delay(netfault.ToClient, 0)
				}
			}()
			return server
		}, usual, []string{"warning latency s2"}, "node timeout is 1s"},
		{"another time", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithClock(), servers.WithAOF())[0]
			s.StepClock(t, 10*time.Second)
			return goRedis(t, "s2", s.URL())
		}, usual, []string{"warning clock s2"}, "10s ahead"},
		{"another day", func(t *testing.T) doctor.Server {
			s := servers.Start(t, kind, 1, servers.WithClock(), servers.WithAOF())[0]
			s.StepClock(t, -48*time.Hour)
			return goRedis(t, "s2", s.URL())
		}, usual, []string{"failure clock s2"}, "behind"},
		{"just started, without persistence", func(t *testing.T) doctor.Server {
			return goRedis(t, "s2", servers.Start(t, kind, 1, servers.WithoutReuse())[0].URL())
		}, with(func(s *doctor.Settings) { s.TTL = time.Hour }), []string{"warning appendonly s2", "warning uptime s2"}, "may have lost locks"},
		{"no snapshot", func(t *testing.T) doctor.Server {
			opts := []servers.Option{servers.WithAOF()}
			if !kind.Before(7, 0) {
				opts = append(opts, servers.WithArgs("--enable-protected-configs", "yes"))
			}
			s := servers.Start(t, kind, 1, opts...)[0]
			s.Do(t, "CONFIG", "SET", "dir", "/proc")
			s.Do(t, "CONFIG", "SET", "save", "3600 1000000")
			s.Do(t, "BGSAVE")
			awaitInfo(t, s, "rdb_last_bgsave_status:", func(v string) bool { return v == "err" })
			return goRedis(t, "s2", s.URL())
		}, usual, []string{"failure save s2"}, "MISCONF"},
		{"no EVAL", user("-eval"), usual, []string{"failure rights s2"}, "EVAL"},
		{"no PTTL and no DEL", user("-pttl", "-del"), usual, []string{"failure rights s2"}, "PTTL, DEL"},
		{"no EVALSHA", user("-evalsha"), usual, []string{"warning rights s2"}, "EVALSHA"},
		{"no keys", user("resetkeys", "~other:*"), usual, []string{"failure rights s2"}, "the key"},
		{"no queues", user("-zadd", "-zpopmin"), usual, []string{"warning waiting s2"}, "ZADD, ZPOPMIN"},
		{"no notifications", user("-subscribe"), usual, []string{"warning waiting s2"}, "SUBSCRIBE"},
		{"no publishing", user("-publish"), usual, []string{"warning waiting s2"}, "PUBLISH"},
		{"no fencing", user("-exists"), with(func(s *doctor.Settings) { s.Fencing = true }), []string{"failure fencing s2"}, "EXISTS"},
		{"no INFO and no CONFIG", user("-info", "-config"), usual, nil, ""},
		{"commands renamed", start(servers.WithArgs("--rename-command", "ZADD", "")), usual, []string{"warning waiting s2"}, "ZADD"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := reached(t, list...)
			all[1] = tt.server(t)
			report := examine(t, all, tt.settings, tt.want...)
			said := strings.Builder{}
			for _, f := range report {
				fmt.Fprintln(&said, f)
			}
			if tt.says != "" && !strings.Contains(fmt.Sprint(report.At(doctor.Warning)), tt.says) {
				t.Errorf("the findings do not say %q", tt.says)
			}
			if strings.Contains(said.String(), "sekrit") {
				t.Errorf("a password was shown:\n%s", &said)
			}
		})
	}
}

// versioned is a server that tells another version.
func versioned(s doctor.Server, version string) doctor.Server {
	do := s.Do
	s.Do = func(ctx context.Context, args ...any) (any, error) {
		reply, err := do(ctx, args...)
		if text, ok := reply.(string); ok && args[0] == "INFO" {
			reply = regexp.MustCompile(`redis_version:\S+`).ReplaceAllString(text, "redis_version:"+version)
		}
		return reply, err
	}
	return s
}

// Faults of the set of servers.
func TestFaultsOfTheSet(t *testing.T) {
	list := healthy(t)
	all := reached(t, list...)
	examine(t, all[:2], usual, "warning count")
	examine(t, all[:1], usual, "warning count")
	t.Run("our own clock", func(t *testing.T) {
		list := servers.Start(t, list[0].Kind(), 3, servers.WithClock(), servers.WithAOF())
		for _, s := range list {
			s.StepClock(t, -time.Minute)
		}
		examine(t, reached(t, list...), usual, "warning local-clock")
	})
}
