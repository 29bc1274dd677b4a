package rueidis

import (
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
)

// NewClient returns a client for the one server at rawURL, with settings that
// suit locks. The caller owns it and closes it. An error means that rawURL is
// wrong; it names the URL without its password.
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0         over TLS
//	unix://user:password@/path/to.sock?db=0
//
// User, password, port and database may be left out, and all of it: the empty
// string stands for redis://localhost:6379/0. User and password are
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
		return nil, fmt.Errorf("rueidis: URL %q: %w", redact(rawURL), err)
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
		return nil, fmt.Errorf("rueidis: URL %q: %w", redact(rawURL), err)
	}
	return client, nil
}

// parse reads a URL. Its errors quote nothing of it: where a password is not
// encoded, any part may be one.
func parse(rawURL string) (rueidis.ClientOption, error) {
	option := rueidis.ClientOption{DialCtxFn: dialTCP}
	if rawURL == "" {
		rawURL = "redis://localhost:6379/0"
	}
	if !strings.Contains(rawURL, "://") {
		return option, errScheme
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return option, errors.New("malformed; in a user or password, percent-encode what is no letter or digit")
	}

	path := strings.Trim(u.Path, "/")
	switch u.Scheme {
	case "redis":
	case "rediss":
		option.TLSConfig = &tls.Config{ServerName: hostname(u), MinVersion: tls.VersionTLS12}
		option.DialCtxFn = dialTLS
	case "unix":
		if u.Host != "" || path == "" {
			return option, errors.New("want unix:///path/to.sock")
		}
		option.InitAddress = []string{u.Path}
		option.DialCtxFn = dialUnix
		path = ""
	default:
		return option, errScheme
	}
	if option.InitAddress == nil {
		port := u.Port()
		if port == "" {
			port = "6379"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return option, errors.New("the port is no port")
		}
		option.InitAddress = []string{net.JoinHostPort(hostname(u), port)}
	}

	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" {
		return option, errors.New("malformed behind the path")
	}
	for name, values := range query {
		if name != "db" || len(values) > 1 || path != "" {
			return option, errors.New("the one parameter is db, once, and not beside a database in the path")
		}
		path = values[0]
	}
	if path != "" {
		if option.SelectDB, err = strconv.Atoi(path); err != nil || option.SelectDB < 0 {
			return option, errors.New("the database is no number")
		}
	}
	option.Username = u.User.Username()
	option.Password, _ = u.User.Password()
	return option, nil
}

var errScheme = errors.New("unknown scheme, want redis://, rediss:// or unix://")

func hostname(u *url.URL) string {
	if u.Hostname() == "" {
		return "localhost"
	}
	return u.Hostname()
}

// redact returns rawURL without user, password and parameters, also where these
// are not encoded and nothing else can be told apart.
func redact(rawURL string) string {
	scheme, rest, ok := strings.Cut(rawURL, "://")
	if !ok {
		return "…"
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 {
		rest = "…" + rest[at:]
	} else if _, err := url.Parse(rawURL); err != nil {
		rest = "…" // what looks like a port may be a password
	}
	if end := strings.IndexAny(rest, "?#"); end >= 0 {
		rest = rest[:end]
	}
	return scheme + "://" + rest
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
