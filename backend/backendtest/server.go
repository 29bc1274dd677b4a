package backendtest

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/internal/resp"
)

// NewHarness returns a harness with every hook except Advance, for nodes of one Redis or Valkey
// server at addr, which is a host and port. The server must not require a password or TLS.
//
// connect makes a node at an address, which is that of a proxy in front of the server (package
// netfault). All checks share one such node, and each check of slow connections gets its own.
// connect releases the node's resources with t.Cleanup.
//
// The suite leaves no keys behind. It makes the server forget its scripts, breaks the node's
// connections, and makes the server seem to stop. Other clients of the server notice only that
// the scripts are gone.
func NewHarness(t testing.TB, addr string, connect func(addr string) backend.Node) Harness {
	t.Helper()
	proxy := netfault.New(t, addr)
	operations := []string{"SET", "EVAL", "EVALSHA"}
	const all = 1 << 30
	run := func(ctx context.Context, args ...string) error {
		_, err := command(ctx, addr, args...)
		return err
	}
	return Harness{
		New: Reuse(connect(proxy.Addr())),
		Set: func(ctx context.Context, _ backend.Node, key, value string, ttl time.Duration) error {
			args := []string{"SET", key, value}
			if ttl != backend.NoExpiry {
				args = append(args, "PX", strconv.FormatInt(adapterkit.Milliseconds(ttl), 10))
			}
			return run(ctx, args...)
		},
		SetOther: func(ctx context.Context, _ backend.Node, key string) error {
			return run(ctx, "RPUSH", key, "element")
		},
		FlushScripts: func(ctx context.Context, _ backend.Node) error { return run(ctx, "SCRIPT", "FLUSH") },
		HasScript: func(ctx context.Context, _ backend.Node, hash string) (bool, error) {
			reply, err := command(ctx, addr, "SCRIPT", "EXISTS", hash)
			known, _ := reply.([]any)
			return slices.Equal(known, []any{int64(1)}), err
		},
		Publish: func(ctx context.Context, _ backend.Node, channel, payload string) error {
			return run(ctx, "PUBLISH", channel, payload)
		},
		Disconnect: func(context.Context, backend.Node) error {
			proxy.Cut()
			return nil
		},
		Stall: func(context.Context, backend.Node) (func(), error) {
			proxy.Hold()
			return func() {
				if err := proxy.Resume(); err != nil {
					t.Error(err)
				}
			}, nil
		},
		SlowDial: func(_ context.Context, setup time.Duration) (backend.Node, func(), error) {
			slow, err := netfault.Start(addr)
			if err != nil {
				return nil, nil, err
			}
			t.Cleanup(slow.Close) // runs after the cleanup of the node that connect makes
			slow.DelayConnect(setup)
			return connect(slow.Addr()), nil, nil
		},
		LoseReplies: func(context.Context, backend.Node) (func() int, func(), error) {
			before := proxy.Count(operations...)
			fault := proxy.LoseReply(all, netfault.Command(operations...))
			return func() int { return proxy.Count(operations...) - before }, fault.Remove, nil
		},
		Reject: func(_ context.Context, _ backend.Node, reply string) (func(), error) {
			return proxy.Reject(all, netfault.Command(operations...), reply).Remove, nil
		},
	}
}

// command runs a command on the server at addr, on its own connection.
func command(ctx context.Context, addr string, args ...string) (reply any, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Now()) })()
	if _, err := conn.Write(resp.AppendCommand(nil, args...)); err != nil {
		return nil, err
	}
	_, reply, err = resp.ReadReply(bufio.NewReader(conn))
	if err != nil {
		return nil, err
	}
	if e, ok := reply.(resp.Error); ok {
		return nil, fmt.Errorf("%s: %w", args[0], e)
	}
	return reply, nil
}
