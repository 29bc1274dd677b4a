package fence_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

var errDatabase = errors.New("the database's own error")

// The statements of a Table.
const (
	upsertPostgreSQL = "INSERT INTO fences AS f (resource, token) VALUES ($1, $2) " +
		"ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE f.token <= excluded.token"
	upsertSQLite = "INSERT INTO fences AS f (resource, token) VALUES (?, ?) " +
		"ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE f.token <= excluded.token"
	upsertMySQL = "INSERT INTO fences (resource, token) VALUES (?, ?) ON DUPLICATE KEY UPDATE token = GREATEST(token, ?)"

	highestPostgreSQL = "SELECT token FROM fences WHERE resource = $1"
	highestSQLite     = "SELECT token FROM fences WHERE resource = ?"
	highestMySQL      = "SELECT token FROM fences WHERE resource = ? FOR UPDATE"
)

// outcome is what a test expects of an error.
type outcome struct {
	matches error             // nil: no error; errAny: any error
	stale   *fence.StaleError // if not nil, exactly this one
	text    string            // if not empty, exactly this text
}

var errAny = errors.New("any")

func (o outcome) check(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, o.matches) && (err == nil || o.matches != errAny) {
		t.Errorf("error %v, want one that matches %v", err, o.matches)
	}
	if o.stale != nil {
		var stale *fence.StaleError
		if !errors.As(err, &stale) || *stale != *o.stale || !errors.Is(err, fence.ErrStale) {
			t.Errorf("error %#v, want %#v", err, o.stale)
		}
	}
	if o.text != "" && (err == nil || err.Error() != o.text) {
		t.Errorf("error %q, want %q", err, o.text)
	}
}

func TestTableAnnounce(t *testing.T) {
	stale := outcome{matches: fence.ErrStale, stale: &fence.StaleError{Resource: "r", Token: 7, Highest: 8}}
	failed := outcome{matches: errDatabase, text: `fence: announce token 7 for "r": the database's own error`}
	args, thrice := []any{"r", int64(7)}, []any{"r", int64(7), int64(7)}
	tests := []struct {
		name   string
		table  fence.Table
		script []exchange
		want   outcome
	}{
		{"PostgreSQL accepts", fence.Table{Dialect: fence.PostgreSQL},
			[]exchange{{query: upsertPostgreSQL, args: args, affected: 1}}, outcome{}},
		{"PostgreSQL refuses", fence.Table{Dialect: fence.PostgreSQL},
			[]exchange{{query: upsertPostgreSQL, args: args}, {query: highestPostgreSQL, args: args[:1], row: int64(8)}}, stale},
		{"PostgreSQL fails", fence.Table{Dialect: fence.PostgreSQL},
			[]exchange{{query: upsertPostgreSQL, args: args, err: errDatabase}}, failed},
		{"PostgreSQL fails to return the highest token", fence.Table{Dialect: fence.PostgreSQL},
			[]exchange{{query: upsertPostgreSQL, args: args}, {query: highestPostgreSQL, args: args[:1], err: errDatabase}}, failed},
		{"SQLite accepts", fence.Table{Dialect: fence.SQLite},
			[]exchange{{query: upsertSQLite, args: args, affected: 1}}, outcome{}},
		{"SQLite refuses", fence.Table{Dialect: fence.SQLite},
			[]exchange{{query: upsertSQLite, args: args}, {query: highestSQLite, args: args[:1], row: int64(8)}}, stale},
		// MySQL reports 1 for a new row, 2 for a changed one, and 0 for an unchanged one.
		{"MySQL accepts the first", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, affected: 1}, {query: highestMySQL, args: args[:1], row: int64(7)}}, outcome{}},
		{"MySQL accepts the same token again", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, affected: 0}, {query: highestMySQL, args: args[:1], row: int64(7)}}, outcome{}},
		{"MySQL refuses", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, affected: 0}, {query: highestMySQL, args: args[:1], row: int64(8)}}, stale},
		{"MySQL fails", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, err: errDatabase}}, failed},
		{"MySQL fails to return the highest token", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, affected: 2}, {query: highestMySQL, args: args[:1], err: errDatabase}}, failed},
		{"MySQL has shortened the name", fence.Table{Dialect: fence.MySQL},
			[]exchange{{query: upsertMySQL, args: thrice, affected: 1}, {query: highestMySQL, args: args[:1]}},
			outcome{matches: errAny, text: `fence: announce token 7 for "r": fences has no such row after the announcement: it was deleted, or the column shortened the name`}},
		{"PostgreSQL has a null", fence.Table{Dialect: fence.PostgreSQL},
			[]exchange{{query: upsertPostgreSQL, args: args}, {query: highestPostgreSQL, args: args[:1], null: true}},
			outcome{matches: errAny, text: `fence: announce token 7 for "r": the column token of fences is NULL: set it to 0 and make the column NOT NULL`}},
		{"another name", fence.Table{Dialect: fence.PostgreSQL, Name: `"Locks".seen`},
			[]exchange{
				{query: `INSERT INTO "Locks".seen AS f (resource, token) VALUES ($1, $2) ` +
					`ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE f.token <= excluded.token`, args: args},
				{query: `SELECT token FROM "Locks".seen WHERE resource = $1`, args: args[:1], row: int64(8)},
			}, stale},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.want.check(t, tt.table.Announce(t.Context(), scripted(t, tt.script...), "r", 7))
		})
	}
}

