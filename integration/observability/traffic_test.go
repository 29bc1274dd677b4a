package observability

import (
	"context"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/redis/go-redis/v9"
	exporter "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	client "github.com/prometheus/client_golang/prometheus"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
	"github.com/quorumlock/quorumlock/redlockotel"
)

// The TTL of the locks, and the quarantine of the servers.
const (
	ttl        = 2 * time.Second
	quarantine = 4 * time.Second
)

// instrumented returns a Locker on the servers, and the address at which Prometheus can read its
// metrics.
func instrumented(t *testing.T, list []*servers.Server) (*redlock.Locker, string) {
	t.Helper()
	registry := client.NewRegistry()
	reader, err := exporter.New(exporter.WithRegisterer(registry))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	class := redlockotel.WithKeyClass(func(key string) string { name, _, _ := strings.Cut(key, "/"); return name })
	hooks, err := redlockotel.Hooks(redlockotel.WithMeterProvider(provider), class)
	if err != nil {
		t.Fatal(err)
	}
	var nodes []backend.Node
	for _, s := range list {
		nodes = append(nodes, drivers.GoRedis(t, redis.Options{Addr: s.Addr(), DialerRetries: 1}))
	}
	locker, err := redlock.New(nodes, redlock.WithHooks(hooks), redlock.WithTTL(ttl), redlock.WithQuarantine(quarantine))
	if err != nil {
		t.Fatal(err)
	}
	cleanups, err := redlockotel.ObserveCleanups(locker, redlockotel.WithMeterProvider(provider))
	if err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	t.Cleanup(func() {
		page.Close()
		_ = cleanups.Unregister()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := locker.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return locker, strings.TrimPrefix(page.URL, "http://")
}

// work makes callers that compete for locks, and holders that extend theirs, until the test ends.
// They go on whatever happens to the servers.
func work(t *testing.T, l *redlock.Locker) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		all.Wait()
	})
	forever := func(f func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	use := func(lock *redlock.Lock, err error, d time.Duration) {
		if err != nil {
			time.Sleep(5 * time.Millisecond)
			return
		}
		time.Sleep(d)
		_ = lock.Unlock(context.WithoutCancel(ctx))
	}
	for range 3 {
		forever(func() {
			lock, err := l.Lock(ctx, "orders/1", redlock.WithWait(time.Second))
			use(lock, err, 20*time.Millisecond)
		})
	}
	forever(func() {
		lock, err := l.TryLock(ctx, "orders/1")
		use(lock, err, 20*time.Millisecond)
	})
	forever(func() { // extends automatically
		_ = l.Do(ctx, "jobs/nightly", func(ctx context.Context) error { <-ctx.Done(); return nil })
	})
	forever(func() { // and by itself
		lock, err := l.Lock(ctx, "jobs/import", redlock.WithWait(time.Second))
		for range 10 {
			if err == nil {
				time.Sleep(50 * time.Millisecond)
				_ = lock.Extend(ctx, ttl)
			}
		}
		use(lock, err, 0)
	})
}
