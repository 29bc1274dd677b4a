package fencing

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/quorumlock/quorumlock/fence"
)

// mariaDB starts one, with no users and rights, which the tests do not need. It is
// two databases: as MySQL is, and with the snapshot isolation that is MariaDB's default
// from 11.6 on.
func mariaDB() []*database {
	const name, snapshots = "MariaDB", "MariaDB with snapshot isolation"
	without := func(lack string) []*database {
		return []*database{{name: name, lack: lack}, {name: snapshots, lack: lack}}
	}
	mariadbd, err := find("mariadbd", "/usr/sbin", "/usr/libexec")
	if err != nil {
		return without(err.Error())
	}
	server, err := newDaemon("mysql")
	if err != nil {
		return without("a folder: " + err.Error())
	}
	socket := filepath.Join(server.dir, "socket")
	connect := func(schema string, settings map[string]string) (*sql.DB, error) {
		config := mysql.NewConfig()
		config.Net, config.Addr, config.User, config.DBName, config.Params = "unix", socket, "root", schema, settings
		config.Logger = &mysql.NopLogger{} // it tells of connections that tests let break
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, err
		}
		return sql.OpenDB(connector), nil
	}
	admin, err := connect("", nil)
	if err == nil {
		err = server.start(admin, mariadbd, "--no-defaults", "--datadir="+server.dir, "--skip-grant-tables", "--skip-networking",
			"--socket="+socket, "--pid-file="+filepath.Join(server.dir, "pid"), "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=8M")
	}
	if err != nil {
		server.remove()
		return without("a server that starts: " + err.Error())
	}
	open := func(setting string) func(testing.TB) *sql.DB {
		return func(t testing.TB) *sql.DB {
			return newSchema(t, admin, func(schema string) (*sql.DB, error) {
				return connect(schema, map[string]string{"innodb_snapshot_isolation": setting})
			}, "DROP SCHEMA %s")
		}
	}
	return []*database{
		{name: name, dialect: fence.MySQL, open: open("OFF"), close: func() { admin.Close(); server.remove() }},
		{name: snapshots, dialect: fence.MySQL, open: open("ON"), close: func() {}},
	}
}
