package fence

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// A Querier runs statements: a [*sql.Tx], [*sql.Conn] or [*sql.DB].
type Querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// A Beginner starts transactions: a [*sql.DB] or [*sql.Conn].
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// do runs fn in a transaction whose first statement is announce.
func do(ctx context.Context, db Beginner, announce func(Querier) error, fn func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("fence: begin: %w", err)
	}
	defer tx.Rollback() // does nothing after a commit
	if err := announce(tx); err != nil {
		return because(ctx, err)
	}
	if err := fn(tx); err != nil {
		return because(ctx, err)
	}
	if err := tx.Commit(); err != nil {
		return because(ctx, fmt.Errorf("fence: commit: %w", err))
	}
	return nil
}

// because adds why ctx has ended, if it has: the transaction was rolled back for it,
// and the errors that follow from that do not tell.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
