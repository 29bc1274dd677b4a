package redigo

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

const (
	schemes = "want redis://, rediss:// or unix://"

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
// string is redis://localhost:6379/0. The database may be given as ?db=0 in
// all of them. A user needs a password, a password no user; special characters
// in them are percent-encoded. The error for anything else does not show the
// password.
//
// The pool is meant for locks, and can serve other users beside them. It dials
// with the context of the call that needs a connection, within 5 seconds for
// each step. It keeps up to 64 idle connections for 4 minutes each, and sets no
// limit to those in use. An idle connection is not tested before it is used: a
// Node reports a stale one, and the core sends again. Reads and writes that
// others do without a deadline end after 5 seconds. TLS checks the server's
// certificate against the system's roots.
//
// A pool does not know its address, so name the node: New(pool, WithName(…)).
func NewPool(rawURL string) (*redis.Pool, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, fmt.Errorf("redigo: the URL %q %w", redacted(rawURL), err)
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

// parseURL returns what rawURL says. Its error goes on from the URL, and shows
// no part of a user or password.
func parseURL(rawURL string) (*target, error) {
	if rawURL == "" {
		rawURL = "redis://"
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("does not parse: %s, with special characters in user and password percent-encoded", schemes)
	case u.Scheme == "":
		return nil, fmt.Errorf("has no scheme: %s", schemes)
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return nil, fmt.Errorf("has the unknown scheme %q: %s", u.Scheme, schemes)
	case u.Opaque != "":
		return nil, fmt.Errorf("lacks the slashes after its scheme: %s", schemes)
	case u.Fragment != "":
		return nil, fmt.Errorf("has a fragment: a # in user or password is written %%23")
	}

	if strings.Contains(u.RawQuery, "@") || u.Scheme != "unix" && strings.Contains(u.Path, "@") {
		// Likely the rest of a password, so what follows would show it.
		return nil, fmt.Errorf("has an @ after its host: a @ or / in user or password is written %%40 or %%2F")
	}

	t := &target{network: "tcp", tls: u.Scheme == "rediss"}
	if u.User != nil {
		t.user = u.User.Username()
		t.password, _ = u.User.Password()
		if t.password == "" && t.user != "" {
			return nil, fmt.Errorf("has a user without a password: a password alone is written :password@")
		}
	}

	db := ""
	if u.Scheme == "unix" {
		t.network, t.address = "unix", u.Path
		if u.Host != "" || u.Path == "" {
			return nil, fmt.Errorf("lacks an absolute path: want unix:///path/to.sock")
		}
	} else {
		host, port := u.Hostname(), u.Port()
		if host == "" {
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
		return nil, fmt.Errorf("has a query that does not parse: want ?db=0")
	}
	for name, values := range query {
		if name != "db" {
			return nil, fmt.Errorf("has the unknown option %q: only db is known", name)
		}
		if len(values) > 1 || db != "" && db != values[0] {
			return nil, fmt.Errorf("names more than one database")
		}
		db = values[0]
	}
	if db != "" {
		n, err := strconv.ParseUint(db, 10, 31)
		if err != nil {
			return nil, fmt.Errorf("has the database %q: want a number from 0", db)
		}
		t.db = int(n)
	}
	return t, nil
}

// redacted returns rawURL without what may be a secret, or part of one where
// special characters were not encoded.
func redacted(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		scheme, rest = "", rawURL
	}
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		rest = "***" + rest[i:]
	}
	if i := strings.IndexAny(rest, "?#"); i >= 0 {
		rest = rest[:i+1] + "***"
	}
	if ok {
		return scheme + "://" + rest
	}
	return rest
}
