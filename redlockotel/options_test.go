package redlockotel_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"

	"github.com/quorumlock/quorumlock/redlock"
	"github.com/quorumlock/quorumlock/redlockotel"
)

// Bad options are errors, also of ObserveCleanups.
func TestBadOptions(t *testing.T) {
	for name, o := range map[string]redlockotel.Option{
		"nil": nil, "meters": redlockotel.WithMeterProvider(nil), "tracers": redlockotel.WithTracerProvider(nil), "class": redlockotel.WithKeyClass(nil),
	} {
		if _, err := redlockotel.Hooks(o); err == nil || !strings.HasPrefix(err.Error(), "redlockotel: ") {
			t.Errorf("%s: Hooks: %v", name, err)
		}
		if _, err := redlockotel.ObserveCleanups(new(redlock.Locker), o); err == nil {
			t.Errorf("%s: ObserveCleanups accepted it", name)
		}
	}
	if _, err := redlockotel.ObserveCleanups(nil); err == nil {
		t.Error("a Locker that is nil was accepted")
	}
}

// WithAttributes adds to every metric, and Unregister ends the observation of cleanups. The
// global provider is the default.
func TestAttributesAndUnregister(t *testing.T) {
	o := observe(t, nil, redlockotel.WithAttributes(attribute.String("locker", "x")), redlockotel.WithAttributes(attribute.String("zone", "y")))
	lock, err := o.TryLock(t.Context(), "a/b")
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := o.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	values, _ := o.series(t)
	if len(values) < 5 {
		t.Errorf("metrics: %v", values)
	}
	for name := range values {
		if !strings.Contains(name, "locker=x") || !strings.Contains(name, "zone=y") {
			t.Errorf("%s lacks an attribute", name)
		}
	}

	reader := sdkmetric.NewManualReader()
	before := otel.GetMeterProvider()
	defer otel.SetMeterProvider(before)
	otel.SetMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)))
	g := &observed{reader: reader}
	registration, err := redlockotel.ObserveCleanups(o.Locker)
	if err != nil {
		t.Fatal(err)
	}
	if values, _ := g.series(t); len(values) != 1 {
		t.Errorf("the global provider has %v", values)
	}
	if err := registration.Unregister(); err != nil {
		t.Fatal(err)
	}
	if values, _ := g.series(t); len(values) != 0 {
		t.Errorf("after Unregister the global provider has %v", values)
	}
}
