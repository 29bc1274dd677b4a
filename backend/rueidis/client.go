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

// NewClient returns a client for the one server at rawURL, with settings that suit locks.
// The caller owns the client and closes it. The URL is one of
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0         over TLS
//	unix://user:password@/path/to.sock?db=0
//
// User, password, port and database may be omitted, and so may everything: the empty
// string is redis://localhost:6379/0. A port needs a host, and a user needs a password.
// Percent-encode user and password. The database may always be given as ?db=. For
// everything else, including a Sentinel set and a Cluster, make a client with
// rueidis.NewClient. An error means that rawURL is wrong. It quotes no part of the URL,
// because any part may belong to a password.
//
// NewClient does no I/O, unlike the driver's, which fails while the server is down. The
// first use connects, and so does each use after a failure. These settings differ from
// the driver's defaults:
//
//   - ForceSingleClient: the client does not ask whether the server is a Cluster.
//   - DisableCache: no CLIENT TRACKING, which locks do not need.
//   - DisableRetry: no effect on the commands of a Node, which are never repeated.
//   - PipelineMultiplex -1: one connection, because a Node uses one.
//   - ConnWriteTimeout 3 s: a connection without an answer for so long is closed, an idle
//     one after two seconds more.
//   - ReadBufferEachConn and WriteBufferEachConn: 64 KiB instead of 512.
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

	// The driver connects at once. But if that fails, a client for one server still works,
	// and connects when it is used. So make this first attempt fail without I/O. ErrClosing
	// is the initial error of a client without a connection.
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

// parse returns the options in rawURL. Its error completes a sentence that begins with
// "the URL", and quotes no part of it.
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
