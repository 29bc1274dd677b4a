package rueidis

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// NewClient returns a client for the one server at rawURL, with settings that
// suit locks. The caller owns it and closes it. An error means that rawURL is
// wrong. It quotes no part of it, because any part may belong to a password.
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0         over TLS
//	unix://user:password@/path/to.sock?db=0
//
// User, password, port and database may be left out, and all of it: the empty
// string stands for redis://localhost:6379/0. A port needs a host. User and password are
// percent-encoded. The database may be given as ?db= everywhere. For all else,
// a Sentinel set and a Cluster too, make a client with rueidis.NewClient.
//
// NewClient does no I/O, unlike the driver's, which fails while the server is
// down: the first use connects, and so does each use after a failure. The
// settings that differ from the driver's defaults are
//
//   - ForceSingleClient: not to ask whether the server is a Cluster;
//   - DisableCache: no CLIENT TRACKING, which locks have no use for;
//   - DisableRetry: of no effect on what a Node sends, which is never repeated;
//   - PipelineMultiplex -1: one connection, as a Node uses one;
//   - ConnWriteTimeout 3 s: a connection without an answer for so long is given
//     up, an idle one after two seconds more;
//   - ReadBufferEachConn and WriteBufferEachConn 64 KiB in place of 512.
func NewClient(rawURL string) (rueidis.Client, error) {
	option, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("rueidis: the URL %w", err)
	}
	option.ForceSingleClient = true
	option.DisableCache = true
	option.DisableRetry = true
	option.PipelineMultiplex = -1
	option.ConnWriteTimeout = 3 * time.Second
	option.ReadBufferEachConn = 64 << 10
	option.WriteBufferEachConn = 64 << 10

	// The driver connects at once, but a single client that fails to is as good
	// as any: it connects when it is used. So that one attempt fails unmade.
	// ErrClosing is what a client without a connection has as its error from the
	// start.
	var made atomic.Bool
	dial := option.DialCtxFn
	option.DialCtxFn = func(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
		if !made.Load() {
			return nil, rueidis.ErrClosing
		}
		return dial(ctx, address, dialer, config)
	}
	client, err := rueidis.NewClient(option)
	made.Store(true)
	if err != nil && (client == nil || !errors.Is(err, rueidis.ErrClosing)) {
		return nil, fmt.Errorf("rueidis: %w", backend.HideAddress(err))
	}
	return client, nil
}

const (
	schemes = "want redis://, rediss:// or unix://"
	escapes = "in a user name or password, write @ as %40, / as %2F, ? as %3F, # as %23 and % as %25"
)

// parse reads a URL. Its error completes a sentence that begins with "the URL", and
// quotes nothing of it: where a password is not percent-encoded, any part of the URL may
// belong to it.
func parse(rawURL string) (rueidis.ClientOption, error) {
	option := rueidis.ClientOption{DialCtxFn: dialTCP}
	if rawURL == "" {
		rawURL = "redis://localhost:6379/0"
	}
	u, err := url.Parse(rawURL)
	switch {
	case err != nil:
		return option, errors.New("does not parse: " + schemes + ", and " + escapes)
	case !strings.Contains(rawURL, "://"):
		return option, errors.New("has no scheme: " + schemes)
	case strings.Contains(rawURL, "#"):
		return option, errors.New("has a fragment: " + escapes)
	case strings.Count(rawURL, "@") > 1 || strings.Contains(u.RawQuery+u.EscapedPath(), "@"):
		return option, errors.New("has more than one @, or one after its host: " + escapes)
	}

	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis":
	case "rediss":
		option.TLSConfig = &tls.Config{ServerName: hostname(u), MinVersion: tls.VersionTLS12}
		option.DialCtxFn = dialTLS
	case "unix":
		if u.Host != "" || path == "" {
			return option, errors.New("lacks an absolute path: want unix:///path/to.sock")
		}
		option.InitAddress = []string{u.Path}
		option.DialCtxFn = dialUnix
		path = ""
	default:
		return option, errors.New("has an unknown scheme: " + schemes)
	}
	if option.InitAddress == nil {
		switch {
		case u.Hostname() == "" && u.Port() != "":
			// What looks like a port may be a password without its host.
			return option, errors.New("has a port and no host: write redis://localhost:PORT, and a password as redis://:PASSWORD@HOST:PORT")
		case !backend.PlainAddress(u.Host):
			return option, errors.New("has a host or port that cannot be one: want host:6379, and " + escapes)
		}
		option.InitAddress = []string{net.JoinHostPort(hostname(u), cmp.Or(u.Port(), "6379"))}
	}

	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return option, errors.New("has a query that does not parse: want ?db=0")
	}
	for name, values := range query {
		if name != "db" || len(values) > 1 || path != "" {
			return option, errors.New("has a parameter other than db, or more than one database: want one, in its path or as db")
		}
		path = values[0]
	}
	if path != "" {
		if option.SelectDB, err = strconv.Atoi(path); err != nil || option.SelectDB < 0 {
			return option, errors.New("has a path or db that is not a database number: want a number from 0, as in redis://host:6379/0")
		}
	}
	option.Username = u.User.Username()
	option.Password, _ = u.User.Password()
	return option, nil
}

func hostname(u *url.URL) string {
	if u.Hostname() == "" {
		return "localhost"
	}
	return u.Hostname()
}

func dialTCP(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return dialer.DialContext(ctx, "tcp", address)
}

func dialTLS(ctx context.Context, address string, dialer *net.Dialer, config *tls.Config) (net.Conn, error) {
	d := tls.Dialer{NetDialer: dialer, Config: config}
	return d.DialContext(ctx, "tcp", address)
}

func dialUnix(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
	return dialer.DialContext(ctx, "unix", address)
}
