package reach

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/redigo"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// each runs f for every adapter.
func each(t *testing.T, f func(t *testing.T, d drivers.Driver)) {
	for _, d := range drivers.All {
		t.Run(d.Name, func(t *testing.T) { f(t, d) })
	}
}

// locker returns a Locker on the node at url.
func locker(t *testing.T, d drivers.Driver, url string) *redlock.Locker {
	t.Helper()
	l, err := redlock.New([]backend.Node{d.FromURL(t, url)}, redlock.WithNodeTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// cycle locks, extends and unlocks once.
func cycle(ctx context.Context, l *redlock.Locker, key string) error {
	lock, err := l.Lock(ctx, key, redlock.WithWait(5*time.Second))
	if err != nil {
		return err
	}
	return errors.Join(lock.Extend(ctx, 20*time.Second), lock.Unlock(ctx))
}

func TestAdaptersOverTLS(t *testing.T) {
	s := servers.Start(t, servers.Any, 1, servers.WithTLS(), servers.WithPassword("s3cret"))[0]
	ca, cert, key := s.TLSFiles(t)
	password := file(t, "s3cret\n")
	_, port := s.HostPort()
	each(t, func(t *testing.T, d drivers.Driver) {
		for name, url := range map[string]string{
			"password in the URL": s.URL() + "?tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key,
			"password in a file":  "rediss://" + s.Addr() + "?tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key + "&password_file=" + password,
			"the name given":      "rediss://" + s.Addr() + "?tls_server_name=localhost&tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key + "&password_file=" + password,
			"by name":             "rediss://:s3cret@localhost:" + port + "?tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key,
		} {
			if err := cycle(t.Context(), locker(t, d, url), "k"); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, tt := range map[string]struct{ url, says string }{
			"no authority":          {s.URL(), "certificate signed by unknown authority"},
			"another name":          {s.URL() + "?tls_server_name=redis.example&tls_ca=" + ca, "redis.example"},
			"no client certificate": {s.URL() + "?tls_ca=" + ca, ""}, // the server may be quicker to cut than to say why
		} {
			_, err := locker(t, d, tt.url).TryLock(t.Context(), "k")
			if !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: %v, want ErrUnavailable and %q", name, err, tt.says)
			}
		}
	})
}

// The sentinels and the servers have passwords of their own. The client of a URL follows a
// failover.
func TestAdaptersWithSentinel(t *testing.T) {
	each(t, func(t *testing.T, d drivers.Driver) {
		if d.Sentinel == nil {
			if _, err := redigo.NewPool("redis+sentinel://h?master_name=m"); err == nil || !strings.Contains(err.Error(), "want the adapter for go-redis, rueidis or valkey-go") {
				t.Errorf("error %v, want what to do instead", err)
			}
			return
		}
		set := servers.StartSentinel(t, servers.Any, 1)
		url := sentinelURL(set)
		protect(t, set)
		l := locker(t, d, url+"&sentinel_password_file="+file(t, sentinelPassword))
		if err := cycle(t.Context(), l, "k"); err != nil {
			t.Fatal(err)
		}
		if set.Master.Keys(t) != nil {
			t.Error("keys are left behind")
		}
		set.Master.Kill(t)
		deadline := time.Now().Add(30 * time.Second)
		for err := errors.New(""); err != nil; {
			if err = cycle(t.Context(), l, "k"); err != nil && time.Now().After(deadline) {
				t.Fatalf("the client does not follow the failover: %v", err)
			}
		}
	})
}

func TestAdaptersWithCluster(t *testing.T) {
	cluster := servers.StartCluster(t, servers.Any)
	each(t, func(t *testing.T, d drivers.Driver) {
		if d.Cluster == nil {
			if _, err := redigo.NewPool(clusterURL(cluster.Addrs())); err == nil || !strings.Contains(err.Error(), "want the adapter for go-redis, rueidis or valkey-go") {
				t.Errorf("error %v, want what to do instead", err)
			}
			return
		}
		// Nobody listens at the first address.
		l := locker(t, d, clusterURL(append([]string{"127.0.0.1:1"}, cluster.Addrs()...)))
		for _, key := range []string{"a", "b", "c", "d", "e", "f"} {
			if err := cycle(t.Context(), l, key); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	})
}

// A private authority and client certificates count for every connection: to the sentinels
// and the master that they name, and to all servers of a Cluster.
func TestAdaptersWithSeveralOverTLS(t *testing.T) {
	set := servers.StartSentinel(t, servers.Any, 1, servers.WithTLS())
	cluster := servers.StartCluster(t, servers.Any, servers.WithTLS())
	ca, cert, key := set.Master.TLSFiles(t)
	query := "&tls_ca=" + ca + "&tls_cert=" + cert + "&tls_key=" + key
	each(t, func(t *testing.T, d drivers.Driver) {
		if d.Sentinel == nil {
			return // as above
		}
		for kind, url := range map[string]string{
			"Sentinel": "rediss+sentinel://" + set.Addrs()[0] + "?master_name=" + set.Name + query,
			"Cluster":  "rediss+cluster://" + several(cluster.Addrs(), "?addr=") + query,
		} {
			l := locker(t, d, url)
			for _, key := range []string{"a", "b", "c"} {
				if err := cycle(t.Context(), l, key); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
		}
	})
	runs(t, nil, "--node", "rediss+sentinel://"+set.Addrs()[0]+"?master_name="+set.Name+query)
	runs(t, nil, "--node", "rediss+cluster://"+several(cluster.Addrs(), "?addr=")+query)
	fails(t, 123, "signed by an authority that is not trusted here", nil, "--node", "rediss+sentinel://"+set.Addrs()[0]+"?master_name="+set.Name)
	fails(t, 123, "signed by an authority that is not trusted here", nil, "--node", "rediss+cluster://"+several(cluster.Addrs(), "?addr="))
}
