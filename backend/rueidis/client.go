package rueidis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
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

// parse returns what rawURL says. Its error completes a sentence that begins with "the
// URL", and quotes nothing of it.
func parse(rawURL string) (rueidis.ClientOption, error) {
	u, err := adapterkit.ParseURL(rawURL)
	if err == nil && len(u.Parameters) > 0 {
		err = adapterkit.ErrParameter
	}
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	option := rueidis.ClientOption{
		InitAddress: []string{u.Address},
		DialCtxFn:   dialTCP,
		Username:    u.User,
		Password:    u.Password,
		SelectDB:    u.DB,
	}
	switch {
	case u.TLS:
		option.TLSConfig = &tls.Config{ServerName: u.Host, MinVersion: tls.VersionTLS12}
		option.DialCtxFn = dialTLS
	case u.Network == "unix":
		option.DialCtxFn = dialUnix
	}
	return option, nil
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
