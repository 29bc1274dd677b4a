package goredis

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// NewClient returns a client for one server with settings that suit locks. It does no
// I/O. The caller owns the client and closes it. The URL is one of
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db     with TLS
//	unix://user:password@/path/to.sock?db=N
//
// Everything except the scheme, and the path of a socket, may be omitted; an empty string
// is redis://localhost:6379/0. A port needs a host, and a user needs a password. In user
// and password, percent-encode the characters that have a meaning in a URL. The
// parameters of [redis.ParseURL] may follow, such as ?db=1&pool_size=5. An error quotes
// no part of the URL, because any part may belong to a password. For a Sentinel set or a
// Cluster make a client with [redis.NewFailoverClient] or [redis.NewClusterClient].
//
// Unless the URL says otherwise, these settings differ from the driver's defaults:
//
//   - Commands end at the deadline of their context.
//   - Nothing is sent or dialled a second time, because the locker does so where it is
//     safe.
//   - An attempt to open a connection ends after 3 seconds.
//   - A connection that was idle for 3 minutes is closed, before a firewall drops it
//     silently.
//   - The set-up of a connection takes one round trip, or two with a database other than
//     0.
func NewClient(rawURL string) (*redis.Client, error) {
	if rawURL == "" {
		rawURL = "redis://localhost:6379/0"
	}
	o, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}

	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	if o.MaxRetries == 0 {
		o.MaxRetries = -1
	}
	if o.DialTimeout == 0 {
		o.DialTimeout = 3 * time.Second
	}
	if o.ConnMaxIdleTime == 0 {
		o.ConnMaxIdleTime = 3 * time.Minute
	}
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

// parse returns the options in rawURL. Its error completes a sentence that begins with
// "the URL", and quotes no part of it. The driver's own errors do quote it.
func parse(rawURL string) (*redis.Options, error) {
	u, err := adapterkit.ParseURL(rawURL)
	if err != nil {
		return nil, err
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, parameterError(rawURL)
	}
	o.DB = u.DB
	return o, nil
}

// parameterError says which parameter in the query of rawURL the driver rejects. It names
// only parameters that the driver knows, because others may be the rest of a password.
func parameterError(rawURL string) error {
	u, err := url.Parse(rawURL)
	if err != nil {
		return errors.New("does not parse") // not reached: adapterkit.ParseURL has parsed it
	}
	one := *u
	for i, parameter := range strings.Split(u.RawQuery, "&") {
		one.RawQuery = parameter
		_, err := redis.ParseURL(one.String())
		if err == nil {
			continue
		}
		name, _, _ := strings.Cut(parameter, "=")
		if strings.HasPrefix(err.Error(), "redis: unexpected option") {
			return fmt.Errorf("has an unknown parameter, number %d of its query: see redis.ParseURL", i+1)
		}
		return fmt.Errorf("has the parameter %s with a value that the driver rejects: see redis.ParseURL", name)
	}
	return errors.New("has parameters that the driver rejects: see redis.ParseURL")
}
