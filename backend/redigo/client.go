package redigo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	schemes = "want redis://, rediss:// or unix://"
	escapes = "in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"

	// setUp bounds each step of a dial, and each read and write of a command
	// that comes without a deadline of its own.
	setUp = 5 * time.Second
)

// NewPool returns a pool for the server at rawURL, which the caller owns and
// closes. It does no I/O. The forms are
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0   over TLS
//	unix://user:password@/path/to.sock?db=0
//
// of which everything between the scheme and the path may be left out: the
// host is localhost by default, the port 6379, the database 0, and the empty
// string is redis://localhost:6379/0. A port needs a host. The database may be
// given as ?db=0 in all of them. A user needs a password, a password no user;
// special characters in them are percent-encoded. The error for anything else
// quotes no part of the URL, because any part may belong to a password.
//
// The pool is meant for locks, and can serve other users beside them. It dials
// with the context of the call that needs a connection, within 5 seconds for
// each step. It keeps up to 64 idle connections for 4 minutes each, and sets no
// limit to those in use. An idle connection is not tested before it is used: a
// Node reports a stale one and closes the others, and the core sends again. Reads and writes that
// others do without a deadline end after 5 seconds. TLS checks the server's
// certificate against the system's roots.
//
// A pool does not tell its address before it has dialled. To have it in all errors, name
// the node: New(pool, WithName(…)).
func NewPool(rawURL string) (*redis.Pool, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redigo: the URL %w", err)
	}
	return &redis.Pool{
		DialContext: t.dial,
		MaxIdle:     64,
		IdleTimeout: 4 * time.Minute,
	}, nil
}

// target is what a URL says.
type target struct {
	network, address string
	tls              bool
	user, password   string
	db               int
}

func (t *target) dial(ctx context.Context) (redis.Conn, error) {
	dialer := &net.Dialer{Timeout: setUp}
	dial := dialer.DialContext
	if t.tls {
		// Not redigo's own TLS, whose handshake does not know the context.
		dial = (&tls.Dialer{NetDialer: dialer}).DialContext
	}
	return redis.DialContext(ctx, t.network, t.address,
		redis.DialContextFunc(dial),
		redis.DialReadTimeout(setUp),
		redis.DialWriteTimeout(setUp),
		redis.DialUsername(t.user),
		redis.DialPassword(t.password),
		redis.DialDatabase(t.db))
}

// parseURL returns what rawURL says. Its error completes a sentence that begins with
// "the URL", and quotes nothing of it: where a password is not percent-encoded, any part
// of the URL may belong to it.
func parseURL(rawURL string) (*target, error) {
	if rawURL == "" {
		rawURL = "redis://"
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("does not parse: %s, and %s", schemes, escapes)
	case u.Scheme == "":
		return nil, fmt.Errorf("has no scheme: %s", schemes)
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return nil, fmt.Errorf("has an unknown scheme: %s", schemes)
	case u.Opaque != "":
		return nil, fmt.Errorf("lacks the slashes after its scheme: %s", schemes)
	case strings.Contains(rawURL, "#"):
		return nil, fmt.Errorf("has a fragment: %s", escapes)
	case strings.Count(rawURL, "@") > 1 || strings.Contains(u.RawQuery+u.EscapedPath(), "@"):
		return nil, fmt.Errorf("has more than one @, or one after its host: %s", escapes)
	}

	t := &target{network: "tcp", tls: u.Scheme == "rediss"}
	if u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
		if t.password == "" && t.user != "" {
			return nil, errors.New("has a user without a password: write a password alone as :PASSWORD@HOST")
		}
	}

	db := ""
	if u.Scheme == "unix" {
		t.network, t.address = "unix", u.Path
		if u.Host != "" || u.Path == "" {
			return nil, errors.New("lacks an absolute path: want unix:///path/to.sock")
		}
	} else {
		host, port := u.Hostname(), u.Port()
		switch {
		case host == "" && port != "":
			// What looks like a port may be a password without its host.
			return nil, errors.New("has a port and no host: write redis://localhost:PORT, and a password as redis://:PASSWORD@HOST:PORT")
		case !backend.PlainAddress(u.Host):
			return nil, fmt.Errorf("has a host or port that cannot be one: want host:6379, and %s", escapes)
		case host == "":
			host = "localhost"
		}
		if port == "" {
			port = "6379"
		}
		t.address = net.JoinHostPort(host, port)
		db = strings.TrimPrefix(u.Path, "/")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errors.New("has a query that does not parse: want ?db=0")
	}
	for name, values := range query {
		if name != "db" {
			return nil, errors.New("has an unknown parameter in its query: want ?db=0")
		}
		if len(values) > 1 || db != "" && db != values[0] {
			return nil, errors.New("names more than one database: want one, in its path or as db")
		}
		db = values[0]
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 31)
		if err != nil {
			return nil, errors.New("has a path or db that is not a database number: want a number from 0, as in redis://host:6379/0")
		}
		t.db = int(n)
	}
	return t, nil
}