// Bad input is rejected before the database gets a statement.
func TestTableRejectsInput(t *testing.T) {
	tests := []struct {
		name  string
		table fence.Table
		token uint64
		text  string
	}{
		{"no fencing", fence.Table{Dialect: fence.SQLite}, 0, "fence: token 0: the lock was acquired without fencing"},
		{"no bigint", fence.Table{Dialect: fence.SQLite}, math.MaxInt64 + 1,
			"fence: token 9223372036854775808 is above 9223372036854775807, the highest of a bigint"},
		{"no dialect", fence.Table{}, 1, "fence: the Dialect is none of PostgreSQL, SQLite and MySQL"},
		{"bad dialect", fence.Table{Dialect: 4}, 1, "fence: the Dialect is none of PostgreSQL, SQLite and MySQL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.table.Announce(t.Context(), scripted(t), "r", tt.token)
			if err == nil || err.Error() != tt.text {
				t.Errorf("%v, want %s", err, tt.text)
			}
		})
	}
	t.Run("a name that MySQL may shorten", func(t *testing.T) {
		table := fence.Table{Dialect: fence.MySQL}
		want := outcome{matches: errAny, text: `fence: the name of the resource has 256 bytes, the column holds 255: "` + strings.Repeat("x", 40) +
			`"…: use a shorter name, or a hash of it`}
		long := strings.Repeat("x", 256)
		want.check(t, table.Announce(t.Context(), scripted(t), long, 7))
		want.check(t, table.Do(t.Context(), scripted(t), long, 7, func(*sql.Tx) error {
			t.Error("fn ran")
			return nil
		}))
	})
	t.Run("the highest bigint is a token", func(t *testing.T) {
		db := scripted(t, exchange{query: upsertSQLite, args: []any{"r", int64(math.MaxInt64)}, affected: 1})
		if err := (fence.Table{Dialect: fence.SQLite}).Announce(t.Context(), db, "r", math.MaxInt64); err != nil {
			t.Error(err)
		}
	})
}

