package fencing

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/quorumlock/quorumlock/fence"
)

// postgreSQL starts a server from PATH, or from where Debian installs it. Files are limited to 16
// or 32 MiB, depending on the shell, so that a test can reach the limit.
func postgreSQL() []*database {
	const name = postgres
	const folder = "/usr/lib/postgresql/*/bin"
	initdb, err := find("initdb", folder)
	if err != nil {
		return []*database{{name: name, lack: err.Error()}}
	}
	program, err := find("postgres", folder)
	if err != nil {
		return []*database{{name: name, lack: err.Error()}}
	}
	server, err := newDaemon("postgres")
	if err != nil {
		return []*database{{name: name, lack: "a folder: " + err.Error()}}
	}
	connect := func(schema string, wire func(net.Conn) net.Conn) (*sql.DB, error) {
		config, err := pgx.ParseConfig(fmt.Sprintf("host=%s user=postgres dbname=postgres search_path=%s", server.dir, schema))
		if err != nil {
			return nil, err
		}
		if dial := config.DialFunc; wire != nil {
			config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
				conn, err := dial(ctx, network, addr)
				if err != nil {
					return nil, err
				}
				return wire(conn), nil
			}
		}
		return stdlib.OpenDB(*config), nil
	}
	admin, err := connect("public", nil)
	data := filepath.Join(server.dir, "data")
	if err == nil {
		err = server.prepare(initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=4")
	}
	if err == nil {
		err = server.start(admin, "/bin/sh", "-c", `ulimit -f 32768 && exec "$0" "$@"`, program, "-D", data, "-k", server.dir, "-c", "listen_addresses=", "-c", "fsync=off")
	}
	if err != nil {
		server.remove()
		return []*database{{name: name, lack: "a server that starts: " + err.Error()}}
	}
	openOver := func(t testing.TB, wire func(net.Conn) net.Conn) *sql.DB {
		return newSchema(t, admin, func(schema string) (*sql.DB, error) { return connect(schema, wire) }, "DROP SCHEMA %s CASCADE")
	}
	return []*database{{
		name:     name,
		dialect:  fence.PostgreSQL,
		open:     func(t testing.TB) *sql.DB { return openOver(t, nil) },
		openOver: openOver,
		close:    func() { admin.Close(); server.remove() },
	}}
}
