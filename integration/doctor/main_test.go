package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"
	valkeydriver "github.com/valkey-io/valkey-go"

	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	valkeynode "github.com/quorumlock/quorumlock/backend/valkey"
	"github.com/quorumlock/quorumlock/doctor"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// usual is how the servers of most tests are used.
var usual = doctor.Settings{TTL: time.Second, NodeTimeout: time.Second}

// goRedis is a server that is reached with go-redis.
func goRedis(t testing.TB, name, url string) doctor.Server {
	t.Helper()
	client, err := goredis.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	return ofClient(t, name, client)
}

func ofClient(t testing.TB, name string, client *goredisdriver.Client) doctor.Server {
	t.Cleanup(func() { client.Close() })
	return doctor.Server{
		Name: name,
		Node: goredis.New(client, goredis.WithName(name)),
		Do:   func(ctx context.Context, args ...any) (any, error) { return client.Do(ctx, args...).Result() },
	}
}

// drivers is each driver, as the package comment of doctor uses it.
var drivers = map[string]func(t testing.TB, name, url string) doctor.Server{
	"goredis": goRedis,
	"redigo": func(t testing.TB, name, url string) doctor.Server {
		pool, err := redigo.NewPool(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pool.Close() })
		return doctor.Server{
			Name: name,
			Node: redigo.New(pool, redigo.WithName(name)),
			Do: func(ctx context.Context, args ...any) (any, error) {
				conn, err := pool.GetContext(ctx)
				if err != nil {
					return nil, err
				}
				defer conn.Close()
				return redigodriver.DoContext(conn, ctx, args[0].(string), args[1:]...)
			},
		}
	},
	"rueidis": func(t testing.TB, name, url string) doctor.Server {
		client, err := rueidisnode.NewClient(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return ofRueidis(name, client)
	},
	"valkey": func(t testing.TB, name, url string) doctor.Server {
		client, err := valkeynode.NewClient(url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return ofValkey(name, client)
	},
}

func ofRueidis(name string, client rueidisdriver.Client) doctor.Server {
	return doctor.Server{
		Name: name,
		Node: rueidisnode.New(client, rueidisnode.WithName(name)),
		Do: func(ctx context.Context, args ...any) (any, error) {
			command := client.B().Arbitrary()
			for _, a := range args {
				command = command.Args(a.(string))
			}
			return client.Do(ctx, command.Build()).ToAny()
		},
	}
}

func ofValkey(name string, client valkeydriver.Client) doctor.Server {
	return doctor.Server{
		Name: name,
		Node: valkeynode.New(client, valkeynode.WithName(name)),
		Do: func(ctx context.Context, args ...any) (any, error) {
			command := client.B().Arbitrary()
			for _, a := range args {
				command = command.Args(a.(string))
			}
			return client.Do(ctx, command.Build()).ToAny()
		},
	}
}

// healthy starts three servers with nothing to complain about.
func healthy(t testing.TB) []*servers.Server {
	t.Helper()
	if servers.Kinds(t)[0] == servers.Embedded {
		t.Skip("embedded servers have no INFO, CONFIG and rights to check")
	}
	list := servers.Start(t, servers.Any, 3, servers.WithAOF(), servers.WithOutages())
	for _, s := range list {
		awaitInfo(t, s, "uptime_in_seconds:", func(v string) bool { return v != "0" })
	}
	return list
}

// reached returns the servers as s1, s2 and so on, with go-redis.
func reached(t testing.TB, list ...*servers.Server) []doctor.Server {
	t.Helper()
	var all []doctor.Server
	for i, s := range list {
		all = append(all, goRedis(t, fmt.Sprintf("s%d", i+1), s.URL()))
	}
	return all
}

// awaitInfo waits until a field of INFO has a value.
func awaitInfo(t testing.TB, s *servers.Server, field string, reached func(string) bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		_, rest, _ := strings.Cut(fmt.Sprint(s.Do(t, "INFO")), field)
		value, _, _ := strings.Cut(rest, "\r\n")
		if reached(value) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s of %s is %q", field, s, value)
		}
	}
}

// found returns the warnings and failures of a report, such as "failure role s2".
func found(report doctor.Report) []string {
	faults := []string{}
	for _, f := range report.At(doctor.Warning) {
		faults = append(faults, strings.TrimSpace(fmt.Sprintf("%s %s %s", f.Level, f.Check, f.Server)))
	}
	slices.Sort(faults)
	return faults
}

// examine checks servers and compares what is found.
func examine(t testing.TB, all []doctor.Server, settings doctor.Settings, want ...string) doctor.Report {
	t.Helper()
	start := time.Now()
	report, err := doctor.Check(t.Context(), all, settings)
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(want)
	if got := found(report); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
	for _, f := range report {
		if f.Level >= doctor.Warning {
			t.Log(f)
			if f.Advice == "" {
				t.Errorf("no advice: %v", f)
			}
		}
	}
	t.Logf("after %v", time.Since(start).Round(time.Millisecond))
	return report
}
