package main

import (
	"errors"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// parseDuration parses a duration such as 90s or 1h30m. A number without a unit is
// seconds.
func parseDuration(s string) (time.Duration, error) {
	if strings.Trim(s, "+-.0123456789") == "" {
		s += "s"
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, errors.New("must be a number of seconds, or a number with a unit, such as 90s or 5m")
	}
	return d, nil
}

// duration is a flag with a duration. It implements pflag.Value.
type duration time.Duration

// durationVar registers a flag with a duration.
func durationVar(flags *pflag.FlagSet, p *time.Duration, name string, value time.Duration, usage string) {
	*p = value
	flags.Var((*duration)(p), name, usage)
}

// String returns 0 without a unit, so that the help shows no default.
func (d *duration) String() string {
	if *d == 0 {
		return "0"
	}
	return time.Duration(*d).String()
}

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	if err == nil {
		*d = duration(v)
	}
	return err
}

// Type returns the name of the value in the help.
func (d *duration) Type() string { return "duration" }

// patience is a flag with the time to wait. It implements pflag.Value.
type patience struct {
	forever bool
	d       time.Duration
}

// once reports whether the tool does not wait at all.
func (p *patience) once() bool { return !p.forever && p.d == 0 }

func (p *patience) String() string {
	if p.forever {
		return "forever"
	}
	return p.d.String()
}

func (p *patience) Set(s string) error {
	if s == "forever" {
		*p = patience{forever: true}
		return nil
	}
	d, err := parseDuration(s)
	switch {
	case err != nil:
		return errors.New(`must be "forever", 0, a number of seconds, or a number with a unit, such as 90s or 5m`)
	case d < 0:
		return errors.New(`must not be negative; "forever" waits without an end`)
	}
	*p = patience{d: d}
	return nil
}

// Type returns the name of the value in the help.
func (p *patience) Type() string { return "duration" }