func TestTableDo(t *testing.T) {
	args := []any{"r", int64(7)}
	accepts := exchange{query: upsertPostgreSQL, args: args, affected: 1}
	write := exchange{query: "UPDATE orders SET state = 'paid'", affected: 1}
	tests := []struct {
		name   string
		script []exchange
		fn     error // what fn returns
		ran    bool  // whether fn runs
		want   outcome
	}{
		{"commits", []exchange{begin(), accepts, save(), write, release(), commit()}, nil, true, outcome{}},
		{"fn fails", []exchange{begin(), accepts, save(), write, rollbackTo(), rollback()}, errOwn, true, outcome{matches: errOwn, text: errOwn.Error()}},
		{"stale", []exchange{begin(), {query: upsertPostgreSQL, args: args}, {query: highestPostgreSQL, args: args[:1], row: int64(8)}, rollback()},
			nil, false, outcome{matches: fence.ErrStale}},
		{"the announcement fails", []exchange{begin(), {query: upsertPostgreSQL, args: args, err: errDatabase}, rollback()},
			nil, false, outcome{matches: errDatabase}},
		{"no transaction", []exchange{{query: "BEGIN", err: errDatabase}}, nil, false,
			outcome{matches: errDatabase, text: "fence: begin: the database's own error"}},
		{"no savepoint", []exchange{begin(), accepts, save().fails(errDatabase), rollback()}, nil, false,
			outcome{matches: errDatabase, text: "fence: set a savepoint after the announcement: the database's own error"}},
		{"fn ignored an error", []exchange{begin(), accepts, save(), write, release().fails(errDatabase), rollbackTo(), rollback()}, nil, true,
			outcome{matches: errDatabase, text: "fence: fn returned nil, but its transaction cannot be committed, and nothing was written: the database's own error"}},
		{"the transaction ended", []exchange{begin(), accepts, save(), write, release().fails(errOwn), rollbackTo().fails(errDatabase), rollback()}, nil, true,
			outcome{matches: fence.ErrEnded, text: "fence: transaction ended early, by a statement of fn, or by the database with an error that fn saw, " +
				"or fn left rows open; what fn wrote after that may be there without the fence: " + errOwn.Error() + "; the database's own error"}},
		{"the connection broke", []exchange{begin(), accepts, save(), write, release().fails(errOwn), rollbackTo().fails(driver.ErrBadConn), rollback()}, nil, true,
			outcome{matches: errOwn}},
		{"the transaction ended and fn fails", []exchange{begin(), accepts, save(), write, rollbackTo().fails(errDatabase), rollback()}, errOwn, true,
			outcome{matches: fence.ErrEnded}},
		{"the database refuses the commit", []exchange{begin(), accepts, save(), write, release(), commit().fails(errDatabase),
			{query: "ROLLBACK"}, {query: "SELECT 1", row: int64(1)}}, nil, true,
			outcome{matches: errDatabase, text: "fence: the database refused the commit, nothing was written: the database's own error"}},
		{"the commit has no reply", []exchange{begin(), accepts, save(), write, release(), commit().fails(errDatabase),
			{query: "ROLLBACK", err: errOwn}, {query: "SELECT 1", err: errOwn}}, nil, true,
			outcome{matches: fence.ErrCommitUnknown, text: "fence: commit: outcome of the commit unknown: read the data again to find out: the database's own error"}},
		{"the connection breaks at the commit", []exchange{begin(), accepts, save(), write, release(), commit().fails(driver.ErrBadConn)}, nil, true,
			outcome{matches: fence.ErrCommitUnknown}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := scripted(t, tt.script...)
			ran := false
			err := fence.Table{Dialect: fence.PostgreSQL}.Do(t.Context(), db, "r", 7, func(tx *sql.Tx) error {
				ran = true
				if _, err := tx.ExecContext(t.Context(), write.query); err != nil {
					t.Error(err)
				}
				return tt.fn
			})
			tt.want.check(t, err)
			if ran != tt.ran {
				t.Errorf("fn ran: %v, want %v", ran, tt.ran)
			}
		})
	}

	t.Run("fn panics", func(t *testing.T) {
		db := scripted(t, begin(), accepts, save(), rollback())
		defer func() {
			if p := recover(); p != errOwn {
				t.Errorf("panic %v, want the panic of fn", p)
			}
		}()
		_ = fence.Table{Dialect: fence.PostgreSQL}.Do(t.Context(), db, "r", 7, func(*sql.Tx) error { panic(errOwn) })
	})
	lost := errors.New("the lock was lost")
	for name, fnErr := range map[string]error{
		"ctx ends in fn":                              nil,
		"ctx ends in fn, which returns an error":      sql.ErrTxDone, // what a statement says then
		"ctx ends in fn, which returns another error": errOwn,
	} {
		t.Run(name, func(t *testing.T) {
			db := scripted(t, begin(), accepts, save(), rollback())
			ctx, cancel := context.WithCancelCause(t.Context())
			err := fence.Table{Dialect: fence.PostgreSQL}.Do(ctx, db, "r", 7, func(*sql.Tx) error { cancel(lost); return fnErr })
			if !errors.Is(err, lost) || fnErr != nil && !errors.Is(err, fnErr) {
				t.Errorf("%v, want the cause and fn's error", err)
			}
		})
	}
}

func TestTableSchema(t *testing.T) {
	tests := []struct {
		table fence.Table
		want  string
	}{
		{fence.Table{Dialect: fence.PostgreSQL}, "DO $fence$ BEGIN PERFORM pg_advisory_xact_lock(7306933862); " +
			"CREATE TABLE IF NOT EXISTS fences (resource text NOT NULL PRIMARY KEY, token bigint NOT NULL); END $fence$"},
		{fence.Table{Dialect: fence.SQLite, Name: "seen"}, "CREATE TABLE IF NOT EXISTS seen (resource text NOT NULL PRIMARY KEY, token bigint NOT NULL)"},
		{fence.Table{Dialect: fence.MySQL}, "CREATE TABLE IF NOT EXISTS fences (resource varbinary(255) NOT NULL PRIMARY KEY, token bigint NOT NULL) ENGINE=InnoDB"},
	}
	for _, tt := range tests {
		t.Run(tt.table.Dialect.String(), func(t *testing.T) {
			if got := tt.table.Schema(); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}
