package quarantine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

func newLockerOf(t testing.TB, d drivers.Driver, set *servers.Sentinel, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	return onNodes(t, []backend.Node{d.Sentinel(t, set.Addrs(), set.Name)}, opts...)
}

// wantRefused fails the test unless a lock fails at once, without retries, and with this reason.
func wantRefused(t testing.TB, locker *redlock.Locker, reason string) {
	t.Helper()
	start := time.Now()
	_, err := locker.Lock(t.Context(), key)
	if !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(err.Error(), reason) {
		t.Errorf("a lock failed with %v, want %q", err, reason)
	}
	if took := time.Since(start); took > ttl-time.Second {
		t.Errorf("it took %v, want no wait, because retries do not help", took)
	}
}

// If a user may not run the quarantine's check, its calls fail. It does not lock without the
// check.
func TestWithoutRights(t *testing.T) {
	realServers(t)
	for _, tc := range []struct {
		name, reason string
		rules        []string
	}{
		{"INFO", "NORUNID", []string{"allkeys", "allchannels", "+@all", "-info"}},
		{"the marker", "NOPERM", []string{"~" + key + "*", "allchannels", "+@all"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			server := servers.Start(t, servers.Any, 1, servers.WithUser("locker", "pw", tc.rules...))[0]
			for _, d := range drivers.All {
				t.Run(d.Name, func(t *testing.T) {
					fenced(t, func(t *testing.T, opts ...redlock.Option) {
						locker := onNodes(t, []backend.Node{d.FromURL(t, server.URL())}, append(opts, redlock.WithQuarantine(length))...)
						wantRefused(t, locker, tc.reason)
						if _, err := locker.EndQuarantine(t.Context()); err == nil || !strings.Contains(err.Error(), tc.reason) {
							t.Errorf("EndQuarantine: %v", err)
						}
						if keys := server.Keys(t); slices.Contains(keys, key) {
							t.Errorf("the keys are %q", keys)
						}
					})
				})
			}
		})
	}
}

// A Cluster is rejected, and so is one server of it, at the first lock.
func TestCluster(t *testing.T) {
	realServers(t)
	cluster := servers.StartCluster(t, servers.Any)
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) {
			if d.Cluster != nil {
				_, err := redlock.New([]backend.Node{d.Cluster(t, cluster.Addrs())}, redlock.WithQuarantine(time.Minute))
				if !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "is a cluster") {
					t.Errorf("a Cluster: %v", err)
				}
			}
			fenced(t, func(t *testing.T, opts ...redlock.Option) {
				node := d.Node(t, cluster.NodeOf(t, key).Addr())
				wantRefused(t, onNodes(t, []backend.Node{node}, append(opts, redlock.WithQuarantine(length))...), "no quarantine on a server of a cluster")
			})
		})
	}
}
