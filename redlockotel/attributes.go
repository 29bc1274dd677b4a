package redlockotel

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/quorumlock/quorumlock/redlock"
)

// scope is the name under which the module appears in telemetry.
const scope = "github.com/quorumlock/quorumlock/redlockotel"

// Attributes that OpenTelemetry's semantic conventions do not have.
const (
	operationKey = attribute.Key("redlock.operation")
	keyClassKey  = attribute.Key("redlock.key.class")
	keyKey       = attribute.Key("redlock.key")
	automaticKey = attribute.Key("redlock.automatic")
	sharedKey    = attribute.Key("redlock.shared")
	causeKey     = attribute.Key("redlock.loss.cause")
	outcomeKey   = attribute.Key("redlock.outcome")
	attemptsKey  = attribute.Key("redlock.attempts")
	waitedKey    = attribute.Key("redlock.waited")
	heldKey      = attribute.Key("redlock.hold.duration")
	latencyKey   = attribute.Key("redlock.node.latency")
	messageKey   = attribute.Key("error.message")
)

// about returns the attributes of an event that ended with err, and the others.
func (c *config) about(e *redlock.Event, err error, others ...attribute.KeyValue) []attribute.KeyValue {
	attrs := append(slices.Clone(c.attrs), others...)
	if c.keyClass != nil {
		if class := c.keyClass(semaphore(e.Key)); class != "" {
			attrs = append(attrs, keyClassKey.String(class))
		}
	}
	if e.Shared { // otherwise it is missing, so that programs without shared locks have the same series as before
		attrs = append(attrs, sharedKey.Bool(true))
	}
	if err != nil {
		attrs = append(attrs, semconv.ErrorTypeKey.String(errorType(err)))
	}
	return attrs
}

// semaphore returns the key of the Semaphore if key is that of a permit's slot, such as
// "jobs{jobs}:permits:2", and otherwise key. So a call has the same class before and after it
// has got a permit, and slots are no classes of their own.
func semaphore(key string) string {
	name := strings.TrimRight(key, "0123456789")
	if name == key || !strings.HasSuffix(name, ":permits:") {
		return key
	}
	name = strings.TrimSuffix(name, ":permits:")
	if n := (len(name) - 2) / 2; n > 0 && name == name[:n]+"{"+name[:n]+"}" {
		return name[:n]
	}
	return name
}

// errorType returns the error.type of err. There are few of them, because they make time
// series.
func errorType(err error) string {
	switch {
	case errors.Is(err, redlock.ErrTaken):
		return "taken"
	case errors.Is(err, redlock.ErrUnavailable):
		return "unavailable"
	case errors.Is(err, redlock.ErrNotHeld):
		return "not_held"
	case errors.Is(err, redlock.ErrClosed):
		return "closed"
	}
	return semconv.ErrorTypeOther.Value.AsString()
}

// Why a lock was lost.
const (
	lossGone    = "gone"    // the nodes say so: somebody broke the lock, or they lost their data
	lossExpired = "expired" // it was not extended in time: nodes were unavailable, or the process paused
)

// lossCause returns why a lock was lost, from the error that the hook Lost got.
func lossCause(err error) attribute.KeyValue {
	if round := (*redlock.QuorumError)(nil); errors.As(err, &round) {
		return causeKey.String(lossGone)
	}
	return causeKey.String(lossExpired)
}

// server returns the attributes of the node with that name, which usually is an address.
func server(name string) []attribute.KeyValue {
	host, port, err := net.SplitHostPort(name)
	if n, errPort := strconv.Atoi(port); err == nil && errPort == nil {
		return []attribute.KeyValue{semconv.ServerAddress(host), semconv.ServerPort(n)}
	}
	return []attribute.KeyValue{semconv.ServerAddress(name)}
}

// fixed returns name without the address in parentheses that a node without a name of its own
// has, as in "node 2 (10.0.0.3:6379)". The address appears with the first connection and may
// change, and would make another time series each time.
func fixed(name string) string {
	label, _, _ := strings.Cut(name, " (")
	position, ok := strings.CutPrefix(label, "node ")
	if _, err := strconv.Atoi(position); ok && err == nil && strings.HasSuffix(name, ")") {
		return label
	}
	return name
}

// snake returns words with underscores, as the values of attributes are written.
func snake(words string) string { return strings.ReplaceAll(words, " ", "_") }

// outcome returns the outcome of a node as attributes.
func outcome(o redlock.Outcome) []attribute.KeyValue {
	attrs := []attribute.KeyValue{outcomeKey.String(snake(o.String()))}
	if o == redlock.Failed || o == redlock.TimedOut {
		attrs = append(attrs, semconv.ErrorTypeKey.String(snake(o.String())))
	}
	return attrs
}
