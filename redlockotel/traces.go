package redlockotel

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/quorumlock/quorumlock/redlock"
)

// traces makes the spans of calls.
type traces struct {
	*config
	tracer trace.Tracer
}

func newTraces(c *config) *traces {
	return &traces{c, c.tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))}
}

// callSpan is the key under which the ctx of a call has its span. The hooks of two traces
// do not mix up their spans.
type callSpan struct{ *traces }

// span returns the span of the call to which ctx belongs.
func (t *traces) span(ctx context.Context) trace.Span {
	if span, ok := ctx.Value(callSpan{t}).(trace.Span); ok {
		return span
	}
	return trace.SpanFromContext(context.Background()) // records nothing
}

// attributes returns the attributes of a span or an event of a span.
func (t *traces) attributes(e *redlock.Event, err error, others ...attribute.KeyValue) []attribute.KeyValue {
	attrs := t.about(e, err, others...)
	if t.keyInSpans {
		attrs = append(attrs, keyKey.String(e.Key))
	}
	return attrs
}

// begin starts the span of a call. An automatic extension has none: it is an event of the
// caller's span.
func (t *traces) begin(ctx context.Context, e redlock.Event) context.Context {
	if e.Automatic {
		return ctx
	}
	op := snake(e.Op)
	ctx, span := t.tracer.Start(ctx, "redlock "+op, trace.WithAttributes(t.attributes(&e, nil, operationKey.String(op))...))
	return context.WithValue(ctx, callSpan{t}, span)
}

func (t *traces) waiting(ctx context.Context, e redlock.Event) {
	t.span(ctx).AddEvent("redlock.waiting", trace.WithAttributes(semconv.ErrorTypeKey.String(errorType(e.Err))))
}

// round adds what each node did in an attempt. A node for which the round did not wait did
// nothing yet.
func (t *traces) round(ctx context.Context, e redlock.Event) {
	span := t.span(ctx)
	if !span.IsRecording() {
		return
	}
	for _, n := range e.Report {
		if n.Outcome == redlock.Pending && n.Latency == 0 {
			continue
		}
		attrs := append(append(server(n.Node), outcome(n.Outcome)...), attemptsKey.Int(e.Tries), latencyKey.Float64(n.Latency.Seconds()))
		if n.Err != nil {
			attrs = append(attrs, messageKey.String(n.Err.Error()))
		}
		span.AddEvent("redlock.node", trace.WithAttributes(attrs...))
	}
}

// ended ends the span of a call.
func (t *traces) ended(ctx context.Context, e redlock.Event) {
	span := t.span(ctx)
	span.SetAttributes(attemptsKey.Int(e.Tries))
	if locks(e.Op) {
		span.SetAttributes(waitedKey.Bool(e.Waited))
	}
	if e.Held > 0 {
		span.SetAttributes(heldKey.Float64(e.Held.Seconds()))
	}
	t.fail(span, e.Err)
	span.End()
}

// fail records err, if there is one. A lock that is taken is an answer, not a failure.
func (t *traces) fail(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := errorType(err)
	span.SetAttributes(semconv.ErrorTypeKey.String(kind))
	if kind == "taken" {
		return
	}
	said := kind
	if t.keyInSpans {
		said = err.Error()
	}
	span.SetStatus(codes.Error, said)
}

func (t *traces) extended(ctx context.Context, e redlock.Event) {
	if !e.Automatic {
		t.ended(ctx, e)
		return
	}
	trace.SpanFromContext(ctx).AddEvent("redlock.extended", trace.WithAttributes(t.attributes(&e, e.Err)...))
}

func (t *traces) lost(ctx context.Context, e redlock.Event) {
	attrs := t.attributes(&e, nil, lossCause(e.Err), heldKey.Float64(e.Held.Seconds()))
	_, span := t.tracer.Start(ctx, "redlock lost", trace.WithAttributes(attrs...))
	t.fail(span, e.Err)
	span.End()
}
