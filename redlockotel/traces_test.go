package redlockotel_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/redlock"
	"github.com/quorumlock/quorumlock/redlockotel"
)

// described returns a span as text: its name, parent, duration, status and events.
func described(s sdktrace.ReadOnlySpan, names map[string]string) string {
	parent := "none"
	if s.Parent().IsValid() {
		parent = names[s.Parent().SpanID().String()]
	}
	var events []string
	for _, e := range s.Events() {
		words := []string{strings.TrimPrefix(e.Name, "redlock.")}
		for _, kv := range e.Attributes {
			switch kv.Key {
			case "server.address", "redlock.outcome", "error.type", "redlock.attempts":
				words = append(words, kv.Value.String())
			}
		}
		events = append(events, strings.Join(words, " "))
	}
	said := fmt.Sprintf("%s in %s for %v", s.Name(), parent, s.EndTime().Sub(s.StartTime()))
	if s.Status().Code == codes.Error {
		said += " error " + s.Status().Description
	}
	return fmt.Sprintf("%s: %s", said, strings.Join(events, ", "))
}

func value(attrs []attribute.KeyValue, key attribute.Key) string {
	for _, kv := range attrs {
		if kv.Key == key {
			return kv.Value.String()
		}
	}
	return "missing"
}

// Each call is a span in the caller's span. Its events are the wait, and what nodes did in each
// attempt. Automatic extensions are events of the caller's span, and a loss is a span in it.
func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := observe(t, []redlock.Option{redlock.WithTTL(3 * time.Second)})
		tracer := o.tracers.Tracer("test")
		names := make(map[string]string)
		var mu sync.Mutex
		in := func(name string, f func(ctx context.Context)) {
			ctx, span := tracer.Start(t.Context(), name)
			mu.Lock()
			names[span.SpanContext().SpanID().String()] = name
			mu.Unlock()
			f(ctx)
			span.End()
		}
		expect := func(what string, want ...string) {
			t.Helper()
			settle()
			mu.Lock()
			defer mu.Unlock()
			var got []string
			for _, s := range o.spans.Ended() {
				got = append(got, described(s, names))
			}
			if !slices.Equal(got, want) {
				t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), strings.Join(want, "\n     "))
			}
			o.spans.Reset()
		}
		o.set(0, 3, faulty.Delay(time.Millisecond))
		o.set(2, 3, faulty.Delay(2*time.Millisecond))

		var lock *redlock.Lock
		in("A", func(ctx context.Context) { lock, _ = o.Lock(ctx, "orders/1") })
		in("B", func(ctx context.Context) { _, _ = o.TryLock(ctx, "orders/1") })
		in("C", func(ctx context.Context) {
			_, _ = o.Lock(ctx, "orders/1", redlock.WithRetry(redlock.Fixed(time.Second).Limit(2)))
		})
		in("D", func(ctx context.Context) { _ = lock.Unlock(ctx) })
		granted := "node node0 granted 1, node node1 granted 1"
		taken := "node node0 taken %[1]d, node node1 taken %[1]d"
		expect("calls",
			"redlock lock in A for 1ms: "+granted,
			"A in none for 1ms: ",
			"redlock try_lock in B for 1ms: "+fmt.Sprintf(taken, 1),
			"B in none for 1ms: ",
			"redlock lock in C for 1.002s: "+fmt.Sprintf(taken, 1)+", waiting taken, "+fmt.Sprintf(taken, 2),
			"C in none for 1.002s: ",
			"redlock unlock in D for 1ms: "+granted,
			"D in none for 1ms: ")

		o.set(0, 3)
		in("E", func(ctx context.Context) {
			_ = o.Do(ctx, "orders/2", func(context.Context) error { time.Sleep(1500 * time.Millisecond); return nil })
		})
		granted = "node node0 granted 1, node node1 granted 1"
		settle()
		spans := o.spans.Ended()
		if len(spans) != 3 || len(spans[2].Events()) != 1 || spans[2].Events()[0].Name != "redlock.extended" || value(spans[1].Attributes(), "redlock.hold.duration") != "1.5" {
			t.Errorf("Do with one automatic extension: %d spans", len(spans))
			for _, s := range spans {
				t.Log(described(s, names), s.Attributes())
			}
		}
		o.spans.Reset()

		in("F", func(ctx context.Context) { lock, _ = o.TryLock(ctx, "orders/3") })
		_ = lock.Context(t.Context())
		o.set(1, 3, faulty.Refuse(nil))
		settle() // it expires
		o.spans.Reset()
		in("G", func(ctx context.Context) { lock, _ = o.TryLock(ctx, "orders/4") })
		settle()
		got := o.spans.Ended()
		if s := got[0]; s.Status().Code != codes.Error || s.Status().Description != "unavailable" || value(s.Attributes(), "error.type") != "unavailable" {
			t.Errorf("a call with too few nodes: %+v, %v", s.Status(), s.Attributes())
		}
		o.set(0, 3)
		_ = o.Close(t.Context())
		settle()
	})
}

