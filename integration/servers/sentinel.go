package servers

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/port"
)

// groupPatience limits the start of servers that have to find each other.
const groupPatience = time.Minute

// A Sentinel set is a master and a replica, and the sentinels that watch them.
type Sentinel struct {
	Name      string // of the master, as sentinels know it
	Master    *Server
	Replica   *Server
	Sentinels []*Server
}

// StartSentinel gives the test a Sentinel set, plain or [WithTLS], with 1 to 3 sentinels, once
// they all know each other and the replica. A majority of them decides. They replace a dead
// master after half a second and an election. If the rung cannot run a Sentinel set, the test is
// skipped with the reason.
func StartSentinel(t testing.TB, kind Kind, sentinels int, opts ...Option) *Sentinel {
	t.Helper()
	h := use(t)
	kind = h.pick(t, kind)
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	servers := make([]spec, 2+sentinels)
	list, err := h.startGroup(ctx, t, kind, len(servers), func(ports []int) []spec {
		master := strconv.Itoa(ports[0])
		for i, p := range ports {
			s := newSpec(kind, opts)
			s.args = append(s.args, s.peers()...)
			switch {
			case i == 1:
				s.args = append(s.args, "--replicaof", "127.0.0.1", master)
			case i >= 2:
				s.sentinel = true
				s.files["sentinel.conf"] = []byte(strings.Join([]string{
					"port " + strconv.Itoa(p),
					"sentinel announce-ip 127.0.0.1",
					"sentinel announce-port " + strconv.Itoa(p),
					fmt.Sprintf("sentinel monitor %s 127.0.0.1 %s %d", masterName, master, sentinels/2+1),
					"sentinel down-after-milliseconds " + masterName + " 500",
					"sentinel failover-timeout " + masterName + " 3000",
					"",
				}, "\n"))
			}
			if !s.sentinel {
				s.args = append(s.args, "--replica-announce-ip", "127.0.0.1", "--repl-diskless-sync-delay", "0")
			}
			servers[i] = s
		}
		return servers
	}, func(ctx context.Context, i int, list []*Server) error {
		if i != 2 {
			return nil
		}
		// A sentinel that finds the replica at its first look need not wait ten seconds for the
		// next one.
		return until(ctx, func() error {
			info, err := list[0].Query(ctx, "INFO", "replication")
			if err == nil && !strings.Contains(fmt.Sprint(info), "state=online") {
				err = fmt.Errorf("the replica is not in step: %v", info)
			}
			return err
		})
	})
	orSkip(t, err)
	set := &Sentinel{Name: masterName, Master: list[0], Replica: list[1], Sentinels: list[2:]}
	for _, s := range set.Sentinels {
		err := until(ctx, func() error {
			state, err := s.fields(ctx, "SENTINEL", "MASTER", masterName)
			if err == nil && (state["num-slaves"] != "1" || state["num-other-sentinels"] != strconv.Itoa(sentinels-1) || state["flags"] != "master") {
				err = fmt.Errorf("%s does not see the others: %v", s, state)
			}
			return err
		})
		orSkip(t, err)
	}
	return set
}

const masterName = "quorumlock"

// Addrs returns the addresses of the sentinels.
func (s *Sentinel) Addrs() []string { return addrs(s.Sentinels) }

// WaitFailover waits until every live sentinel names another master than Master, and that one
// accepts writes. Then it exchanges Master and Replica.
func (s *Sentinel) WaitFailover(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), groupPatience)
	defer cancel()
	err := until(ctx, func() error {
		for _, sentinel := range s.Sentinels {
			if !sentinel.up() {
				continue
			}
			reply, err := sentinel.Query(ctx, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", s.Name)
			if err != nil {
				return err
			}
			if pair, ok := reply.([]any); !ok || len(pair) != 2 || fmt.Sprintf("%s:%s", pair...) != s.Replica.Addr() {
				return fmt.Errorf("%s names %v as master", sentinel, reply)
			}
		}
		role, err := s.Replica.Query(ctx, "ROLE")
		if parts, ok := role.([]any); err == nil && (!ok || parts[0] != "master") {
			err = fmt.Errorf("%s is %v", s.Replica, role)
		}
		return err
	})
	if err != nil {
		t.Fatalf("servers: failover: %v", err)
	}
	s.Master, s.Replica = s.Replica, s.Master
}

// fields runs a command whose reply alternates names and values.
func (s *Server) fields(ctx context.Context, args ...any) (map[string]string, error) {
	reply, err := s.Query(ctx, args...)
	if err != nil {
		return nil, err
	}
	fields := map[string]string{}
	for pair := range slices.Chunk(reply.([]any), 2) {
		fields[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
	}
	return fields, nil
}

// startGroup starts n servers that share a network, one after another, after prepare has returned
// for each. They are removed when the test ends.
func (h *harness) startGroup(ctx context.Context, t testing.TB, kind Kind, n int, specs func(ports []int) []spec, prepare func(ctx context.Context, i int, list []*Server) error) ([]*Server, error) {
	t.Helper()
	var list []*Server
	var in group
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.release(ctx, list); err != nil {
			t.Errorf("servers: remove: %v", err)
		}
		if in != nil {
			if err := h.removeGroup(ctx, in); err != nil {
				t.Errorf("servers: remove: %v", err)
			}
		}
	})
	ports := make([]int, n)
	for i := range ports {
		var err error
		if ports[i], err = port.Take(); err != nil {
			return nil, err
		}
	}
	in, err := h.rung.group(ctx, kind, ports)
	if err != nil {
		in = nil
		return nil, err
	}
	h.mu.Lock()
	h.grps[in] = true
	h.mu.Unlock()
	for i, s := range specs(ports) {
		if prepare != nil {
			if err := prepare(ctx, i, list); err != nil {
				return nil, err
			}
		}
		server, err := h.launch(ctx, &s, ports[i], in)
		if err != nil {
			return nil, err
		}
		list = append(list, server)
	}
	return list, nil
}

// until calls f until it returns nil. If ctx ends before that, it returns f's last error.
func until(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		sleep(ctx, poll)
	}
}

func addrs(list []*Server) []string {
	var out []string
	for _, s := range list {
		out = append(out, s.Addr())
	}
	return out
}
