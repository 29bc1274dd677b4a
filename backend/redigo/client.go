package redigo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// setUp limits each step of a dial, and each read and write of a command without a
// deadline of its own.
const setUp = 5 * time.Second

// NewPool returns a pool for the server at rawURL with settings that suit locks. It reads
// the files that the URL names, and does no other I/O. The caller owns the pool and closes
// it. The URL is one of
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0   over TLS
//	unix://user:password@/path/to.sock?db=0
//
// Everything between the scheme and the path may be omitted. The default host is
// localhost, the port 6379, and the database 0; the empty string is
// redis://localhost:6379/0. A port needs a host. The database may always be given as
// ?db=0. A user needs a password, but a password needs no user. Percent-encode special
// characters in them. The parameters for TLS and a password file are those of
// [adapterkit.ParseURL], such as ?tls_ca=/etc/redis/ca.pem. An error quotes no part of the
// URL except the name of a file, because any part may belong to a password. The URL of a
// Sentinel set or a Cluster is an error, because redigo supports neither.
//
// Other users may share the pool. It dials with the context of the call that needs a
// connection, within 5 seconds for each step. It keeps up to 64 idle connections for 4
// minutes each, and does not limit those in use. It does not test an idle connection
// before use: a Node reports a stale one and closes the others, and the core sends again.
// Reads and writes of other users without a deadline end after 5 seconds. TLS checks the
// server's certificate against the system's roots, or those in tls_ca.
//
// A pool does not tell its address before it has dialled. To have it in all errors, name
// the node: New(pool, WithName(…)).
func NewPool(rawURL string) (*redis.Pool, error) {
	u, err := adapterkit.ParseURL(rawURL)
	switch {
	case err != nil:
	case u.Addresses != nil:
		err = errOneServer
	case len(u.Parameters) > 0:
		err = adapterkit.ErrParameter
	default:
		err = u.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("redigo: the URL %w", err)
	}
	return &redis.Pool{
		DialContext: func(ctx context.Context) (redis.Conn, error) { return dial(ctx, u) },
		MaxIdle:     64,
		IdleTimeout: 4 * time.Minute,
	}, nil
}

var errOneServer = errors.New("is that of a Sentinel set or a Cluster, which redigo does not support: want the adapter for go-redis, rueidis or valkey-go, " +
	"or for a Sentinel set a pool of your own that asks the sentinels for the master")

// dial opens a connection to the server at u.
func dial(ctx context.Context, u adapterkit.URL) (redis.Conn, error) {
	dialer := &net.Dialer{Timeout: setUp}
	dial := dialer.DialContext
	if u.TLS {
		// Not redigo's own TLS, because its handshake ignores the context.
		dial = (&tls.Dialer{NetDialer: dialer, Config: u.TLSConfig}).DialContext
	}
	return redis.DialContext(ctx, u.Network, u.Address,
		redis.DialContextFunc(dial),
		redis.DialReadTimeout(setUp),
		redis.DialWriteTimeout(setUp),
		redis.DialUsername(u.User),
		redis.DialPassword(u.Password),
		redis.DialDatabase(u.DB))
}
