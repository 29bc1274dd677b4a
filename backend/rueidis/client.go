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

// NewClient returns a client for the server, Sentinel set or Cluster at rawURL, with
// settings that suit locks. The caller owns the client and closes it. The URL is one of
//
//	redis://user:password@host:6379/0
//	rediss://user:password@host:6379/0         over TLS
//	unix://user:password@/path/to.sock?db=0
//	redis+sentinel://user:password@host:26379/0?master_name=NAME&addr=host:26379
//	redis+cluster://user:password@host:6379?addr=host:6379
//
// User, password, port and database may be omitted, and so may everything: the empty
// string is redis://localhost:6379/0. A port needs a host, and a user needs a password.
// Percent-encode user and password. The database may always be given as ?db=. The
// parameters for TLS, password files and sentinels are those of [adapterkit.ParseURL],
// such as ?tls_ca=/etc/redis/ca.pem. For everything else make a client with
// rueidis.NewClient. An error that begins with "rueidis: the URL" quotes no part of it
// except the name of a file, because any part may belong to a password.
//
// For one server NewClient reads the files that the URL names, and does no other I/O,
// unlike the driver's, which fails while the server is down. The first use connects, and
// so does each use after a failure. For a Sentinel set or a Cluster the driver connects at
// once. NewClient then blocks for up to several seconds, and fails if none of the
// addresses answers, or if the sentinels do not know the master.
//
// These settings differ from the driver's defaults:
//
//   - ForceSingleClient for one server: the client does not ask whether it is a Cluster.
//   - DisableCache: no CLIENT TRACKING, which locks do not need.
//   - DisableRetry: no effect on the commands of a Node, which are never repeated.
//   - PipelineMultiplex -1: one connection to a server, because a Node uses one.
//   - ConnWriteTimeout 3 s: a connection without an answer for so long is closed, an idle
//     one after two seconds more.
//   - ReadBufferEachConn and WriteBufferEachConn: 64 KiB instead of 512.
func NewClient(rawURL string) (rueidis.Client, error) {
	option, err := parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("rueidis: the URL %w", err)
	}
	if !option.ForceSingleClient {
		return connect(option)
	}
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

// connect returns a client for a Sentinel set or a Cluster.
func connect(option rueidis.ClientOption) (rueidis.Client, error) {
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("rueidis: %w", backend.HideAddress(err))
	}
	if option.Sentinel.MasterSet == "" && client.Mode() != rueidis.ClientModeCluster {
		client.Close()
		return nil, errors.New("rueidis: the URL is that of a Cluster, but the server does not belong to one: want redis://")
	}
	return client, nil
}

// parse returns the options in rawURL. Its error completes a sentence that begins with
// "the URL", and quotes no part of it but the name of a file.
func parse(rawURL string) (rueidis.ClientOption, error) {
	u, err := adapterkit.ParseURL(rawURL)
	switch {
	case err != nil:
	case len(u.Parameters) > 0:
		err = adapterkit.ErrParameter
	default:
		err = u.Load()
	}
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	option := rueidis.ClientOption{
		InitAddress: u.Addresses,
		DialCtxFn:   dialTCP,
		TLSConfig:   u.TLSConfig,
		Username:    u.User,
		Password:    u.Password,
		SelectDB:    u.DB,

		DisableCache:        true,
		DisableRetry:        true,
		PipelineMultiplex:   -1,
		ConnWriteTimeout:    3 * time.Second,
		ReadBufferEachConn:  64 << 10,
		WriteBufferEachConn: 64 << 10,
	}
	switch {
	case u.TLS:
		option.DialCtxFn = dialTLS
	case u.Network == "unix":
		option.DialCtxFn = dialUnix
	}
	switch {
	case u.MasterName != "":
		option.Sentinel = rueidis.SentinelOption{
			// The driver has defaults only for the dialer of the masters.
			Dialer:    net.Dialer{Timeout: rueidis.DefaultDialTimeout, KeepAlive: rueidis.DefaultTCPKeepAlive},
			TLSConfig: u.TLSConfig,
			MasterSet: u.MasterName,
			Username:  u.SentinelUser,
			Password:  u.SentinelPassword,
		}
	case !u.Cluster:
		option.InitAddress, option.ForceSingleClient = []string{u.Address}, true
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
