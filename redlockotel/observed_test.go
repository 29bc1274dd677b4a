package redlockotel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
	"github.com/quorumlock/quorumlock/redlockotel"
)

// observed is a Locker on nodes that fail as a test wants, with what it reports.
type observed struct {
	*redlock.Locker
	mem     []*memory.Node
	fault   []*faulty.FaultNode
	reader  *sdkmetric.ManualReader
	meters  *sdkmetric.MeterProvider
	spans   *tracetest.SpanRecorder
	tracers *sdktrace.TracerProvider

	mu       sync.Mutex
	requests map[string]int // what the nodes were asked, and answered
}

// observe makes a Locker on three nodes, which can fail. The class of a key is what comes before
// its slash.
func observe(t *testing.T, lockOpts []redlock.Option, opts ...redlockotel.Option) *observed {
	t.Helper()
	var (
		mems   []*memory.Node
		faults []*faulty.FaultNode
		nodes  []backend.Node
	)
	for i := range 3 {
		mem := memory.New(memory.WithName(fmt.Sprintf("node%d:6379", i)))
		fault := faulty.NewFaultNode(mem)
		mems, faults, nodes = append(mems, mem), append(faults, fault), append(nodes, fault)
	}
	o := observeNodes(t, nodes, lockOpts, opts...)
	o.mem, o.fault = mems, faults
	o.set(0, 3)
	return o
}

// observeNodes makes a Locker on nodes without faults.
func observeNodes(t *testing.T, nodes []backend.Node, lockOpts []redlock.Option, opts ...redlockotel.Option) *observed {
	t.Helper()
	o := &observed{
		reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder(), requests: make(map[string]int),
	}
	o.meters = sdkmetric.NewMeterProvider(sdkmetric.WithReader(o.reader))
	o.tracers = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(o.spans))
	opts = append([]redlockotel.Option{
		redlockotel.WithMeterProvider(o.meters), redlockotel.WithTracerProvider(o.tracers),
		redlockotel.WithKeyClass(func(key string) string { class, _, _ := strings.Cut(key, "/"); return class }),
	}, opts...)
	hooks, err := redlockotel.Hooks(opts...)
	if err != nil {
		t.Fatal(err)
	}
	if o.Locker, err = redlock.New(nodes, append(lockOpts, redlock.WithHooks(hooks))...); err != nil {
		t.Fatal(err)
	}
	if _, err = redlockotel.ObserveCleanups(o.Locker, opts...); err != nil {
		t.Fatal(err)
	}
	return o
}

// set puts faults on the nodes from first to end-1, behind a fault that counts requests.
func (o *observed) set(first, end int, faults ...faulty.Fault) {
	for i := first; i < end; i++ {
		name := fmt.Sprintf("node%d", i)
		count := faulty.Each(func(ctx context.Context, op backend.Op, next func(context.Context) backend.Result) backend.Result {
			r := next(ctx)
			if op.Kind > backend.OpEval || op.Script == lua.Echo { // a subscription, and its proof
				return r
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.requests[name]++
			if r.Err != nil {
				o.requests[name+" failed"]++
			}
			return r
		})
		o.fault[i].Set(append([]faulty.Fault{count}, faults...)...)
	}
}

// series collects the metrics. Each has its value, or for a histogram the count, by its name
// and attributes; sums has the sum of a histogram in seconds.
func (o *observed) series(t *testing.T) (values map[string]int, sums map[string]float64) {
	t.Helper()
	var all metricdata.ResourceMetrics
	if err := o.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	values, sums = make(map[string]int), make(map[string]float64)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range data.DataPoints {
					values[line(m.Name, p.Attributes)] = int(p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					values[line(m.Name, p.Attributes)], sums[line(m.Name, p.Attributes)] = int(p.Count), p.Sum
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
		}
	}
	return values, sums
}

func line(name string, attrs attribute.Set) string {
	words := []string{name}
	for _, kv := range attrs.ToSlice() { // sorted
		words = append(words, fmt.Sprintf("%s=%s", kv.Key, kv.Value.String()))
	}
	return strings.Join(words, " ")
}

// sum adds up the values of a metric whose series have all these attributes.
func sum(values map[string]int, name string, attrs ...string) int {
	total := 0
	for line, n := range values {
		words := strings.Split(line, " ")
		if words[0] == name && !slices.ContainsFunc(attrs, func(a string) bool { return !slices.Contains(words, a) }) {
			total += n
		}
	}
	return total
}

// settle waits until nothing is under way.
func settle() { time.Sleep(5 * time.Second) }