// The span of a loss says why, and how long the lock was held. No span has a key or a token,
// unless the key was asked for.
func TestSpansHaveNoSecrets(t *testing.T) {
	for _, open := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var opts []redlockotel.Option
			if open {
				opts = append(opts, redlockotel.WithKeyInSpans())
			}
			o := observe(t, []redlock.Option{redlock.WithTTL(3 * time.Second)}, opts...)
			ctx, span := o.tracers.Tracer("test").Start(t.Context(), "caller")
			lock, err := o.Lock(ctx, "orders/secret")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range o.mem {
				m.Flush()
			}
			_ = lock.Extend(ctx, 3*time.Second)
			_ = lock.Unlock(ctx)
			span.End()
			settle()
			lost := false
			for _, s := range o.spans.Ended() {
				all := fmt.Sprint(s.Name(), s.Attributes(), s.Events(), s.Status())
				if strings.Contains(all, lock.Token()) {
					t.Errorf("a span has the token: %s", all)
				}
				if has := strings.Contains(all, "secret"); has != open && s.Name() != "caller" {
					t.Errorf("WithKeyInSpans %v: a span has the key: %v: %s", open, has, all)
				}
				if s.Name() == "redlock lost" {
					lost = true
					if s.Parent().SpanID() != span.SpanContext().SpanID() || s.Status().Code != codes.Error ||
						value(s.Attributes(), "redlock.loss.cause") != "gone" || value(s.Attributes(), "redlock.key.class") != "orders" {
						t.Errorf("the loss: %s", all)
					}
				}
			}
			if !lost {
				t.Error("no span of the loss")
			}
			values, _ := o.series(t)
			for name := range values {
				if strings.Contains(name, "secret") || strings.Contains(name, lock.Token()) {
					t.Errorf("a metric has the key or the token: %s", name)
				}
			}
			_ = o.Close(t.Context())
			settle()
		})
	}
}

// Two sets of hooks on one Locker have a span each, and do not end each other's.
func TestSpansOfTwoHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, other := observe(t, nil), observe(t, nil)
		hooks, err := redlockotel.Hooks(redlockotel.WithTracerProvider(other.tracers), redlockotel.WithMeterProvider(other.meters))
		if err != nil {
			t.Fatal(err)
		}
		l, err := o.With(redlock.WithHooks(hooks))
		if err != nil {
			t.Fatal(err)
		}
		lock, err := l.TryLock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		_ = lock.Unlock(t.Context())
		settle()
		if a, b := o.spans.Ended(), other.spans.Ended(); len(a) != 2 || len(b) != 2 || len(o.spans.Started()) != 2 || b[0].Parent().SpanID() != a[0].SpanContext().SpanID() {
			t.Errorf("%d and %d spans have ended, want 2 and 2", len(a), len(b))
		}
	})
}
