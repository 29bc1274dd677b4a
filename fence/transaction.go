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

// A Beginner starts transactions: a [*sql.DB], a [*sql.Conn], or a type that embeds one
// of them. Do rejects other types, because it has to keep the connection.
//
// From a [*sql.DB], Do takes one connection with the method Conn, and begins the
// transaction there. It does not call a BeginTx that overrides the one of an embedded
// [*sql.DB].
type Beginner interface {
	BeginTx(ctx context.Context, opts *sql.TxOptions) (*sql.Tx, error)
}

// do runs fn in a transaction whose first statement is announce. A savepoint follows the
// announcement, and must still exist when fn has returned. If the transaction was ended
// behind fn's back, the savepoint is gone, and with it the lock on the row that holds the
// token.
func do(ctx context.Context, db Beginner, d Dialect, announce func(Querier) error, fn func(*sql.Tx) error) error {
	s, err := newSession(ctx, db, d)
	if err != nil {
		return because(ctx, fmt.Errorf("fence: begin: %w", err))
	}
	defer s.close(ctx)
	if err := announce(s.tx); err != nil {
		s.rollback()
		return because(ctx, err)
	}
	if _, err := s.tx.ExecContext(ctx, "SAVEPOINT "+savepoint); err != nil {
		s.rollback()
		return because(ctx, fmt.Errorf("fence: set a savepoint after the announcement: %w", err))
	}
	if err := fn(s.tx); err != nil {
		if gone := s.abandon(ctx); gone != nil {
			err = fmt.Errorf("%w; %w", err, ended(gone))
		}
		return because(ctx, err)
	}
	if _, err := s.tx.ExecContext(ctx, "RELEASE SAVEPOINT "+savepoint); err != nil {
		if gone := s.abandon(ctx); gone != nil {
			if !errors.Is(gone, err) { // if the connection broke, only err says how
				gone = fmt.Errorf("%w; %w", err, gone)
			}
			return because(ctx, ended(gone))
		}
		return because(ctx, fmt.Errorf("fence: fn returned nil, but its transaction cannot be committed, and nothing was written: %w", err))
	}
	if err := s.commit(ctx); err != nil {
		return because(ctx, err)
	}
	return nil
}

// because adds the cause of ctx's end, if ctx has ended. A wait for a connection or a
// statement ended because of it, or the transaction was rolled back, but the errors that
// follow from that do not name it.
func because(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	if cause == nil || errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}
