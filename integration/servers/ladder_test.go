package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/moby/client"
)

// twoKinds is a rung with two kinds.
type twoKinds struct{ embedded }

func (twoKinds) kinds() []Kind { return []Kind{Redis70, Redis80} }

func TestClimb(t *testing.T) {
	there := func(name string) step {
		r := rung(embedded{})
		if name != "embedded" {
			r = twoKinds{}
		}
		return step{name, func(context.Context, settings) (rung, string, error) { return r, name + " made", nil }}
	}
	absent := func(name string) step {
		return step{name, func(context.Context, settings) (rung, string, error) { return nil, "", errors.New(name + " absent") }}
	}
	all := []step{there("containers"), there("processes"), there("embedded")}
	noDocker := []step{absent("containers"), there("processes"), there("embedded")}
	onlyEmbedded := []step{absent("containers"), absent("processes"), there("embedded")}
	tests := []struct {
		name   string
		env    settings
		ladder []step
		want   string // the sentence or the error
	}{
		{"best", settings{}, all, "on containers: containers made"},
		{"quick", settings{quick: true}, all,
			"on processes: processes made; no containers: they take long, so set QUORUMLOCK_TESTS=all, or name tests with -run"},
		{"quick, but required", settings{quick: true, require: true}, all, "on containers: containers made"},
		{"quick, but chosen", settings{quick: true, only: "containers"}, all, "on containers: containers made (as QUORUMLOCK_RUNG says)"},
		{"quick, but of a kind", settings{quick: true, kind: Redis80}, all, "on containers: containers made; only redis:8.0, as QUORUMLOCK_KIND says"},
		{"second", settings{}, noDocker, "on processes: processes made; no containers: containers absent"},
		{"last", settings{}, onlyEmbedded, "on embedded: embedded made; no containers: containers absent; no processes: processes absent"},
		{"required", settings{require: true}, all, "on containers: containers made"},
		{"required, absent", settings{require: true}, noDocker,
			"error: no servers: no containers: containers absent; QUORUMLOCK_REQUIRE_CONTAINERS allows nothing below containers"},
		{"chosen", settings{only: "embedded"}, all, "on embedded: embedded made (as QUORUMLOCK_RUNG says)"},
		{"chosen, absent", settings{only: "containers"}, noDocker, "error: no servers: no containers: containers absent"},
		{"chosen, not allowed", settings{only: "processes", require: true}, all,
			"error: no servers: QUORUMLOCK_REQUIRE_CONTAINERS allows nothing below containers"},
		{"chosen, unknown", settings{only: "stilts"}, all,
			"error: no servers: QUORUMLOCK_RUNG=stilts is none of containers, processes, embedded"},
		{"a kind", settings{kind: Redis80}, all, "on containers: containers made; only redis:8.0, as QUORUMLOCK_KIND says"},
		{"a kind, the only one", settings{kind: Embedded, only: "embedded"}, all, "on embedded: embedded made (as QUORUMLOCK_RUNG says)"},
		{"a kind, absent", settings{kind: Valkey81}, all,
			"error: no servers: QUORUMLOCK_KIND=valkey:8.1, and it is not there: on containers: containers made"},
		{"addresses that do not answer", settings{addrs: "127.0.0.1:1"}, all,
			"error: QUORUMLOCK_ADDRS: servers: the server at 127.0.0.1:1: INFO: dial tcp 127.0.0.1:1: connect: connection refused"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := climb(bg, tt.env, tt.ladder)
			if err != nil {
				got = "error: " + err.Error()
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestGiven(t *testing.T) {
	list := Start(t, Any, 3)
	if list[0].Kind() == Embedded {
		t.Skip("embedded servers do not report their kind")
	}
	env := settings{addrs: strings.Join(addrs(list[:2]), ", ")}

	list[1].Do(t, "SET", "precious", 1)
	if _, _, err := climb(bg, env, ladder); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a server with data: %v", err)
	}
	list[1].Flush(t)
	if _, _, err := climb(bg, settings{addrs: list[0].Addr() + "," + list[0].Addr()}, ladder); err == nil {
		t.Error("the same server twice: no error")
	}

	r, why, err := climb(bg, env, ladder)
	if err != nil {
		t.Fatal(err)
	}
	if want := "on addresses: 2 of " + string(list[0].Kind()); why != want {
		t.Errorf("got %q, want %q", why, want)
	}
	was := current.Swap(newHarness(r))
	defer current.Store(was)
	for range 2 { // the second run gets the server of the first
		t.Run("use", func(t *testing.T) {
			for i, s := range Start(t, Any, 2) {
				if s.Addr() != list[i].Addr() && s.Addr() != list[1-i].Addr() {
					t.Errorf("got %s, want one of %v", s, list[:2])
				}
				if keys := s.Keys(t); len(keys) > 0 {
					t.Errorf("%s has %q", s, keys)
				}
				s.Do(t, "SET", "k", 1)
			}
		})
	}
	one := Start(t, Any, 1)[0]
	for name, f := range map[string]func(testing.TB){
		"pause":     func(t testing.TB) { one.Pause(t) },
		"kill":      func(t testing.TB) { one.Kill(t) },
		"outages":   func(t testing.TB) { Start(t, Any, 1, WithOutages()) },
		"options":   func(t testing.TB) { Start(t, Any, 1, WithAOF()) },
		"too many":  func(t testing.TB) { Start(t, Any, 2) },
		"other":     func(t testing.TB) { Start(t, "redis:1.0", 1) },
		"sentinel":  func(t testing.TB) { StartSentinel(t, Any, 1) },
		"a cluster": func(t testing.TB) { StartCluster(t, Any) },
	} {
		if r := record(t, f); r.failed || !r.skipped || !strings.Contains(r.text, t.Name()) {
			t.Errorf("%s: failed %t, skipped %t: %q; want it skipped by name", name, r.failed, r.skipped, r.text)
		}
	}
}

func TestEmbeddedLimits(t *testing.T) {
	was := current.Swap(newHarness(embedded{}))
	defer current.Store(was)
	for name, f := range map[string]func(testing.TB){
		"options":   func(t testing.TB) { Start(t, Any, 1, WithTLS()) },
		"a clock":   func(t testing.TB) { Start(t, Any, 1, WithClock()) },
		"sentinel":  func(t testing.TB) { StartSentinel(t, Any, 1) },
		"a cluster": func(t testing.TB) { StartCluster(t, Any) },
		"a kind":    func(t testing.TB) { Start(t, Redis70, 1) },
	} {
		if r := record(t, f); r.failed || !r.skipped || !strings.Contains(r.text, t.Name()) {
			t.Errorf("%s: failed %t, skipped %t: %q; want it skipped by name", name, r.failed, r.skipped, r.text)
		}
	}
}

// TestFailure starts a server that cannot start. Its own error must reach the test.
func TestFailure(t *testing.T) {
	onEachRung(t, func(t *testing.T, h *harness) {
		if h.rung.kinds()[0] == Embedded {
			t.Skip("embedded servers have no options to get wrong")
		}
		r := record(t, func(t testing.TB) { Start(t, Any, 1, WithArgs("--nonsense", "1")) })
		if !r.failed || !strings.Contains(r.text, "nonsense") {
			t.Errorf("failed %t with %q", r.failed, r.text)
		}
		if len(h.live) != 0 {
			t.Errorf("%d servers are left", len(h.live))
		}
	})
}

func TestKindOf(t *testing.T) {
	for text, want := range map[string]Kind{
		"Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64":           Redis70,
		"Valkey server v=8.1.1 sha=00000000:0":                                         Valkey81,
		"# Server\r\nredis_version:8.0.2\r\nserver_name:redis\r\n":                     Redis80,
		"redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:8.1.1\r\n":        Valkey81,
		"valkey_version:8.1.1\r\nredis_version:7.2.4\r\nrdma_version:1.0\r\nother:1.1": Valkey81,
		"Server v=7.2.7 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64":                  "valkey:7.2",
		"Redis server v=5.0.14 sha=00000000:0 malloc=jemalloc-5.1.0 bits=64":           "redis:5.0",
		"KeyDB server v=6.3.4 sha=7e7e5e57:0 malloc=jemalloc-5.2.1 bits=64":            "keydb:6.3",
		"redis_version:6.3.4\r\nexecutable:/usr/bin/keydb-server\r\nconfig_file:\r\n":  "keydb:6.3",
		"redis_version:9.1\r\nserver_name:valkey\r\nvalkey_version:9.1.0\r\nio:1\r\n":  "valkey:9.1",
		"nothing of the kind": "",
		"rdma_version:1.0":    "",
	} {
		if got, ok := kindOf(text); got != want || ok != (want != "") {
			t.Errorf("kindOf(%.30q) = %q, %t; want %q", text, got, ok, want)
		}
	}
}

func TestBefore(t *testing.T) {
	for kind, want := range map[Kind]bool{
		"redis:5.0": true, Redis60: true, "redis:6.2": false, Redis70: false, "keydb:6.3": false, Valkey81: false, "redis:10.0": false, Embedded: false,
	} {
		if got := kind.Before(6, 2); got != want {
			t.Errorf("%s is before 6.2: %t, want %t", kind, got, want)
		}
		if all := []string{"on", "~k", "&c", "allchannels", "resetchannels"}; len(kind.rules(all)) != map[bool]int{true: 2, false: 5}[want] || all[4] != "resetchannels" {
			t.Errorf("%s knows of %q the rules %q", kind, all, kind.rules(all))
		}
	}
}

func TestStale(t *testing.T) {
	o, err := newOwner()
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Fields(o.label)
	other := strings.Join([]string{parts[0], parts[1], "another"}, " ")
	if stale(bg, o.label) {
		t.Error("the label of a live process is stale")
	}
	if !stale(bg, other) {
		t.Error("the label of an earlier process with the same address is not stale")
	}
	o.close()
	if !stale(bg, o.label) {
		t.Error("the label of a dead process is not stale")
	}
	if stale(bg, strings.Join([]string{"elsewhere", parts[1], parts[2]}, " ")) || stale(bg, "") {
		t.Error("the label of another machine is stale")
	}

	frozen, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	if stale(bg, strings.Join([]string{parts[0], frozen.Addr().String(), parts[2]}, " ")) {
		t.Error("the label of a stopped process is stale")
	}
}

// TestDirtyEnd lets a test process end without cleaning up.
func TestDirtyEnd(t *testing.T) {
	onEachRung(t, func(t *testing.T, h *harness) {
		if h.rung.kinds()[0] == Embedded {
			t.Skip("embedded servers are the process")
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "TestDirtyEnd/"), "/")
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SERVERS_TEST_DIE=1", "QUORUMLOCK_RUNG="+name, "QUORUMLOCK_REQUIRE_CONTAINERS=", "QUORUMLOCK_ADDRS=")
		cmd.Stderr = os.Stderr
		out, _ := cmd.Output() // exits with 3
		if cmd.ProcessState.ExitCode() != 3 || len(out) == 0 {
			t.Fatalf("the process said %q and ended with %v", out, cmd.ProcessState)
		}
		addr, label, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		left := &Server{addr: addr}

		under := h.rung
		if n, ok := under.(*narrowed); ok {
			under = n.rung
		}
		r, isContainers := under.(*containers)
		if isContainers {
			if err := left.ready(within(t)); err != nil {
				t.Fatalf("the process has cleaned up, so this test proves nothing: %v", err)
			}
			ours := Start(t, Any, 1)[0]
			again, _, err := openContainers(bg, settings{})
			if err != nil {
				t.Fatal(err)
			}
			again.close()
			ours.Do(t, "PING") // a live process keeps its own servers
			found, err := r.docker.ContainerList(bg, client.ContainerListOptions{
				All:     true,
				Filters: make(client.Filters).Add("label", ownerLabel+"="+label),
			})
			if err != nil || len(found.Items) > 0 {
				t.Errorf("left over from the dead process: %v, %v", found.Items, err)
			}
		}
		if err := until(within(t), func() error { return refused(left) }); err != nil {
			t.Error(err)
		}
		if !isContainers {
			folders := filepath.Join(os.TempDir(), fmt.Sprintf("%s%d-*", folders, cmd.ProcessState.Pid()))
			if left, _ := filepath.Glob(folders); len(left) != 1 {
				t.Fatalf("the process has left %q, so this test proves nothing", left)
			}
			if _, _, err := openProcesses(bg, settings{}); err != nil {
				t.Fatal(err)
			}
			if left, _ := filepath.Glob(folders); len(left) > 0 {
				t.Errorf("%q still exist", left)
			}
		}
	})
}
