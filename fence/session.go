package fence

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"
)

const (
	savepoint = "quorumlock_fence"

	// grace limits each statement that cleans up after the transaction and must not end with ctx.
	grace = 2 * time.Second
)

// A session is one connection, and the one transaction of a Do on it.
//
// On MySQL, autocommit is off meanwhile. So a statement after the end of the transaction
// begins another one, which nobody commits, instead of being written at once.
type session struct {
	dialect Dialect
	conn    connection
	pooled  *sql.Conn // conn, if it has to be returned to its pool
	tx      *sql.Tx

	autocommit bool // has to be switched on again
	clean      bool // nothing of the transaction is left on the connection

	// On SQLite, unwatch prevents a rollback at the end of ctx. It returns false if it is too
	// late for that. watched then receives the result of rollbackTo.
	unwatch func() bool
	watched chan error
}

// A connection is a *sql.Conn or embeds one.
type connection interface {
	Beginner
	Querier
	Raw(f func(driverConn any) error) error
}

// A pool is a *sql.DB or embeds one.
type pool interface {
	Conn(ctx context.Context) (*sql.Conn, error)
	Stats() sql.DBStats
}

// newSession begins a transaction on db, or on a connection of db.
func newSession(ctx context.Context, db Beginner, d Dialect) (*session, error) {
	if c, ok := db.(connection); ok {
		s := &session{dialect: d, conn: c}
		return s, s.begin(ctx)
	}
	p, ok := db.(pool)
	if !ok {
		return nil, fmt.Errorf("a %T is neither a *sql.DB nor a *sql.Conn and embeds neither", db)
	}
	// Like DB.BeginTx, pass over idle connections that the server has closed since.
	for dead := p.Stats().Idle; ; dead-- {
		c, err := p.Conn(ctx)
		if err != nil {
			return nil, err
		}
		s := &session{dialect: d, conn: c, pooled: c}
		err = s.begin(ctx)
		if err == nil {
			return s, nil
		}
		if dead <= 0 || !errors.Is(err, driver.ErrBadConn) {
			return nil, err
		}
	}
}

// begin begins the transaction. After an error the session is closed.
func (s *session) begin(ctx context.Context) (err error) {
	defer func() {
		if err != nil {
			s.clean = true
			s.close(ctx)
		}
	}()
	if s.dialect == MySQL {
		var on bool
		if err := s.conn.QueryRowContext(ctx, "SELECT @@autocommit").Scan(&on); err != nil {
			return fmt.Errorf("read autocommit: %w", err)
		}
		if on {
			s.autocommit = true
			if _, err := s.conn.ExecContext(ctx, "SET autocommit = 0"); err != nil {
				return fmt.Errorf("switch autocommit off: %w", err)
			}
		}
	}
	if s.dialect != SQLite {
		s.tx, err = s.conn.BeginTx(ctx, nil)
		return err
	}
	// In SQLite a statement that ctx interrupts can end the transaction, and the next one is written
	// at once. database/sql would roll back at the end of ctx without telling which one it was.
	if s.tx, err = s.conn.BeginTx(context.WithoutCancel(ctx), nil); err != nil {
		return err
	}
	s.watched = make(chan error, 1)
	s.unwatch = context.AfterFunc(ctx, func() {
		_, gone := s.rollbackTo(ctx)
		s.watched <- gone
	})
	return nil
}

// abandon rolls back. It returns an error if the transaction had ended before, because fn
// may then have written something outside of it.
func (s *session) abandon(ctx context.Context) (gone error) {
	switch {
	case s.dialect == SQLite && !s.unwatch():
		return <-s.watched
	case s.dialect != SQLite && ctx.Err() != nil:
		s.rollback() // database/sql does the same, and rejects further statements
		return nil
	default:
		s.clean, gone = s.rollbackTo(ctx)
		return gone
	}
}

// rollbackTo rolls back. gone is an error if the transaction of the announcement no
// longer existed.
func (s *session) rollbackTo(ctx context.Context) (clean bool, gone error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	_, gone = s.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+savepoint)
	err := s.tx.Rollback()
	if gone == nil && s.dialect == SQLite {
		gone = err // a connection cannot break here, so there was nothing to roll back
	}
	return gone == nil && err == nil, gone
}

// rollback rolls back if fn has not run, or can no longer write.
func (s *session) rollback() { s.clean = s.tx.Rollback() == nil }

// commit commits. Its error tells whether the transaction was committed.
func (s *session) commit(ctx context.Context) error {
	err := s.tx.Commit()
	switch {
	case err == nil:
		s.clean = true
		return nil
	case errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil:
		return errors.New("fence: the transaction was rolled back instead of committed")
	case errors.Is(err, sql.ErrTxDone):
		return ended(err)
	case !leavesOpen(err) && s.answers(ctx):
		return fmt.Errorf("fence: the database refused the commit, nothing was written: %w", err)
	default:
		return fmt.Errorf("fence: commit: %w: read the data again to find out: %w", ErrCommitUnknown, err)
	}
}

// leavesOpen reports whether err, which answers COMMIT, leaves open whether the transaction
// was committed. Drivers that have SQLSTATEs return them with the method.
func leavesOpen(err error) bool {
	var said interface{ SQLState() string }
	if !errors.As(err, &said) {
		return false
	}
	state := said.SQLState()
	// 40003 says it. The others say that a connection has ended. If the client's still works, that
	// was the connection of a proxy to the server.
	return state == "40003" || strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
}

// answers reports whether the connection still works after a failed COMMIT. Then the
// error was the database's answer, and the answer was not lost.
func (s *session) answers(ctx context.Context) (works bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	unlessClosed(func() {
		_, _ = s.conn.ExecContext(ctx, "ROLLBACK") // some drivers leave the transaction open; SQLite fails if there is none
		var one int
		works = s.conn.QueryRowContext(ctx, "SELECT 1").Scan(&one) == nil
	})
	return works
}

// unlessClosed runs use, which calls methods of a connection whose transaction may have
// just ended with ctx. database/sql then rolls back on a goroutine of its own, and may
// close the connection. A method that begins at that moment dereferences nil: Conn.grabConn
// looks whether the connection is closed before it locks it. unlessClosed swallows this.
func unlessClosed(use func()) {
	defer func() {
		if p := recover(); p != nil {
			if _, ok := p.(runtime.Error); !ok {
				panic(p)
			}
		}
	}()
	use()
}

// close rolls back if nothing else has ended the transaction, and returns the connection.
// If the connection cannot be restored to its previous state, close discards it.
func (s *session) close(ctx context.Context) {
	if s.unwatch != nil {
		s.unwatch()
	}
	if s.tx != nil {
		_ = s.tx.Rollback() // after a panic of fn; does nothing otherwise
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if s.clean && s.autocommit {
		_, err := s.conn.ExecContext(ctx, "SET autocommit = 1")
		s.clean = err == nil
	}
	switch {
	case s.clean:
	case s.dialect == SQLite:
		// Keep the connection, because a database in memory ends with it. Its only state is
		// its transaction.
		_, _ = s.conn.ExecContext(ctx, "ROLLBACK")
	default:
		unlessClosed(func() { _ = s.conn.Raw(func(any) error { return driver.ErrBadConn }) })
	}
	if s.pooled != nil {
		_ = s.pooled.Close()
	}
}
