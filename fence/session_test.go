package fence_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

func autocommit(is int64) exchange     { return exchange{query: "SELECT @@autocommit", row: is} }
func setAutocommit(to string) exchange { return exchange{query: "SET autocommit = " + to} }

// On MySQL, Do switches autocommit off and back on, or closes the connection.
func TestAutocommit(t *testing.T) {
	args := []any{"r", int64(7)}
	accepts := []exchange{{query: upsertMySQL, args: []any{"r", int64(7), int64(7)}, affected: 1}, {query: highestMySQL, args: args[:1], row: int64(7)}}
	script := func(before []exchange, after ...exchange) []exchange {
		return append(append(before, accepts...), after...)
	}
	off := func() []exchange { return []exchange{autocommit(1), setAutocommit("0"), begin()} }
	tests := []struct {
		name   string
		script []exchange
		fn     error
		want   outcome
		closed int64 // number of connections
	}{
		{"commits", script(off(), save(), release(), commit(), setAutocommit("1")), nil, outcome{}, 0},
		{"fn fails", script(off(), save(), rollbackTo(), rollback(), setAutocommit("1")), errOwn, outcome{matches: errOwn}, 0},
		{"stale", []exchange{autocommit(1), setAutocommit("0"), begin(), {query: upsertMySQL, args: []any{"r", int64(7), int64(7)}},
			{query: highestMySQL, args: args[:1], row: int64(8)}, rollback(), setAutocommit("1")}, nil, outcome{matches: fence.ErrStale}, 0},
		{"was off", script([]exchange{autocommit(0), begin()}, save(), release(), commit()), nil, outcome{}, 0},
		{"cannot be read", []exchange{{query: "SELECT @@autocommit", err: errDatabase}}, nil,
			outcome{matches: errDatabase, text: "fence: begin: read autocommit: the database's own error"}, 0},
		{"cannot be switched off", []exchange{autocommit(1), setAutocommit("0").fails(errDatabase), setAutocommit("1")}, nil,
			outcome{matches: errDatabase, text: "fence: begin: switch autocommit off: the database's own error"}, 0},
		{"no transaction", []exchange{autocommit(1), setAutocommit("0"), begin().fails(errDatabase), setAutocommit("1")}, nil,
			outcome{matches: errDatabase, text: "fence: begin: the database's own error"}, 0},
		{"cannot be switched on after a commit", script(off(), save(), release(), commit(), setAutocommit("1").fails(errDatabase)), nil, outcome{}, 1},
		{"the transaction ended", script(off(), save(), release().fails(errOwn), rollbackTo().fails(errDatabase), rollback()), nil,
			outcome{matches: fence.ErrEnded}, 1},
		{"the rollback fails", script(off(), save(), rollbackTo(), rollback().fails(errDatabase)), errOwn, outcome{matches: errOwn, text: errOwn.Error()}, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db, closed := counted(t, tt.script...)
			tt.want.check(t, fence.Table{Dialect: fence.MySQL}.Do(t.Context(), db, "r", 7, func(*sql.Tx) error { return tt.fn }))
			if got := closed.Load(); got != tt.closed {
				t.Errorf("%d connections were closed, want %d", got, tt.closed)
			}
		})
	}
}

// A connection to a database in memory is kept, because the database ends with it.
func TestSQLiteKeepsConnection(t *testing.T) {
	accepts := exchange{query: upsertSQLite, args: []any{"r", int64(7)}, affected: 1}
	db, closed := counted(t, begin(), accepts, save(), release().fails(errOwn), rollbackTo().fails(errDatabase), rollback(), exchange{query: "ROLLBACK"})
	err := fence.Table{Dialect: fence.SQLite}.Do(t.Context(), db, "r", 7, func(*sql.Tx) error { return nil })
	outcome{matches: fence.ErrEnded}.check(t, err)
	if got := closed.Load(); got != 0 {
		t.Errorf("%d connections were closed, want 0", got)
	}
}

// wrapped embeds a DB, as some libraries do.
type wrapped struct{ *sql.DB }

type wrappedConn struct{ *sql.Conn }

// foreign begins transactions but is not a database.
type foreign struct{ db *sql.DB }

func (f foreign) BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error) {
	return f.db.BeginTx(ctx, opts)
}

func TestBeginner(t *testing.T) {
	script := []exchange{begin(), {query: upsertPostgreSQL, args: []any{"r", int64(7)}, affected: 1}, save(), release(), commit()}
	fences := fence.Table{Dialect: fence.PostgreSQL}
	do := func(db fence.Beginner) error {
		return fences.Do(t.Context(), db, "r", 7, func(*sql.Tx) error { return nil })
	}
	t.Run("embeds a DB", func(t *testing.T) {
		outcome{}.check(t, do(wrapped{scripted(t, script...)}))
	})
	t.Run("a Conn", func(t *testing.T) {
		conn, err := scripted(t, append(script, script...)...).Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		outcome{}.check(t, do(conn))
		outcome{}.check(t, do(wrappedConn{conn})) // the connection is still open
	})
	t.Run("neither", func(t *testing.T) {
		outcome{matches: errAny, text: "fence: begin: a fence_test.foreign is neither a *sql.DB nor a *sql.Conn and embeds neither"}.check(t, do(foreign{scripted(t)}))
	})
	t.Run("an idle connection is dead", func(t *testing.T) {
		db := scripted(t, append([]exchange{{query: "PING"}, begin().fails(driver.ErrBadConn)}, script...)...)
		if _, err := db.ExecContext(t.Context(), "PING"); err != nil { // makes the connection idle
			t.Fatal(err)
		}
		outcome{}.check(t, do(db))
	})
	t.Run("every connection is dead", func(t *testing.T) {
		outcome{matches: driver.ErrBadConn}.check(t, do(scripted(t, begin().fails(driver.ErrBadConn))))
	})
}
