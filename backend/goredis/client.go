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

// NewClient returns a client for one server, made for locks. It does no I/O; the
// caller owns the client and closes it.
//
// The URL is one of
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db     with TLS
//	unix://user:password@/path/to.sock?db=N
//
// where all but the scheme, and the path of a socket, may be missing; an empty
// string is redis://localhost:6379/0. A port needs a host. In user and password
// the characters that mean something in a URL are percent-encoded. A user needs a
// password. The parameters that [redis.ParseURL] knows may follow, such as
// ?db=1&pool_size=5. An error quotes no part of the URL, because any part may
// belong to a password. For a Sentinel set or a Cluster make a client with [redis.NewFailoverClient] or [redis.NewClusterClient].
//
// Where the URL does not say otherwise the settings differ from the driver's
// defaults: commands heed the deadline of their context; nothing is sent or
// dialled a second time, as the locker does so where it is safe; a connection is
// given up when it could not be opened for 3 seconds, and when it was idle for
// 3 minutes, before a firewall drops it without a word; and the set-up of a
// connection is one round trip, two with a database other than 0.
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

// parse returns what rawURL says. Its error completes a sentence that begins with "the
// URL", and quotes nothing of it. The driver's own errors do quote it.
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

// parameterError says which parameter of the query of rawURL the driver rejects. It names a
// parameter that the driver knows. What it does not know may be the rest of a password.
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
