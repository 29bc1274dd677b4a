package goredis

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
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
// string is redis://localhost:6379/0. In user and password the characters that
// mean something in a URL are percent-encoded. The parameters that
// [redis.ParseURL] knows may follow, such as ?db=1&pool_size=5. An error names
// the URL without its user and password. For a Sentinel set or a Cluster make a
// client with [redis.NewFailoverClient] or [redis.NewClusterClient].
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
	u, err := url.Parse(rawURL)
	if err != nil {
		// What is wrong with it may quote the password.
		return nil, fmt.Errorf("goredis: %q is no valid URL: use redis://, rediss:// or unix://, with special characters in user and password percent-encoded", redact(rawURL))
	}
	switch u.Scheme {
	case "redis", "rediss", "unix":
	default:
		return nil, fmt.Errorf("goredis: unknown scheme in URL %q: use redis://, rediss:// or unix://", redact(rawURL))
	}
	o, err := redis.ParseURL(rawURL)
	if err != nil {
		// An unencoded slash makes the end of the password a part of the path.
		if strings.Contains(u.Path+u.RawQuery+u.Fragment, "@") {
			return nil, fmt.Errorf("goredis: URL %q is malformed", redact(rawURL))
		}
		return nil, fmt.Errorf("goredis: URL %q: %w", redact(rawURL), err)
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

// redact returns what of a URL, valid or not, may be shown: not what stands
// before the last @, where a password may be, and not its parameters.
func redact(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok || strings.ContainsAny(scheme, ":@/?#") {
		scheme, rest = "", rawURL
	} else {
		scheme += "://"
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "xxxxx" + rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i]
	}
	return scheme + rest
}
