package redlockotel

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/quorumlock/quorumlock/redlock"
)

// metrics are the instruments that hooks record with.
type metrics struct {
	*config
	wait, hold, request                              metric.Float64Histogram
	attempts, extensions, losses, unlocks, rejoining metric.Int64Counter
	waiters                                          metric.Int64UpDownCounter
}

// The upper bounds of histograms, in seconds.
var (
	waitBounds = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300}
	holdBounds = []float64{.001, .005, .025, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600}
	nodeBounds = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5}
)

// meter returns the meter of the module.
func (c *config) meter() metric.Meter {
	return c.meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}

func newMetrics(c *config) (*metrics, error) {
	m, meter := &metrics{config: c}, c.meter()
	var errs [9]error
	histogram := func(name, what string, bounds []float64) (h metric.Float64Histogram, err error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(bounds...))
	}
	counter := func(name, unit, what string) (metric.Int64Counter, error) {
		return meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(what))
	}
	m.wait, errs[0] = histogram("redlock.lock.wait.duration", "How long calls that lock took, granted or not.", waitBounds)
	m.hold, errs[1] = histogram("redlock.lock.hold.duration", "How long locks were held.", holdBounds)
	m.request, errs[2] = histogram("redlock.node.request.duration", "How long a node took to answer a request.", nodeBounds)
	m.attempts, errs[3] = counter("redlock.lock.attempts", "{attempt}", "Attempts of calls that lock.")
	m.extensions, errs[4] = counter("redlock.lock.extensions", "{extension}", "Extensions of locks.")
	m.losses, errs[5] = counter("redlock.lock.losses", "{lock}", "Locks that ended before they were unlocked.")
	m.unlocks, errs[6] = counter("redlock.lock.unlocks", "{unlock}", "Calls that unlock.")
	m.rejoining, errs[7] = counter("redlock.node.rejoins", "{rejoin}", "Locks that a node had lost and has granted again.")
	m.waiters, errs[8] = meter.Int64UpDownCounter("redlock.lock.waiters", metric.WithUnit("{call}"), metric.WithDescription("Calls that wait for a lock."))
	return m, errors.Join(errs[:]...)
}

func (m *metrics) waiting(ctx context.Context, e redlock.Event) { m.countWaiter(ctx, &e, 1) }

func (m *metrics) countWaiter(ctx context.Context, e *redlock.Event, n int64) {
	m.waiters.Add(ctx, n, metric.WithAttributes(m.about(e, nil)...))
}

// locks reports whether the operation is a call that locks.
func locks(op string) bool { return op == "lock" || op == "try lock" || op == "resume" }

func (m *metrics) round(ctx context.Context, e redlock.Event) {
	if locks(e.Op) {
		m.attempts.Add(ctx, 1, metric.WithAttributes(m.about(&e, e.Err, operationKey.String(snake(e.Op)))...))
	}
}

func (m *metrics) locked(ctx context.Context, e redlock.Event) {
	if e.Waited {
		m.countWaiter(ctx, &e, -1)
	}
	if e.Err == nil {
		m.startLosses(ctx, &e)
	}
	m.wait.Record(ctx, e.Elapsed.Seconds(), metric.WithAttributes(m.about(&e, e.Err, operationKey.String(snake(e.Op)))...))
}

// startLosses makes the counters of losses of locks like that of e begin with 0. A counter
// that begins with its first loss hides it, because nothing seems to have increased.
func (m *metrics) startLosses(ctx context.Context, e *redlock.Event) {
	for _, cause := range []string{lossGone, lossExpired} {
		m.losses.Add(ctx, 0, metric.WithAttributes(m.about(e, nil, causeKey.String(cause))...))
	}
}

func (m *metrics) extended(ctx context.Context, e redlock.Event) {
	if e.Shared && !e.Automatic { // a downgrade may have made it a shared one
		m.startLosses(ctx, &e)
	}
	m.extensions.Add(ctx, 1, metric.WithAttributes(m.about(&e, e.Err, automaticKey.Bool(e.Automatic))...))
	for _, n := range e.Report {
		rejoins := int64(0) // so that the counter begins before the first rejoin
		if n.Rejoined {
			rejoins = 1
		}
		m.rejoining.Add(ctx, rejoins, metric.WithAttributes(append(server(fixed(n.Node)), m.attrs...)...))
	}
}

func (m *metrics) unlocked(ctx context.Context, e redlock.Event) {
	if e.Held > 0 {
		m.hold.Record(ctx, e.Held.Seconds(), metric.WithAttributes(m.about(&e, nil)...))
	}
	m.unlocks.Add(ctx, 1, metric.WithAttributes(m.about(&e, e.Err, operationKey.String(snake(e.Op)))...))
}

func (m *metrics) lost(ctx context.Context, e redlock.Event) {
	attrs := metric.WithAttributes(m.about(&e, nil, lossCause(e.Err))...)
	m.hold.Record(ctx, e.Held.Seconds(), attrs)
	m.losses.Add(ctx, 1, attrs)
}

// node records an answer. It has no ctx, because it may come after the call has ended.
func (m *metrics) node(e redlock.NodeEvent) {
	attrs := append([]attribute.KeyValue{semconv.DBSystemNameRedis, semconv.DBOperationName(e.Op)}, m.attrs...)
	attrs = append(append(attrs, server(fixed(e.Node))...), outcome(e.Outcome)...)
	m.request.Record(context.Background(), e.Latency.Seconds(), metric.WithAttributes(attrs...))
}
