package adapterkit

import (
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/quorumlock/quorumlock/backend"
)

// A URL says how to reach one node: a server, the master of a Sentinel set, or a Cluster.
type URL struct {
	Network string // "tcp" or "unix"
	Address string // host:port, or the path of a socket
	Host    string // of the address; "" for a socket, a Sentinel set and a Cluster
	TLS     bool

	// Addresses are those of all sentinels that the URL names, or of all servers of a
	// Cluster. It is nil for one server.
	Addresses  []string
	MasterName string // of a Sentinel set, otherwise ""
	Cluster    bool

	User, Password string // the user is "" if there is only a password
	DB             int

	SentinelUser, SentinelPassword string // of the sentinels themselves

	// Files with a password, and files in PEM for TLS. [URL.Load] reads them.
	PasswordFile, SentinelPasswordFile string
	CAFile, CertFile, KeyFile          string

	// ServerName is the name that the server's certificate must have, if it is not the
	// host that is dialled.
	ServerName string

	// TLSConfig is set by [URL.Load] if TLS is.
	TLSConfig *tls.Config

	// Parameters is the rest of the query. Query is all of it, as it was written.
	Parameters url.Values
	Query      string
}

const (
	schemes    = "want redis://, rediss:// or unix://"
	allSchemes = schemes + "; for a Sentinel set redis+sentinel://, for a Cluster redis+cluster://"
	escapes    = "in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"
)

// ErrParameter completes a sentence like the errors of [ParseURL]. It is for adapters that
// know no other parameters than [ParseURL].
var ErrParameter = errors.New("has an unknown parameter in its query: want ?db=0, or those for TLS, password files, Sentinel and Cluster")

// ParseURL parses the URL of one node, so that all adapters accept the same ones:
//
//	redis://user:password@host:port/db
//	rediss://user:password@host:port/db     with TLS
//	unix://user:password@/path/to.sock?db=N
//	redis+sentinel://user:password@host:port/db?master_name=NAME&addr=host:port&addr=host:port
//	redis+cluster://user:password@host:port?addr=host:port&addr=host:port
//
// rediss+sentinel and rediss+cluster use TLS. Everything but the scheme, the path of a
// socket, and the master_name may be missing. The defaults are localhost, port 6379 (of a
// sentinel 26379) and database 0; an empty string is redis://localhost:6379/0. The
// database may also be given as ?db=N. A port needs a host, and a user a password, as [URL.Load]
// checks. These parameters may follow:
//
//	password_file=PATH             a file with the password
//	tls_ca=PATH                    the certificates of the authorities to trust, instead of the system's
//	tls_cert=PATH&tls_key=PATH     the client's certificate, and its key
//	tls_server_name=NAME           the name in the server's certificate, if it is not the host's
//	addr=HOST:PORT                 another sentinel, or another server of the Cluster
//	sentinel_username=USER, sentinel_password=PASSWORD, sentinel_password_file=PATH
//	                               for the sentinels, which do not use the master's password
//
// ParseURL does no I/O. [URL.Load] reads the files. The error completes a sentence that
// begins with "the URL". It quotes no part of the URL, because any part may belong to a
// password that is not percent-encoded.
func ParseURL(rawURL string) (URL, error) {
	if rawURL == "" {
		rawURL = "redis://"
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return URL{}, errors.New("does not parse: " + schemes + ", and " + escapes)
	case !strings.Contains(rawURL, "://") || u.Opaque != "":
		return URL{}, errors.New("has no scheme: " + allSchemes)
	}
	parsed := URL{Query: u.RawQuery}
	scheme, kind, compound := strings.Cut(u.Scheme, "+")
	switch {
	case scheme != "redis" && scheme != "rediss" && u.Scheme != "unix",
		compound && kind != "sentinel" && kind != "cluster":
		return URL{}, errors.New("has an unknown scheme: " + allSchemes)
	case strings.Contains(rawURL, "#"):
		return URL{}, errors.New("has a fragment: " + escapes)
	case strings.Count(rawURL, "@") > 1 || strings.Contains(u.RawQuery+u.EscapedPath(), "@"):
		return URL{}, errors.New("has more than one @, or one after its host: " + escapes)
	}

	parsed.User = u.User.Username()
	parsed.Password, _ = u.User.Password()
	path := strings.Trim(u.Path, "/ ")
	if u.Scheme == "unix" {
		if u.Host != "" || path == "" {
			return URL{}, errors.New("lacks an absolute path: want unix:///path/to.sock")
		}
		parsed.Network, parsed.Address, path = "unix", strings.TrimSpace(u.Path), ""
	} else {
		port := "6379"
		if kind == "sentinel" {
			port = "26379"
		}
		parsed.Network, parsed.TLS, parsed.Cluster = "tcp", scheme == "rediss", kind == "cluster"
		if parsed.Host, parsed.Address, err = splitAddress(u.Host, port); err != nil {
			return URL{}, err
		}
		if compound {
			parsed.Host, parsed.Addresses = "", []string{parsed.Address}
		}
	}
	if parsed.Parameters, err = url.ParseQuery(u.RawQuery); err != nil {
		return URL{}, errors.New("has a query that does not parse: want NAME=VALUE with an & between parameters")
	}
	if err := parsed.database(path); err != nil {
		return URL{}, err
	}
	if err := parsed.take(kind); err != nil {
		return URL{}, err
	}
	return parsed, nil
}

// splitAddress returns the host of an address, and the address with a port.
func splitAddress(hostport, defaultPort string) (host, address string, err error) {
	u := url.URL{Host: hostport}
	host, port := u.Hostname(), u.Port()
	switch {
	case host == "" && port != "":
		// What looks like a port may be a password without its host.
		return "", "", errors.New("has a port and no host: write redis://localhost:PORT, and a password as redis://:PASSWORD@HOST:PORT")
	case !backend.PlainAddress(hostport):
		return "", "", errors.New("has a host or port that cannot be one: want host:" + defaultPort + ", and " + escapes)
	case host == "":
		host = "localhost"
	}
	if port == "" {
		port = defaultPort
	}
	return host, net.JoinHostPort(host, port), nil
}

// database takes the number of the database from the path and from the parameter db.
func (p *URL) database(path string) error {
	for _, db := range p.Parameters["db"] {
		if path != "" && path != db {
			return errors.New("names more than one database: want one, in its path or as db")
		}
		path = db
	}
	if path != "" || p.Parameters.Has("db") {
		db, err := strconv.ParseUint(path, 10, 31)
		if err != nil {
			return errors.New("has a path or db that is not a database number: want a number from 0, as in redis://host:6379/0")
		}
		p.DB = int(db)
	}
	p.Parameters.Del("db")
	return nil
}
