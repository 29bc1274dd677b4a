package adapterkit

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
)

// A URL says how to reach one server.
type URL struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of a socket
	Host    string // of the address, for TLS; "" for a socket
	TLS     bool

	User, Password string // the user is "" if there is only a password
	DB             int

	// Parameters is the rest of the query, without db.
	Parameters url.Values
}

const (
	schemes = "want redis://, rediss:// or unix://"
	escapes = "in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"
)

// ErrParameter completes a sentence like the errors of [ParseURL]. It is for adapters that
// know no parameter but db.
var ErrParameter = errors.New("has an unknown parameter in its query: want ?db=0")

// ParseURL parses the URL of one server, so that all adapters accept the same ones:
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db     with TLS
//	unix://user:password@/path/to.sock?db=N
//
// Everything but the scheme, and the path of a socket, may be missing. The defaults are
// localhost, port 6379 and database 0; an empty string is redis://localhost:6379/0. The
// database may also be given as ?db=N. A port needs a host, and a user a password.
//
// The error completes a sentence that begins with "the URL". It quotes no part of the URL,
// because any part may belong to a password that is not percent-encoded.
func ParseURL(rawURL string) (URL, error) {
	if rawURL == "" {
		rawURL = "redis://"
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return URL{}, errors.New("does not parse: " + schemes + ", and " + escapes)
	case !strings.Contains(rawURL, "://") || u.Opaque != "":
		return URL{}, errors.New("has no scheme: " + schemes)
	case u.Scheme != "redis" && u.Scheme != "rediss" && u.Scheme != "unix":
		return URL{}, errors.New("has an unknown scheme: " + schemes)
	case strings.Contains(rawURL, "#"):
		return URL{}, errors.New("has a fragment: " + escapes)
	case strings.Count(rawURL, "@") > 1 || strings.Contains(u.RawQuery+u.EscapedPath(), "@"):
		return URL{}, errors.New("has more than one @, or one after its host: " + escapes)
	}

	parsed := URL{User: u.User.Username()}
	parsed.Password, _ = u.User.Password()
	if parsed.User != "" && parsed.Password == "" {
		return URL{}, errors.New("has a user without a password: write a password alone as :PASSWORD@HOST")
	}
	path := strings.Trim(u.Path, "/ ")
	if u.Scheme == "unix" {
		if u.Host != "" || path == "" {
			return URL{}, errors.New("lacks an absolute path: want unix:///path/to.sock")
		}
		parsed.Network, parsed.Address, path = "unix", strings.TrimSpace(u.Path), ""
	} else if err := parsed.tcp(u); err != nil {
		return URL{}, err
	}
	if parsed.Parameters, err = url.ParseQuery(u.RawQuery); err != nil {
		return URL{}, errors.New("has a query that does not parse: want NAME=VALUE with an & between parameters")
	}
	for _, db := range parsed.Parameters["db"] {
		if path != "" && path != db {
			return URL{}, errors.New("names more than one database: want one, in its path or as db")
		}
		path = db
	}
	if path != "" || parsed.Parameters.Has("db") {
		db, err := strconv.ParseUint(path, 10, 31)
		if err != nil {
			return URL{}, errors.New("has a path or db that is not a database number: want a number from 0, as in redis://host:6379/0")
		}
		parsed.DB = int(db)
	}
	parsed.Parameters.Del("db")
	return parsed, nil
}

// tcp takes the host and the port of u.
func (p *URL) tcp(u *url.URL) error {
	host, port := u.Hostname(), u.Port()
	switch {
	case host == "" && port != "":
		// What looks like a port may be a password without its host.
		return errors.New("has a port and no host: write redis://localhost:PORT, and a password as redis://:PASSWORD@HOST:PORT")
	case !backend.PlainAddress(u.Host):
		return errors.New("has a host or port that cannot be one: want host:6379, and " + escapes)
	case host == "":
		host = "localhost"
	}
	if port == "" {
		port = "6379"
	}
	p.Network, p.Address, p.Host, p.TLS = "tcp", net.JoinHostPort(host, port), host, u.Scheme == "rediss"
	return nil
}
