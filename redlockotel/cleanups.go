package redlockotel

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"

	"github.com/quorumlock/quorumlock/redlock"
)

// ObserveCleanups makes the metric redlock.cleanups show how many deletions of l are under
// way ([redlock.Locker.Cleanups]) whenever metrics are collected. The values of several
// Lockers add up; observe only one of those that share nodes ([redlock.Locker.With]).
//
// The MeterProvider keeps l until Unregister of the result is called. Options about keys
// and spans have no effect.
func ObserveCleanups(l *redlock.Locker, opts ...Option) (metric.Registration, error) {
	if l == nil {
		return nil, errors.New("redlockotel: cleanups: a Locker that is nil")
	}
	c, err := newConfig(opts)
	if err != nil {
		return nil, fmt.Errorf("redlockotel: cleanups: %w", err)
	}
	meter := c.meter()
	count, err := meter.Int64ObservableUpDownCounter("redlock.cleanups", metric.WithUnit("{key}"),
		metric.WithDescription("Deletions of keys on nodes that are under way."))
	if err != nil {
		return nil, fmt.Errorf("redlockotel: cleanups: %w", err)
	}
	attrs := metric.WithAttributes(c.attrs...)
	return meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(count, int64(l.Cleanups()), attrs)
		return nil
	}, count)
}
