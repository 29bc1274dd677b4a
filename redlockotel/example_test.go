package redlockotel_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
	"github.com/quorumlock/quorumlock/redlockotel"
)

// The reader stands for the exporter of a program, for example that of Prometheus or OTLP. A
// program that sets the global providers needs neither WithMeterProvider nor
// WithTracerProvider.
func Example() {
	ctx := context.Background()
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))

	class := func(key string) string { name, _, _ := strings.Cut(key, "/"); return name }
	hooks, err := redlockotel.Hooks(redlockotel.WithKeyClass(class), redlockotel.WithMeterProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	locker, err := redlock.New([]backend.Node{memory.New()}, redlock.WithHooks(hooks))
	if err != nil {
		log.Fatal(err)
	}
	cleanups, err := redlockotel.ObserveCleanups(locker, redlockotel.WithMeterProvider(provider))
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = cleanups.Unregister() }()

	lock, err := locker.Lock(ctx, "orders/42")
	if err != nil {
		log.Fatal(err)
	}
	_, err = locker.TryLock(ctx, "orders/42")
	fmt.Println(err != nil)
	if err := lock.Unlock(ctx); err != nil {
		log.Fatal(err)
	}

	var metrics metricdata.ResourceMetrics
	if err := reader.Collect(ctx, &metrics); err != nil {
		log.Fatal(err)
	}
	for _, m := range metrics.ScopeMetrics[0].Metrics {
		if m.Name != "redlock.lock.wait.duration" {
			continue
		}
		for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
			operation, _ := p.Attributes.Value("redlock.operation")
			class, _ := p.Attributes.Value("redlock.key.class")
			failure, _ := p.Attributes.Value("error.type")
			line := fmt.Sprint(operation.AsString(), " ", class.AsString(), ": ", p.Count, " ", failure.AsString())
			fmt.Println(strings.TrimSpace(line)) // without a failure, nothing may follow the count
		}
	}
	// Unordered output:
	// true
	// lock orders: 1
	// try_lock orders: 1 taken
}
