package fencing

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"sync/atomic"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// A database is one on which the tests run.
type database struct {
	name    string
	lack    string // what this machine lacks; if not empty, nothing else is set
	dialect fence.Dialect
	// open returns a connection pool for an empty place that belongs to the test.
	open func(t testing.TB) *sql.DB
	// openOver is open with connections that pass through wire. It is nil if that is impossible.
	openOver func(t testing.TB, wire func(net.Conn) net.Conn) *sql.DB
	close    func()
}

// databases is set by TestMain.
var databases []*database

// each runs a test on every database.
func each(t *testing.T, test func(t *testing.T, d *database)) {
	for _, d := range databases {
		t.Run(d.name, func(t *testing.T) {
			if d.lack != "" {
				servers.Require(t, "%s", d.lack)
			}
			test(t, d)
		})
	}
}

// schemas counts the places that tests got.
var schemas atomic.Int64

// newSchema creates a schema on a server, and returns the pool that connect makes for it. The
// statement drop removes it at the end.
func newSchema(t testing.TB, admin *sql.DB, connect func(schema string) (*sql.DB, error), drop string) *sql.DB {
	t.Helper()
	schema := fmt.Sprint("test", schemas.Add(1))
	mustExec(t, admin, "CREATE SCHEMA "+schema)
	db, err := connect(schema)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		db.Close()
		if _, err := admin.ExecContext(context.Background(), fmt.Sprintf(drop, schema)); err != nil {
			t.Error(err)
		}
	})
	return db
}

func mustExec(t testing.TB, q fence.Querier, query string, args ...any) {
	t.Helper()
	if _, err := q.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func begin(t testing.TB, db *sql.DB, level sql.IsolationLevel) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), &sql.TxOptions{Isolation: level})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tx.Rollback() })
	return tx
}

func commit(t testing.TB, tx *sql.Tx) {
	t.Helper()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
}

// arg returns the placeholder of argument i.
func (d *database) arg(i int) string {
	if d.dialect == fence.PostgreSQL {
		return fmt.Sprintf("$%d", i)
	}
	return "?"
}
