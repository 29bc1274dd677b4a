package goredis

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// NewClient returns a client for one server, or for the master of a Sentinel set, with
// settings that suit locks. It reads the files that the URL names, and does no other I/O.
// The caller owns the client and closes it. The URL is one of
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db     with TLS
//	unix://user:password@/path/to.sock?db=N
//	redis+sentinel://user:password@host:port/db?master_name=NAME&addr=host:port&addr=host:port
//
// Everything except the scheme, the path of a socket, and the master_name may be omitted;
// an empty string is redis://localhost:6379/0. A port needs a host, and a user needs a
// password. In user and password, percent-encode the characters that have a meaning in a
// URL. The parameters for TLS, password files and sentinels are those of
// [adapterkit.ParseURL], such as ?tls_ca=/etc/redis/ca.pem. Those of [redis.ParseURL] may
// follow, such as ?db=1&pool_size=5. An error quotes no part of the URL except the name of
// a file, because any part may belong to a password. For a Cluster, use
// [NewUniversalClient]. The client of a Sentinel set does not tell its addresses, so give
// its node a name: New(client, WithName(…)).
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
	u, err := adapterkit.ParseURL(rawURL)
	if err == nil && u.Cluster {
		err = errors.New("is that of a Cluster, which needs another type of client: want NewUniversalClient")
	}
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}
	client, err := NewFromURL(u)
	if err != nil {
		return nil, err
	}
	return client.(*redis.Client), nil // with a URL that is not that of a Cluster
}

// NewUniversalClient is [NewClient] for any URL of [adapterkit.ParseURL], including
//
//	redis+cluster://user:password@host:port?addr=host:port&addr=host:port
//
// The client is a [*redis.ClusterClient] for a Cluster, and otherwise a [*redis.Client].
func NewUniversalClient(rawURL string) (redis.UniversalClient, error) {
	u, err := adapterkit.ParseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}
	return NewFromURL(u)
}

// NewFromURL is [NewUniversalClient] for a parsed URL, which the caller may have changed.
func NewFromURL(u adapterkit.URL) (redis.UniversalClient, error) {
	o, err := parse(u, redis.ParseURL)
	if err == nil {
		err = u.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}
	if u.TLS {
		// The driver's may skip the check of the certificate, if the URL says so.
		u.TLSConfig.InsecureSkipVerify = o.TLSConfig.InsecureSkipVerify
	}
	switch {
	case u.Cluster:
		return clusterClient(u)
	case u.MasterName != "":
		return sentinelClient(u)
	}
	o.Network, o.Addr, o.Username, o.Password, o.DB, o.TLSConfig = u.Network, u.Address, u.User, u.Password, u.DB, u.TLSConfig
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.MaxRetries = cmp.Or(o.MaxRetries, -1)
	o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
	o.ConnMaxIdleTime = cmp.Or(o.ConnMaxIdleTime, idleTime)
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClient(o), nil
}

const (
	dialTimeout = 3 * time.Second
	idleTime    = 3 * time.Minute
)

func sentinelClient(u adapterkit.URL) (redis.UniversalClient, error) {
	o, err := parse(u, redis.ParseFailoverURL)
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}
	o.MasterName, o.SentinelAddrs = u.MasterName, u.Addresses
	o.SentinelUsername, o.SentinelPassword = u.SentinelUser, u.SentinelPassword
	o.Username, o.Password, o.DB, o.TLSConfig = u.User, u.Password, u.DB, u.TLSConfig
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.MaxRetries = cmp.Or(o.MaxRetries, -1)
	o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
	o.ConnMaxIdleTime = cmp.Or(o.ConnMaxIdleTime, idleTime)
	o.DisableIdentity = true
	return redis.NewFailoverClient(o), nil
}

func clusterClient(u adapterkit.URL) (redis.UniversalClient, error) {
	o, err := parse(u, redis.ParseClusterURL)
	if err != nil {
		return nil, fmt.Errorf("goredis: the URL %w", err)
	}
	o.Addrs, o.Username, o.Password, o.TLSConfig = u.Addresses, u.User, u.Password, u.TLSConfig
	o.ContextTimeoutEnabled = true
	o.DialerRetries = 1
	o.DialTimeout = cmp.Or(o.DialTimeout, dialTimeout)
	o.ConnMaxIdleTime = cmp.Or(o.ConnMaxIdleTime, idleTime)
	o.DisableIdentity = true
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	return redis.NewClusterClient(o), nil
}

// parse returns the driver's options for the parameters of u, by one of its parsers. Its
// error completes a sentence that begins with "the URL", and quotes no part of it. The
// driver's own errors do quote it.
func parse[T any](u adapterkit.URL, parser func(string) (T, error)) (T, error) {
	form := "redis://localhost?"
	if u.TLS {
		form = "rediss://localhost?"
	}
	o, err := parser(form + u.Parameters.Encode())
	if err == nil {
		return o, nil
	}
	// Find the parameter. Name it only if the driver knows it, because others may be the
	// rest of a password.
	for i, parameter := range strings.Split(u.Query, "&") {
		values, _ := url.ParseQuery(parameter)
		for name := range values {
			if !u.Parameters.Has(name) {
				continue
			}
			_, err := parser(form + values.Encode())
			switch {
			case err == nil:
			case strings.HasPrefix(err.Error(), "redis: unexpected option"):
				return o, fmt.Errorf("has an unknown parameter, number %d of its query: see redis.ParseURL", i+1)
			default:
				return o, fmt.Errorf("has the parameter %s with a value that the driver rejects: see redis.ParseURL", name)
			}
		}
	}
	return o, errors.New("has parameters that the driver rejects: see redis.ParseURL")
}
