package fencing

import (
	"context"
	"database/sql"
	"net"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A mariaServer is a server of MariaDB without users and rights, which the tests do not need.
type mariaServer struct {
	*daemon
	socket string
	admin  *sql.DB
}

// startMariaDB starts a server with these settings, or returns what the machine lacks for it.
func startMariaDB(settings ...string) (server *mariaServer, lack string) {
	mariadbd, err := find("mariadbd", "/usr/sbin", "/usr/libexec")
	if err != nil {
		return nil, err.Error()
	}
	d, err := newDaemon("mysql")
	if err != nil {
		return nil, "a folder: " + err.Error()
	}
	server = &mariaServer{daemon: d, socket: filepath.Join(d.dir, "socket")}
	server.admin, err = server.connect("", nil, nil)
	if err == nil {
		err = server.start(server.admin, mariadbd, append([]string{"--no-defaults", "--datadir=" + server.dir, "--skip-grant-tables", "--skip-networking",
			"--socket=" + server.socket, "--pid-file=" + filepath.Join(server.dir, "pid"), "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M"},
			settings...)...)
	}
	if err != nil {
		server.remove()
		return nil, "a server that starts: " + err.Error()
	}
	return server, ""
}

// connect returns a pool whose connections pass through wire unless it is nil.
func (s *mariaServer) connect(schema string, settings map[string]string, wire func(net.Conn) net.Conn) (*sql.DB, error) {
	config := mysql.NewConfig()
	config.Net, config.Addr, config.User, config.DBName, config.Params = "unix", s.socket, "root", schema, settings
	config.Logger = &mysql.NopLogger{} // otherwise it reports connections that tests break
	if wire != nil {
		config.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return wire(conn), nil
		}
	}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

// database returns the server with innodb_snapshot_isolation ON or OFF.
func (s *mariaServer) database(name, setting string) *database {
	openOver := func(t testing.TB, wire func(net.Conn) net.Conn) *sql.DB {
		return newSchema(t, s.admin, func(schema string) (*sql.DB, error) {
			return s.connect(schema, map[string]string{"innodb_snapshot_isolation": setting}, wire)
		}, "DROP SCHEMA %s")
	}
	return &database{
		name: name, dialect: fence.MySQL, openOver: openOver,
		open:  func(t testing.TB) *sql.DB { return openOver(t, nil) },
		close: func() {},
	}
}

// mariaDB starts a server. It counts as two databases: one that behaves like MySQL, and one with
// snapshot isolation, which is the default of MariaDB from 11.6 on.
func mariaDB() []*database {
	server, lack := startMariaDB()
	if lack != "" {
		return []*database{{name: maria, lack: lack}, {name: snapshots, lack: lack}}
	}
	first := server.database(maria, "OFF")
	first.close = func() { server.admin.Close(); server.remove() }
	return []*database{first, server.database(snapshots, "ON")}
}

// A late write is not committed either if the server rolls back at a lock timeout, or if its disk
// is full.
func TestEndedSettings(t *testing.T) {
	server, lack := startMariaDB("--innodb-rollback-on-timeout=ON", "--innodb-file-per-table=OFF", "--innodb-data-file-path=ibdata1:12M")
	if lack != "" {
		servers.Require(t, "%s", lack)
	}
	defer func() { server.admin.Close(); server.remove() }()
	d := server.database(maria, "OFF")
	full := func(h *holder) {
		mustExec(t, h.db, "CREATE TABLE filler (v varchar(4000))")
		h.fails("INSERT INTO filler SELECT REPEAT('x', 4000) FROM seq_1_to_10000")
	}
	for _, e := range []ending{
		{name: "lock timeout", setup: map[fence.Dialect]string{fence.MySQL: "SET innodb_lock_wait_timeout = 1"}, end: lockTimeout,
			want: map[string]result{maria: rolledBack}, stale: []string{maria}},
		{name: "full disk", end: full, want: map[string]result{maria: goesOn}},
	} {
		t.Run(e.name, func(t *testing.T) {
			want := e.want[maria]
			e.meet(t, d, "Table", want.held, nil).check(t, want)
		})
		if e.stale == nil {
			continue
		}
		t.Run(e.name+", unprotected", func(t *testing.T) {
			if got := e.meet(t, d, "unprotected", false, nil); !got.late || got.err != nil {
				t.Errorf("%+v, want a stale write and no error", got)
			}
		})
	}
}
