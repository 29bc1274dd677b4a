package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/doctor"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Three healthy servers of each kind: every check is made, nothing is found, and nothing
// is left behind.
func TestHealthy(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		if kind == servers.Embedded {
			t.Skip("embedded servers have no INFO, CONFIG and rights to check")
		}
		list := servers.Start(t, kind, 3, servers.WithAOF())
		for name, driver := range drivers {
			t.Run(name, func(t *testing.T) {
				var all []doctor.Server
				for _, s := range list {
					all = append(all, driver(t, s.Addr(), s.URL()))
				}
				settings := usual
				for _, settings.Fencing = range []bool{false, true} {
					for _, f := range examine(t, all, settings) {
						if f.Level != doctor.OK {
							t.Error(f)
						}
					}
				}
				for _, s := range list {
					if keys := s.Keys(t); len(keys) > 0 {
						t.Errorf("%s keeps %q", s, keys)
					}
				}
			})
		}
	})
}

// With a quarantine, the loss of data is no fault, and new servers begin in quarantine.
func TestQuarantine(t *testing.T) {
	list := healthy(t)
	all := reached(t, list...)
	settings := usual
	settings.Quarantine = 5 * time.Second
	examine(t, all, settings, "warning quarantine s1", "warning quarantine s2", "warning quarantine s3")

	locker := newLocker(t, all, redlock.WithTTL(settings.TTL), redlock.WithQuarantine(settings.Quarantine))
	if _, err := locker.EndQuarantine(t.Context()); err != nil {
		t.Fatal(err)
	}
	examine(t, all, settings)
	for _, s := range list {
		s.SetConfig(t, "appendfsync", "everysec")
		s.SetConfig(t, "appendonly", "no")
	}
	examine(t, all, settings)

	const marker = "redlock:marker"
	own := strings.Fields(list[1].Do(t, "GET", marker).(string))[0]
	list[1].Do(t, "SET", marker, strings.Repeat("0", 40)+" 0")
	examine(t, all, settings, "warning quarantine s2")
	now := time.Now().UnixMicro()
	list[1].Do(t, "SET", marker, own+" "+itoa(now))
	examine(t, all, settings, "warning quarantine s2")
	list[1].Do(t, "SET", marker, own+" "+itoa(now-10e6))
	examine(t, all, settings)
	list[1].Do(t, "SET", marker, "banana")
	examine(t, all, settings, "warning quarantine s2")
	list[1].Do(t, "DEL", marker)
	list[1].Do(t, "RPUSH", marker, "banana")
	examine(t, all, settings, "failure quarantine s2")
}

func newLocker(t testing.TB, all []doctor.Server, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	var nodes []backend.Node
	for _, s := range all {
		nodes = append(nodes, s.Node)
	}
	locker, err := redlock.New(nodes, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

// A user with the rights of a lock and no others: nothing is a fault, and the report says
// what could not be checked, for one reason each.
func TestRightsOfALock(t *testing.T) {
	list := healthy(t)
	lines := documentedLines(t, list[0].Kind())
	for _, tt := range []struct {
		user     string
		settings doctor.Settings
		want     string // for each server
		unknown  []string
	}{
		{"plain", usual, "warning waiting", []string{"INFO", "CONFIG GET", "TIME", "SCAN"}},
		{"waiting", usual, "", []string{"INFO", "CONFIG GET", "SCAN"}},
		{"fencing", doctor.Settings{TTL: time.Second, NodeTimeout: time.Second, Fencing: true}, "", []string{"INFO", "CONFIG GET", "SCAN"}},
	} {
		t.Run(tt.user, func(t *testing.T) {
			var all []doctor.Server
			var want []string
			for _, s := range list {
				s.SetUser(t, tt.user, lines[tt.user]...)
				all = append(all, goRedis(t, s.Addr(), "redis://"+tt.user+":secret@"+s.Addr()))
				if tt.want != "" {
					want = append(want, tt.want+" "+s.Addr())
				}
			}
			tt.settings.KeyPrefix = "tenantA:"
			report := examine(t, all, tt.settings, want...)
			reasons := map[string]bool{}
			for _, f := range report {
				if f.Level == doctor.NotChecked {
					reasons[f.What] = true
				}
			}
			for _, command := range tt.unknown {
				if !reasons["the user may not run "+command] {
					t.Errorf("the reasons %v lack %s", reasons, command)
				}
				delete(reasons, "the user may not run "+command)
			}
			delete(reasons, "no server tells its time")
			if len(reasons) > 0 {
				t.Errorf("unexpected reasons: %v", reasons)
			}
		})
	}
}

// The keys of the probe are removed even if the caller gives up in the middle of it.
func TestProbeLeavesNothing(t *testing.T) {
	list := healthy(t)
	all := reached(t, list...)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for i := range all {
		all[i].Node = &quitter{all[i].Node, cancel}
	}
	settings := usual
	settings.Fencing = true
	report, err := doctor.Check(ctx, all, settings)
	if !errors.Is(err, context.Canceled) || report != nil {
		t.Errorf("Check returned %v, %v", report, err)
	}
	for _, s := range list {
		for _, key := range s.Keys(t) {
			if !strings.Contains(key, ":gone:") { // these expire by themselves
				t.Errorf("%s keeps %q", s, key)
			}
		}
	}
}

// A quitter is a node whose caller gives up as soon as it was granted a lock. It has no
// other capability of the node.
type quitter struct {
	backend.Node
	cancel func()
}

func (q *quitter) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	scripter, _ := backend.As[backend.Scripter](q.Node)
	reply, err := scripter.Eval(ctx, s, keys, args)
	if s.Name() == "vote" || s.Name() == "acquire" {
		q.cancel()
	}
	return reply, err
}
