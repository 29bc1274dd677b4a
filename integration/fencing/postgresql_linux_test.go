package fencing

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"

	"github.com/quorumlock/quorumlock/fence"
)

// postgreSQL starts one, from where Debian has the programs if they are not in PATH.
func postgreSQL() []*database {
	const name = "PostgreSQL"
	const folder = "/usr/lib/postgresql/*/bin"
	initdb, err := find("initdb", folder)
	if err != nil {
		return []*database{{name: name, lack: err.Error()}}
	}
	postgres, err := find("postgres", folder)
	if err != nil {
		return []*database{{name: name, lack: err.Error()}}
	}
	server, err := newDaemon("postgres")
	if err != nil {
		return []*database{{name: name, lack: "a folder: " + err.Error()}}
	}
	connect := func(schema string) (*sql.DB, error) {
		return sql.Open("pgx", fmt.Sprintf("host=%s user=postgres dbname=postgres search_path=%s", server.dir, schema))
	}
	admin, err := connect("public")
	data := filepath.Join(server.dir, "data")
	if err == nil {
		err = server.prepare(initdb, "-D", data, "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--wal-segsize=4")
	}
	if err == nil {
		err = server.start(admin, "/bin/sh", "-c", `ulimit -f 32768 && exec "$0" "$@"`, postgres, "-D", data, "-k", server.dir, "-c", "listen_addresses=", "-c", "fsync=off")
	}
	if err != nil {
		server.remove()
		return []*database{{name: name, lack: "a server that starts: " + err.Error()}}
	}
	return []*database{{
		name:    name,
		dialect: fence.PostgreSQL,
		open: func(t testing.TB) *sql.DB {
			return newSchema(t, admin, connect, "DROP SCHEMA %s CASCADE")
		},
		close: func() { admin.Close(); server.remove() },
	}}
}
