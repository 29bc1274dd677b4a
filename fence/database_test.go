package fence_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync/atomic"
	"testing"
)

// An exchange is a statement that a scripted database expects, and its reply.
type exchange struct {
	query string
	args  []any // as the driver gets them

	affected int64
	row      driver.Value // the only value of the only row; nil means no row
	null     bool         // the only value is NULL
	err      error
}

// begin, commit and rollback are also statements.
func begin() exchange      { return exchange{query: "BEGIN"} }
func commit() exchange     { return exchange{query: "COMMIT"} }
func rollback() exchange   { return exchange{query: "ROLLBACK"} }
func save() exchange       { return exchange{query: "SAVEPOINT quorumlock_fence"} }
func release() exchange    { return exchange{query: "RELEASE SAVEPOINT quorumlock_fence"} }
func rollbackTo() exchange { return exchange{query: "ROLLBACK TO SAVEPOINT quorumlock_fence"} }

// fails returns the exchange with an error as its reply.
func (e exchange) fails(err error) exchange {
	e.err = err
	return e
}

// scripted opens a database that expects exactly these statements, in order.
func scripted(t *testing.T, script ...exchange) *sql.DB {
	t.Helper()
	db, _ := counted(t, script...)
	return db
}

// counted is scripted, and also counts the closed connections.
func counted(t *testing.T, script ...exchange) (*sql.DB, *atomic.Int64) {
	t.Helper()
	s := &dialogue{t: t, rest: script}
	db := sql.OpenDB(s)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() {
		// database/sql does not wait for the rollback when ctx ends, but the rollback holds the
		// connection.
		if conn, err := db.Conn(context.Background()); err == nil {
			conn.Close()
		}
		db.Close()
		if len(s.rest) > 0 {
			t.Errorf("never sent: %q", s.rest[0].query)
		}
	})
	return db, &s.closed
}

// dialogue is a connector, and its own driver, connection and transaction.
type dialogue struct {
	t      *testing.T
	rest   []exchange
	closed atomic.Int64
}

func (s *dialogue) next(query string, named []driver.NamedValue) exchange {
	var args []any
	for _, a := range named {
		args = append(args, a.Value)
	}
	if len(s.rest) == 0 {
		s.t.Errorf("sent an unexpected %q", query)
		return exchange{err: errors.New("unexpected")}
	}
	e := s.rest[0]
	s.rest = s.rest[1:]
	if query != e.query || !reflect.DeepEqual(args, e.args) {
		s.t.Errorf("sent %q %v\nwant %q %v", query, args, e.query, e.args)
	}
	return e
}

func (s *dialogue) Connect(context.Context) (driver.Conn, error) { return s, nil }
func (s *dialogue) Driver() driver.Driver                        { return nil }
func (s *dialogue) Close() error                                 { s.closed.Add(1); return nil }
func (s *dialogue) Begin() (driver.Tx, error)                    { return s, s.next("BEGIN", nil).err }
func (s *dialogue) Commit() error                                { return s.next("COMMIT", nil).err }
func (s *dialogue) Rollback() error                              { return s.next("ROLLBACK", nil).err }

func (s *dialogue) Prepare(query string) (driver.Stmt, error) {
	return nil, fmt.Errorf("prepared: %q", query)
}

func (s *dialogue) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	e := s.next(query, args)
	return driver.RowsAffected(e.affected), e.err
}

func (s *dialogue) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	e := s.next(query, args)
	return &oneRow{value: e.row, left: e.row != nil || e.null}, e.err
}

type oneRow struct {
	value driver.Value
	left  bool
}

func (r *oneRow) Columns() []string { return []string{"token"} }
func (r *oneRow) Close() error      { return nil }
func (r *oneRow) Next(dest []driver.Value) error {
	if !r.left {
		return io.EOF
	}
	r.left = false
	dest[0] = r.value
	return nil
}
