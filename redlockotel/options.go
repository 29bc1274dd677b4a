package redlockotel

import (
	"errors"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
)

// An Option configures [Hooks] and [ObserveCleanups].
type Option interface{ apply(*config) error }

type option func(*config) error

func (o option) apply(c *config) error { return o(c) }

type config struct {
	meters     metric.MeterProvider
	tracers    trace.TracerProvider
	keyClass   func(key string) string
	keyInSpans bool
	attrs      []attribute.KeyValue
}

func newConfig(opts []Option) (*config, error) {
	c := &config{meters: otel.GetMeterProvider(), tracers: otel.GetTracerProvider()}
	for _, o := range opts {
		if o == nil {
			return nil, errors.New("an option that is nil")
		}
		if err := o.apply(c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// WithMeterProvider sets where metrics go. Default the global provider. With the provider
// of go.opentelemetry.io/otel/metric/noop there are none.
func WithMeterProvider(p metric.MeterProvider) Option {
	return option(func(c *config) error {
		c.meters = p
		if p == nil {
			return errors.New("a MeterProvider that is nil")
		}
		return nil
	})
}

// WithTracerProvider sets where spans go. Default the global provider. With the provider
// of go.opentelemetry.io/otel/trace/noop there are none.
func WithTracerProvider(p trace.TracerProvider) Option {
	return option(func(c *config) error {
		c.tracers = p
		if p == nil {
			return errors.New("a TracerProvider that is nil")
		}
		return nil
	})
}

// WithKeyClass sets how keys are grouped, as the attribute redlock.key.class of metrics and
// spans. class gets the key as it is on the servers, with the prefix, and returns the name
// of its group: for "orders/42" perhaps "orders". If it returns "", the attribute is
// missing. It is called several times in each call, must not block, and must be safe for
// concurrent use. Default no classes.
//
// Each class multiplies the number of time series, so return a few dozen at most, and never
// the key itself.
func WithKeyClass(class func(key string) string) Option {
	return option(func(c *config) error {
		c.keyClass = class
		if class == nil {
			return errors.New("a key class function that is nil")
		}
		return nil
	})
}

// WithKeyInSpans adds the key to each span, as the attribute redlock.key, and the whole
// text of an error, which names the key, as the description of the status. Default off,
// because keys may contain what should not leave the program. Metrics never have the key.
func WithKeyInSpans() Option {
	return option(func(c *config) error {
		c.keyInSpans = true
		return nil
	})
}

// WithAttributes adds attributes to every metric and span, for example to tell two Lockers
// of one program apart. If it is given several times, they add up. Default none.
func WithAttributes(attrs ...attribute.KeyValue) Option {
	return option(func(c *config) error {
		c.attrs = append(c.attrs[:len(c.attrs):len(c.attrs)], attrs...)
		return nil
	})
}
