package goredis

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/quorumlock/quorumlock/backend"
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
// the characters that mean something in a URL are percent-encoded. The
// parameters that [redis.ParseURL] knows may follow, such as
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

const (
	schemes = "want redis://, rediss:// or unix://"
	escapes = "in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"
)

// parse returns what rawURL says. Its error completes a sentence that begins with "the
// URL", and quotes nothing of it: where a password is not percent-encoded, any part of
// the URL may belong to it. The driver's own errors do quote it.
func parse(rawURL string) (*redis.Options, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, errors.New("does not parse: " + schemes + ", and " + escapes)
	case !strings.Contains(rawURL, "://"):
		return nil, errors.New("has no scheme: " + schemes)
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return nil, errors.New("has an unknown scheme: " + schemes)
	case strings.Contains(rawURL, "#"):
		return nil, errors.New("has a fragment: " + escapes)
	case strings.Count(rawURL, "@") > 1 || strings.Contains(u.RawQuery+u.EscapedPath(), "@"):
		return nil, errors.New("has more than one @, or one after its host: " + escapes)
	case u.Scheme == "unix" && (u.Host != "" || strings.Trim(u.Path, "/ ") == ""):
		return nil, errors.New("lacks an absolute path: want unix:///path/to.sock")
	case u.Hostname() == "" && u.Port() != "":
		// What looks like a port may be a password without its host.
		return nil, errors.New("has a port and no host: write redis://localhost:PORT, and a password as redis://:PASSWORD@HOST:PORT")
	case !backend.PlainAddress(u.Host):
		return nil, errors.New("has a host or port that cannot be one: want host:6379, and " + escapes)
	}
	if db := strings.Trim(u.Path, "/"); u.Scheme != "unix" && db != "" {
		if _, err := strconv.ParseUint(db, 10, 31); err != nil {
			return nil, errors.New("has a path that is not a database number: want a number from 0, as in redis://host:6379/0")
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has a query that does not parse: want NAME=VALUE with an & between parameters")
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		return nil, parameterError(u)
	}
	if query.Has("db") && o.DB < 0 {
		return nil, errors.New("has a db that is not a database number: want a number from 0")
	}
	return o, nil
}

// parameterError says which parameter of the query of u the driver rejects. It names a
// parameter that the driver knows. What it does not know may be the rest of a password.
func parameterError(u *url.URL) error {
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
