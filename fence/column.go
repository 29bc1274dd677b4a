package fence

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// A Column fences the rows of one table of an SQL database. A column of that table has
// the highest token that each row has seen. It is for locks that protect one row each:
//
//	ALTER TABLE orders ADD COLUMN fence bigint NOT NULL DEFAULT 0
//
//	var orders = fence.Column{Dialect: fence.PostgreSQL, Table: "orders"}
//
//	err := orders.Announce(ctx, db, 42, token)                        // before reading
//	err := orders.Update(ctx, db, 42, token, "state = $1", "paid")    // one statement, no transaction
//	err := orders.Do(ctx, db, 42, token, func(tx *sql.Tx) error { … }) // or all in one
//
// A row must exist to be fenced; if it does not, the error matches [sql.ErrNoRows]. A
// deleted row takes its fence with it, so use a [Table] if late writers may create rows.
// A Column is a value without state, for use by any number of goroutines.
type Column struct {
	// Dialect and Table, the name of the table, must be set.
	Dialect Dialect
	Table   string

	// Key is the column that identifies a row, unique and not null. Default "id".
	Key string

	// Name is the column of the tokens, a bigint that is not null. Default "fence".
	// Table, Key and Name become part of the statements unchanged, so they must come from
	// the program's text.
	Name string
}

func (c Column) key() string { return cmp.Or(c.Key, "id") }

func (c Column) name() string { return cmp.Or(c.Name, "fence") }

// Do begins a transaction, announces token in the row, calls fn and commits, with the
// rules and errors of [Table.Do]. If the row does not exist, the error matches
// [sql.ErrNoRows]. fn may write to the row with any statements, because the row is locked
// until the transaction ends.
func (c Column) Do(ctx context.Context, db Beginner, key any, token uint64, fn func(tx *sql.Tx) error) error {
	if err := c.check(token); err != nil {
		return err
	}
	announce := func(q Querier) error { return c.Announce(ctx, q, key, token) }
	return do(ctx, db, c.Dialect, announce, fn)
}

// Announce makes the row reject lower tokens from now on. A holder calls it before it
// reads the row. With a [*sql.DB] it takes effect at once. With a [*sql.Tx] it takes
// effect with the commit; announce again there as the last statement before COMMIT, as
// with [Table.Announce]. It waits while another transaction has the row locked.
//
// The error is a [*StaleError] if the row has seen a higher token, and matches
// [sql.ErrNoRows] if the row does not exist; nothing was changed then. After an error of
// the database or of ctx, the statement may have run or may still run, like any statement
// outside of a transaction. The fence makes that harmless.
func (c Column) Announce(ctx context.Context, q Querier, key any, token uint64) error {
	return c.Update(ctx, q, key, token, "")
}

// Update announces token and changes the row in one statement:
//
//	UPDATE table SET set, fence = token WHERE id = key AND fence <= token
//
// set is the text between SET and the fence, and args are its arguments. In PostgreSQL
// their placeholders count from $1. Errors and waiting are those of [Column.Announce].
// The new values must be based only on data that was read after an announcement of this
// token.
func (c Column) Update(ctx context.Context, q Querier, key any, token uint64, set string, args ...any) error {
	if err := c.check(token); err != nil {
		return err
	}
	updated, err := c.update(ctx, q, key, int64(token), set, args)
	if err != nil {
		return because(ctx, fmt.Errorf("fence: update %s with token %d: %w", c.resource(key), token, err))
	}
	if updated > 0 {
		return nil
	}
	highest, err := c.admits(ctx, q, key, token)
	switch {
	case err != nil:
		return err
	case c.Dialect == MySQL && highest == token:
		return nil // MySQL counts changed rows, and the row already had these values
	default:
		return c.missing(key) // it did not exist when Update ran
	}
}

// Check reports whether the row rejects token, with the errors of [Column.Announce]. It
// is for your own UPDATE that compares the fence, like Update, and affected no row. If
// Check returns nil then, the token is not the reason.
func (c Column) Check(ctx context.Context, q Querier, key any, token uint64) error {
	if err := c.check(token); err != nil {
		return err
	}
	_, err := c.admits(ctx, q, key, token)
	return err
}

func (c Column) check(token uint64) error {
	if err := c.Dialect.check(); err != nil {
		return err
	}
	if c.Table == "" {
		return errTable
	}
	return checkSQL(token)
}

var errTable = errors.New("fence: the Column has no Table")

func (c Column) update(ctx context.Context, q Querier, key any, token int64, set string, args []any) (int64, error) {
	if set != "" {
		set += ", "
	}
	n := len(args)
	query := fmt.Sprintf("UPDATE %s SET %s%s = %s WHERE %s = %s AND %s <= %s", c.Table, set,
		c.name(), c.Dialect.placeholder(n+1), c.key(), c.Dialect.placeholder(n+2), c.name(), c.Dialect.placeholder(n+3))
	res, err := q.ExecContext(ctx, query, append(slices.Clip(args), token, key, token)...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// admits returns the highest token that the row has seen, or the error with which it
// rejects token.
func (c Column) admits(ctx context.Context, q Querier, key any, token uint64) (uint64, error) {
	query := fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s%s", c.name(), c.Table, c.key(), c.Dialect.placeholder(1), c.Dialect.current())
	var highest sql.Null[int64]
	err := q.QueryRowContext(ctx, query, key).Scan(&highest)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return 0, c.missing(key)
	case err != nil:
		return 0, because(ctx, fmt.Errorf("fence: read %s of %s: %w", c.name(), c.resource(key), err))
	case !highest.Valid:
		return 0, fmt.Errorf("fence: %s of %s is NULL, which refuses every token: set it to 0 and make the column NOT NULL", c.name(), c.resource(key))
	case highest.V > int64(token):
		return 0, &StaleError{Resource: c.resource(key), Token: token, Highest: uint64(highest.V)}
	}
	return uint64(highest.V), nil
}

func (c Column) missing(key any) error {
	return fmt.Errorf("fence: %s: %w", c.resource(key), sql.ErrNoRows)
}

// resource names a row in errors.
func (c Column) resource(key any) string { return fmt.Sprintf("%s/%v", c.Table, key) }
