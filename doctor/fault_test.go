package doctor

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// One fault at a time on the second of three servers.
func TestFaults(t *testing.T) {
	is := func(name, value string) func(*fake, *Settings) {
		return func(f *fake, _ *Settings) { f.info[name] = value }
	}
	config := func(name, value string) func(*fake, *Settings) {
		return func(f *fake, _ *Settings) { f.config[name] = value }
	}
	key := func(name, value string) func(*fake, *Settings) {
		return func(f *fake, _ *Settings) { f.keys[name] = value }
	}
	fails := func(command string, err error) func(*fake, *Settings) {
		return func(f *fake, _ *Settings) { f.fails[command] = err }
	}
	denied := func(commands ...string) func(*fake, *Settings) {
		return func(f *fake, _ *Settings) { f.denied = commands }
	}
	inQuarantine := func(change func(*fake)) func(*fake, *Settings) {
		return func(f *fake, s *Settings) {
			s.Quarantine = time.Minute
			f.keys[marker] = markerOf(f, 0)
			change(f)
		}
	}
	nothing := func(*fake, *Settings) {}
	for _, tt := range []struct {
		name  string
		plant func(*fake, *Settings)
		want  string
		says  string
	}{
		{"nothing", nothing, "", ""},

		{"refused", fails("PING", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), "failure connection b", "refused"},
		{"no socket", fails("PING", &net.OpError{Op: "dial", Err: syscall.ENOENT}), "failure connection b", "socket"},
		{"unknown host", fails("PING", &net.DNSError{Err: "no such host", Name: "h"}), "failure connection b", "host name"},
		{"a password as the host", fails("PING", &net.DNSError{Err: "no such host", Name: "u:sekrit@h"}), "failure connection b", "host name"},
		{"closed", fails("PING", io.EOF), "failure connection b", "TLS"},
		{"anything else", fails("PING", errors.New("bang")), "failure connection b", "bang"},
		{"loading", fails("PING", errors.New("LOADING Redis is loading the dataset in memory")), "failure connection b", "loading"},
		{"busy", fails("PING", errors.New("BUSY Redis is busy running a script")), "failure connection b", "SCRIPT KILL"},
		{"protected mode", fails("PING", errors.New("DENIED Redis is running in protected mode")), "failure connection b", "protected-mode"},
		{"no password", fails("PING", errors.New("NOAUTH Authentication required.")), "failure auth b", "password"},
		{"wrong password", fails("PING", errors.New("WRONGPASS invalid username-password pair")), "failure auth b", "password"},
		{"wrong password in Redis 5", fails("PING", errors.New("ERR invalid password")), "failure auth b", "password"},
		{"a needless password", fails("PING", errors.New("ERR AUTH <password> called without any password configured")), "failure auth b", "password"},
		{"no free connection", fails("PING", errors.New("ERR max number of clients reached")), "failure maxclients b", "no more clients"},
		{"an unknown authority", fails("PING", x509.UnknownAuthorityError{}), "failure tls b", "certificate"},
		{"no TLS", fails("PING", tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "failure tls b", "does not speak TLS"},
		{"a rejected certificate", fails("PING", errors.New("remote error: tls: certificate required")), "failure tls b", "handshake"},
		{"a lost master", fails("PING", errors.New("MASTERDOWN Link with MASTER is down")), "failure role b", "replica"},

		{"a Sentinel", is("redis_mode", "sentinel"), "failure topology b", "Sentinel"},
		{"a Sentinel of Valkey", func(f *fake, _ *Settings) {
			delete(f.info, "redis_mode")
			f.info["server_mode"] = "sentinel"
		}, "failure topology b", "Sentinel"},
		{"a Cluster", is("redis_mode", "cluster"), "warning topology b", "Cluster"},
		{"a Cluster without a Cluster client", fails("script SET", errors.New("MOVED 1 h:1")), "failure topology b", "does not know"},
		{"the trials' part of a Cluster", func(f *fake, _ *Settings) {
			f.info["redis_mode"] = "cluster"
			f.keys[marker] = "!MOVED 1 h:1"
		}, "failure topology b", "redis+cluster://"},
		{"a Cluster with a quarantine", inQuarantine(func(f *fake) { f.info["redis_mode"] = "cluster" }), "failure topology b", "quarantine"},
		{"the first server again", is("run_id", "run-of-a"), "failure identity b", "same server as a"},
		{"version 5", is("redis_version", "5.0.14"), "warning version b", "5.0.14"},
		{"version 4", is("redis_version", "4.0.14"), "failure version b", "4.0.14"},
		{"a replica", is("role", "slave"), "failure role b", "replica"},
		{"a replica without INFO", func(f *fake, _ *Settings) {
			f.info, f.fails["script SET"] = nil, errors.New("READONLY You can't write against a read only replica.")
		}, "failure role b", "READONLY"},
		{"too few replicas for a SET", fails("SET", errors.New("NOREPLICAS Not enough good replicas to write.")), "failure role b", "min-replicas"},
		{"too few replicas", fails("script SET", errors.New("NOREPLICAS Not enough good replicas to write.")), "failure role b", "min-replicas"},
		{"replicas", is("connected_slaves", "2"), "warning role b", "2 replicas"},
		{"replicas with a quarantine", inQuarantine(func(f *fake) { f.info["connected_slaves"] = "1" }), "", ""},

		{"a clock ahead", func(f *fake, _ *Settings) { f.clock = 2 * time.Second }, "warning clock b", "2s ahead"},
		{"a clock a little behind", func(f *fake, _ *Settings) { f.clock = -200 * time.Millisecond }, "", ""},
		{"a clock days behind", func(f *fake, _ *Settings) { f.clock = -50 * time.Hour }, "failure clock b", "behind"},

		{"no EVAL", denied("EVAL"), "failure rights b", "EVAL"},
		{"no SET and GET", denied("SET", "GET"), "failure rights b", "SET, GET"},
		{"no EVALSHA", denied("EVALSHA"), "warning rights b", "EVALSHA"},
		{"no ZADD", denied("ZADD"), "warning waiting b", "ZADD"},
		{"a wrong answer", fails("script SET", errors.New("ERR strange")), "failure rights b", "strange"},
		{"no EXISTS, no tokens", denied("EXISTS"), "", ""},
		{"no EXISTS, tokens", func(f *fake, s *Settings) { s.Fencing, f.denied = true, []string{"EXISTS"} }, "failure fencing b", "EXISTS"},
		{"deaf", func(f *fake, _ *Settings) { f.node = faulty.Bare(f.node) }, "warning waiting b", "backend.Subscriber"},

		{"a marker of another run", inQuarantine(func(f *fake) { f.keys[marker] = "other 0" }), "warning quarantine b", "started again"},
		{"no marker", inQuarantine(func(f *fake) { delete(f.keys, marker) }), "warning quarantine b", "no marker"},
		{"in quarantine", inQuarantine(func(f *fake) { f.keys[marker] = markerOf(f, time.Now().UnixMicro()) }), "warning quarantine b", "for another"},
		{"after a quarantine", inQuarantine(func(f *fake) { f.keys[marker] = markerOf(f, time.Now().Add(-time.Hour).UnixMicro()) }), "", ""},
		{"a marker of another type", inQuarantine(func(f *fake) { f.keys[marker] = "!WRONGTYPE Operation" }), "failure quarantine b", "not a string"},
		{"a marker without a sense", inQuarantine(func(f *fake) { f.keys[marker] = "what 1 2" }), "warning quarantine b", "unknown form"},
		{"no run_id", inQuarantine(func(f *fake) { delete(f.info, "run_id") }), "failure quarantine b", "run_id"},

		{"a counter of text", key("x{x}:fence", "1e3"), "failure bookkeeping b", "not a number"},
		{"a counter days ahead", key("x{x}:fence", "9007199254740992"), "failure bookkeeping b", "day ahead"},
		{"a queue of another type", key("{x}:queue", "!WRONGTYPE Operation"), "failure bookkeeping b", "sorted set"},
		{"a good counter", key("x{x}:fence", "1"), "", ""},
		{"another's key", key("x:fence", "banana"), "", ""},

		{"appendonly", is("aof_enabled", "0"), "warning appendonly b", "off"},
		{"everysec", config("appendfsync", "everysec"), "warning appendfsync b", "a second"},
		{"no fsync", config("appendfsync", "no"), "warning appendfsync b", "half a minute"},
		{"no fsync at times", config("no-appendfsync-on-rewrite", "yes"), "warning appendfsync b", "rewritten"},
		{"nothing kept, with a quarantine", inQuarantine(func(f *fake) { f.info["aof_enabled"] = "0"; f.info["uptime_in_seconds"] = "1" }), "", ""},
		{"MISCONF at once", func(f *fake, _ *Settings) {
			f.fails["PING"] = errors.New("MISCONF Redis is configured to save RDB snapshots")
			f.fails["EVAL"] = f.fails["PING"]
		}, "failure save b", "MISCONF"},
		{"MISCONF", fails("script SET", errors.New("MISCONF Redis is configured to save RDB snapshots")), "failure save b", "MISCONF"},
		{"no snapshot", is("rdb_last_bgsave_status", "err"), "warning save b", "snapshot"},
		{"no append", is("aof_last_write_status", "err"), "failure save b", "append-only"},
		{"no rewrite", is("aof_last_bgrewrite_status", "err"), "warning save b", "rewrite"},
		{"restarted", func(f *fake, _ *Settings) { f.info["aof_enabled"] = "0"; f.info["uptime_in_seconds"] = "5" }, "warning appendonly b, warning uptime b", "5s ago"},
		{"restarted with its data", is("uptime_in_seconds", "5"), "", ""},

		{"eviction", func(f *fake, _ *Settings) {
			f.info["maxmemory_policy"] = "allkeys-lru"
			f.info["maxmemory"] = "100000000"
		}, "failure eviction b", "allkeys-lru"},
		{"eviction without a limit", is("maxmemory_policy", "volatile-ttl"), "warning eviction b", "volatile-ttl"},
		{"full", fails("script SET", errors.New("OOM command not allowed when used memory > 'maxmemory'")), "failure memory b", "OOM"},
		{"almost full", is("maxmemory", "1050000"), "warning memory b", "95 %"},
		{"a small machine", is("total_system_memory", "1200000"), "warning memory b", "83 %"},
		{"many clients", is("connected_clients", "9000"), "warning maxclients b", "9000 of 10000"},
		{"a short timeout", config("timeout", "59"), "warning timeout b", "59s"},
		{"a minute", config("timeout", "60"), "", ""},
		{"a timeout shorter than the TTL", func(f *fake, s *Settings) { f.config["timeout"], s.TTL = "60", 5*time.Minute }, "warning timeout b", "300"},
		{"a small buffer", config("client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub 33554432 65536 60"), "warning pubsub-buffer b", "65536"},
		{"no buffer limit", config("client-output-buffer-limit", "normal 0 0 0 slave 0 0 0 pubsub 0 0 0"), "", ""},

		{"no rights but those of a lock", func(f *fake, _ *Settings) { f.info, f.config, f.denied = nil, nil, []string{"TIME", "SCAN"} }, "warning waiting b", "TIME"},
		{"no INFO", func(f *fake, _ *Settings) { f.info = nil }, "", ""},
		{"no CONFIG", func(f *fake, _ *Settings) { f.config = nil }, "", ""},
		{"no PING", denied("PING"), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b, c := healthyFake("a"), healthyFake("b"), healthyFake("c")
				settings := Settings{}
				tt.plant(b, &settings)
				if settings.Quarantine > 0 {
					a.keys[marker], c.keys[marker] = markerOf(a, 0), markerOf(c, 0)
				}
				report, err := Check(t.Context(), servers(a, b, c), settings)
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Join(found(report), ", "); got != tt.want {
					t.Errorf("found %s, want %s\n%v", got, tt.want, report.At(NotChecked))
				}
				said := fmt.Sprint(report.At(Warning))
				if !strings.Contains(said, tt.says) {
					t.Errorf("%s does not say %q", said, tt.says)
				}
				if strings.Contains(fmt.Sprint(report), "sekrit") {
					t.Errorf("a password: %v", report)
				}
				for _, f := range report {
					if (f.Level >= Warning) != (f.Advice != "") {
						t.Errorf("a level and an advice that do not fit: %v", f)
					}
				}
			})
		})
	}
}

// A server that loses its data may get a quarantine, and a Cluster cannot have one.
func TestAdviceOfAQuarantine(t *testing.T) {
	for mode, want := range map[string]int{"standalone": 3, "cluster": 0} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := healthyFake("a")
				f.info["redis_mode"] = mode
				f.info["aof_enabled"], f.info["uptime_in_seconds"], f.info["connected_slaves"] = "0", "5", "1"
				report, err := Check(t.Context(), servers(f), Settings{})
				if err != nil {
					t.Fatal(err)
				}
				if got := strings.Count(fmt.Sprint(report), "use a quarantine (redlock run --quarantine, WithQuarantine)"); got != want {
					t.Errorf("%d findings advise a quarantine, want %d: %v", got, want, report.At(Warning))
				}
			})
		})
	}
}
