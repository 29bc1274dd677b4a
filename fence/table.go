package fence

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
)

// A Table fences what lies in an SQL database, by a table with the highest token of
// each resource. It suits whatever a lock protects: many rows, rows that come and go,
// several tables. Every holder announces its token there in the transaction in which
// it reads and writes:
//
//	var fences = fence.Table{Dialect: fence.PostgreSQL}
//
//	err := fences.Do(ctx, db, "orders/42", token, func(tx *sql.Tx) error {
//		// read, and write what follows from it
//	})
//
// The row of a resource stays locked until the transaction ends, so that two holders
// never run side by side: a new one waits for the transaction of the old one, then sees
// what it wrote, and from then on the old one is refused. It is this row, not the
// isolation level, that orders them; every level will do as long as the announcement comes first.
//
// Rows are never deleted: a resource without a row has seen no token. A row may be
// deleted when no holder of an older lock can be left.
//
// A Table is a value without state, for use by any number of goroutines.
type Table struct {
	// Dialect must be set.
	Dialect Dialect

	// Name is the table's name, "fences" by default. It becomes part of the
	// statements as it is, so it must come from the program's text and be
	// quoted as the database wants it.
	Name string
}

func (t Table) name() string { return cmp.Or(t.Name, "fences") }

// Schema returns the statement that creates the table if it does not exist, for a
// migration. The column resource compares byte by byte.
func (t Table) Schema() string {
	resource := map[Dialect]string{
		PostgreSQL: "text",
		SQLite:     "text",
		MySQL:      "varbinary(255)",
	}[t.Dialect]
	return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (resource %s NOT NULL PRIMARY KEY, token bigint NOT NULL)", t.name(), resource)
}

// Do begins a transaction with the database's default isolation, announces token in it,
// calls fn and commits. fn reads and writes through tx, whichever tables
// it likes, and neither commits nor rolls back.
//
// If the resource has seen a higher token, Do returns a [*StaleError] and does not
// call fn. If fn fails or panics, or ctx ends, all is rolled back, the
// announcement too: what fn has read is then of no use for a later write. Do
// returns fn's error, and joins the cause to it if ctx has ended. With the ctx of a
// lock's handle the transaction ends when the lock is lost. An error of the
// commit leaves open whether it happened, as always.
//
// Do waits for the row while another transaction has it, for as long as ctx and
// the database's own limits allow (SQLite looks at ctx only when its busy_timeout is
// up). It does not repeat a transaction that the database gave up, for a deadlock or a
// serialization failure.
func (t Table) Do(ctx context.Context, db Beginner, resource string, token uint64, fn func(tx *sql.Tx) error) error {
	announce := func(q Querier) error { return t.Announce(ctx, q, resource, token) }
	return do(ctx, db, announce, fn)
}

// Announce is the first statement of a transaction in which token's holder reads and
// writes, for programs that begin and commit themselves. The errors and the wait
// are those of [Table.Do]; whatever the error, the transaction is to be rolled back. In
// PostgreSQL and SQLite it takes one round trip, in MySQL two.
//
// With a [*sql.DB] the announcement is a transaction of its own. Then lower tokens are
// refused from now on and reading is safe, but each write needs a transaction that
// announces again. An error other than a [*StaleError] leaves open whether it was made.
func (t Table) Announce(ctx context.Context, q Querier, resource string, token uint64) error {
	if err := t.Dialect.check(); err != nil {
		return err
	}
	if err := checkSQL(token); err != nil {
		return err
	}
	stale, highest, err := t.raise(ctx, q, resource, int64(token))
	if err != nil {
		return fmt.Errorf("fence: announce token %d for %q: %w", token, resource, err)
	}
	if stale {
		return &StaleError{Resource: resource, Token: token, Highest: uint64(highest)}
	}
	return nil
}

// raise locks the row and lets it have token at least.
func (t Table) raise(ctx context.Context, q Querier, resource string, token int64) (stale bool, highest int64, err error) {
	if t.Dialect == MySQL {
		// Rows affected do not tell: an equal token changes nothing.
		upsert := fmt.Sprintf("INSERT INTO %s (resource, token) VALUES (?, ?) ON DUPLICATE KEY UPDATE token = GREATEST(token, ?)", t.name())
		if _, err := q.ExecContext(ctx, upsert, resource, token, token); err != nil {
			return false, 0, err
		}
		highest, err := t.highest(ctx, q, resource)
		return highest > token, highest, err
	}
	p1, p2 := t.Dialect.placeholder(1), t.Dialect.placeholder(2)
	upsert := fmt.Sprintf("INSERT INTO %s AS f (resource, token) VALUES (%s, %s) "+
		"ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE f.token <= excluded.token", t.name(), p1, p2)
	res, err := q.ExecContext(ctx, upsert, resource, token)
	if err != nil {
		return false, 0, err
	}
	if n, err := res.RowsAffected(); err != nil || n > 0 {
		return false, 0, err
	}
	highest, err = t.highest(ctx, q, resource)
	return true, highest, err
}

func (t Table) highest(ctx context.Context, q Querier, resource string) (token int64, err error) {
	query := fmt.Sprintf("SELECT token FROM %s WHERE resource = %s%s", t.name(), t.Dialect.placeholder(1), t.Dialect.current())
	err = q.QueryRowContext(ctx, query, resource).Scan(&token)
	return token, err
}
