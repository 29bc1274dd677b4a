package fence

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A Table fences data in an SQL database with a second table, which has the highest token
// of each resource. It suits anything that a lock protects: many rows, rows that come and
// go, several tables. Every holder announces its token there, in the transaction in which
// it reads and writes:
//
//	var fences = fence.Table{Dialect: fence.PostgreSQL}
//
//	err := fences.Do(ctx, db, "orders/42", token, func(tx *sql.Tx) error {
//		// read, and write what follows from it
//	})
//
// The row of a resource stays locked until the transaction ends, so two holders never run
// side by side. A new holder waits for the transaction of the old one, then sees what it
// wrote, and from then on the old one is rejected. Any isolation level will do if the
// announcement comes first, because the row orders the holders.
//
// Rows are never deleted, because a resource without a row has seen no token. Delete a
// row only when no holder of an older lock can be left. On MySQL the name of a resource
// has at most 255 bytes. A Table is a value without state, for use by any number of
// goroutines.
type Table struct {
	// Dialect must be set.
	Dialect Dialect

	// Name is the table's name. Default "fences". It becomes part of the statements
	// unchanged, so it must come from the program's text, quoted as the database wants
	// it.
	Name string
}

// longest is the size of the column resource on MySQL, in bytes.
const longest = 255

func (t Table) name() string { return cmp.Or(t.Name, "fences") }

// Schema returns the statement that creates the table if it does not exist, for a
// migration. Any number of sessions may run it at once. The column resource compares byte
// by byte.
func (t Table) Schema() string {
	create := "CREATE TABLE IF NOT EXISTS %s (resource %s NOT NULL PRIMARY KEY, token bigint NOT NULL)"
	switch t.Dialect {
	case PostgreSQL:
		// Without the lock, IF NOT EXISTS fails in all but one of the sessions that run it at once.
		return fmt.Sprintf("DO $fence$ BEGIN PERFORM pg_advisory_xact_lock(7306933862); "+create+"; END $fence$", t.name(), "text")
	case MySQL:
		// Engines without transactions cannot hold the row.
		return fmt.Sprintf(create+" ENGINE=InnoDB", t.name(), fmt.Sprintf("varbinary(%d)", longest))
	default:
		return fmt.Sprintf(create, t.name(), "text")
	}
}

// Do begins a transaction with the database's default isolation, announces token in it,
// calls fn and commits. If fn fails or panics, or ctx ends, Do rolls back everything,
// including the announcement; discard what fn has read then. fn must return the errors of
// its statements, must not end the transaction (on MySQL also not by DDL), and must not
// use tx after it has returned. See docs/fencing.md. Do never repeats a transaction.
//
// The error is a [*StaleError] if the resource has seen a higher token; fn was not
// called. It is fn's error if fn failed. It matches [ErrEnded] if the transaction ended
// before fn returned, and [ErrCommitUnknown] if it is not known whether COMMIT succeeded.
// If ctx has ended, each error is joined with the [context.Cause] of that. After any other
// error nothing is written, except if ctx has ended and fn had committed before, because Do
// cannot tell then.
//
// Do waits for the row while another transaction holds it, for as long as ctx and the
// database's own limits allow. SQLite checks ctx only when its busy_timeout is over. Do
// holds one connection of db. On MySQL it switches autocommit off there and restores it.
// A connection whose state is in doubt is closed, even a [*sql.Conn] of the caller.
func (t Table) Do(ctx context.Context, db Beginner, resource string, token uint64, fn func(tx *sql.Tx) error) error {
	if err := t.check(resource, token); err != nil {
		return err
	}
	announce := func(q Querier) error { return t.Announce(ctx, q, resource, token) }
	return do(ctx, db, t.Dialect, announce, fn)
}

// Announce announces token in a transaction that the program begins and commits itself.
// Call it as the first statement, before you read, and again as the last statement before
// COMMIT. The second call returns a [*StaleError] if the transaction was ended in between
// and a higher token was seen. The errors and the wait are those of [Table.Do]. After any
// error, roll the transaction back. Announce takes one round trip in PostgreSQL and
// SQLite, and two in MySQL.
//
// With a [*sql.DB] the announcement is a transaction of its own. Lower tokens are
// rejected from then on and reading is safe, but each write needs a transaction that
// announces again. After an error other than a [*StaleError] the announcement may have
// been made.
func (t Table) Announce(ctx context.Context, q Querier, resource string, token uint64) error {
	if err := t.check(resource, token); err != nil {
		return err
	}
	stale, highest, err := t.raise(ctx, q, resource, int64(token))
	if err != nil {
		return because(ctx, fmt.Errorf("fence: announce token %d for %q: %w", token, resource, err))
	}
	if stale {
		return &StaleError{Resource: resource, Token: token, Highest: uint64(highest)}
	}
	return nil
}

// raise locks the row and raises its token at least to token.
func (t Table) raise(ctx context.Context, q Querier, resource string, token int64) (stale bool, highest int64, err error) {
	if t.Dialect == MySQL {
		// The number of affected rows does not tell, because an equal token changes nothing.
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

func (t Table) check(resource string, token uint64) error {
	if err := t.Dialect.check(); err != nil {
		return err
	}
	if t.Dialect == MySQL && len(resource) > longest {
		// Without strict mode MySQL would shorten it to the name of another resource.
		return fmt.Errorf("fence: the name of the resource has %d bytes, the column holds %d: %.40q…: use a shorter name, or a hash of it",
			len(resource), longest, resource)
	}
	return checkSQL(token)
}

func (t Table) highest(ctx context.Context, q Querier, resource string) (int64, error) {
	query := fmt.Sprintf("SELECT token FROM %s WHERE resource = %s%s", t.name(), t.Dialect.placeholder(1), t.Dialect.current())
	var token sql.Null[int64]
	err := q.QueryRowContext(ctx, query, resource).Scan(&token)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, fmt.Errorf("%s has no such row after the announcement: it was deleted, or the column shortened the name", t.name())
	case err == nil && !token.Valid:
		return 0, fmt.Errorf("the column token of %s is NULL: set it to 0 and make the column NOT NULL", t.name())
	}
	return token.V, err
}
