package fencing

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// A cut breaks a connection at COMMIT.
type cut struct {
	net.Conn
	where   *atomic.Int32 // nowhere, beforeCommit or afterCommit
	waiting atomic.Bool   // for the reply to COMMIT
}

const (
	nowhere int32 = iota
	beforeCommit
	afterCommit
)

func (c *cut) Write(p []byte) (int, error) {
	text := bytes.ToUpper(p)
	if where := c.where.Load(); where != nowhere && bytes.Contains(text, []byte("COMMIT")) && !bytes.Contains(text, []byte("AUTOCOMMIT")) {
		if where == beforeCommit {
			c.Close()
			return 0, io.ErrClosedPipe
		}
		c.waiting.Store(true)
	}
	return c.Conn.Write(p)
}

func (c *cut) Read(p []byte) (int, error) {
	if !c.waiting.Load() {
		return c.Conn.Read(p)
	}
	_, err := c.Conn.Read(p[:1]) // the server has committed
	c.Close()
	return 0, errors.Join(io.ErrUnexpectedEOF, err)
}

// If the reply to COMMIT is lost, Do reports that the outcome is unknown, because both outcomes
// happen.
func TestCommitLost(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.openOver == nil {
			t.Skipf("%s has no connection that can break", d.name)
		}
		for _, tt := range []struct {
			name  string
			where int32
			want  error
			state string
		}{
			{"nowhere", nowhere, nil, "by 5"},
			{"before COMMIT arrives", beforeCommit, fence.ErrCommitUnknown, "new"},
			{"before the reply arrives", afterCommit, fence.ErrCommitUnknown, "by 5"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				var where atomic.Int32
				db := d.openOver(t, func(conn net.Conn) net.Conn { return &cut{Conn: conn, where: &where} })
				do := newDoers(t, d, db)["Table"]
				err := do(t.Context(), db, 5, func(tx *sql.Tx) error {
					setRow(t, tx, 1, "by 5")
					where.Store(tt.where)
					return nil
				})
				where.Store(nowhere)
				if !errors.Is(err, tt.want) {
					t.Errorf("%v, want %v", err, tt.want)
				}
				t.Log(err)
				var read string
				if err := do(t.Context(), db, 6, func(tx *sql.Tx) error { read = state(t, tx, 1); return nil }); err != nil {
					t.Error(err)
				}
				if read != tt.state {
					t.Errorf("the next holder reads %q, want %q", read, tt.state)
				}
				checkPool(t, d, db)
			})
		}
	})
}

// If the database refuses to commit, Do reports that nothing was written. No transaction stays
// open.
func TestCommitRefused(t *testing.T) {
	refused := func(t *testing.T, d *database, db *sql.DB, holder fence.Beginner, do doer, fn func(*sql.Tx) error) {
		t.Helper()
		err := do(t.Context(), holder, 5, func(tx *sql.Tx) error {
			setRow(t, tx, 1, "by 5")
			return fn(tx)
		})
		if err == nil || errors.Is(err, fence.ErrCommitUnknown) || !strings.Contains(err.Error(), "nothing was written") {
			t.Errorf("%v, want an error that says that nothing was written", err)
		}
		t.Log(err)
		if got := state(t, db, 1); got != "new" {
			t.Errorf("the state is %q, want new", got)
		}
		checkPool(t, d, db)
	}
	each(t, func(t *testing.T, d *database) {
		if d.dialect == fence.MySQL {
			t.Skipf("%s has no constraint that is checked at COMMIT", d.name)
		}
		t.Run("constraint", func(t *testing.T) {
			db := d.open(t)
			do := newDoers(t, d, db)["Table"]
			if d.dialect == fence.SQLite {
				db.SetMaxOpenConns(1) // so that every connection has the setting
				mustExec(t, db, "PRAGMA foreign_keys = ON")
			}
			mustExec(t, db, "CREATE TABLE lines (id integer REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED)")
			refused(t, d, db, db, do, func(tx *sql.Tx) error {
				mustExec(t, tx, "INSERT INTO lines VALUES (99)")
				return nil
			})
		})
		if d.dialect != fence.SQLite {
			return
		}
		t.Run("with a reader", func(t *testing.T) {
			// Without a write-ahead log, a reader prevents the writer from committing.
			db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?_pragma=busy_timeout(50)")
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			do := newDoers(t, d, db)["Table"]
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			reader := begin(t, db, sql.LevelDefault)
			refused(t, d, db, conn, do, func(*sql.Tx) error {
				state(t, reader, 1)
				return nil
			})
			reader.Rollback()
			if err := do(t.Context(), conn, 6, func(*sql.Tx) error { return nil }); err != nil {
				t.Errorf("the same connection again: %v", err)
			}
			conn.Close()
		})
	})
}

// A panic of fn rolls back and leaves the pool unchanged. A tx that fn has kept is useless after
// Do.
func TestPanicAndKeptTx(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		do := newDoers(t, d, db)["Table"]
		var kept *sql.Tx
		func() {
			defer func() {
				if p := recover(); p != "fn's" {
					t.Errorf("panic %v, want the panic of fn", p)
				}
			}()
			_ = do(t.Context(), db, 9, func(tx *sql.Tx) error {
				kept = tx
				setRow(t, tx, 1, "by 9")
				panic("fn's")
			})
		}()
		for _, token := range []uint64{5, 6} { // the announcement of 9 was rolled back
			if _, err := kept.ExecContext(context.Background(), "UPDATE orders SET state = 'late' WHERE id = 1"); !errors.Is(err, sql.ErrTxDone) {
				t.Errorf("a statement after Do: %v, want sql.ErrTxDone", err)
			}
			if err := do(t.Context(), db, token, func(tx *sql.Tx) error {
				kept = tx
				if got := state(t, tx, 1); got != "new" {
					t.Errorf("the state is %q, want new", got)
				}
				return nil
			}); err != nil {
				t.Error(err)
			}
		}
		checkPool(t, d, db)
	})
}

// A read-only transaction cannot announce, so fn does not run.
func TestReadOnly(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		do := newDoers(t, d, db)["Table"]
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		mustExec(t, conn, map[fence.Dialect]string{
			fence.PostgreSQL: "SET default_transaction_read_only = on", fence.MySQL: "SET tx_read_only = 1", fence.SQLite: "PRAGMA query_only = 1",
		}[d.dialect])
		err = do(t.Context(), conn, 5, func(*sql.Tx) error {
			t.Error("fn ran")
			return nil
		})
		if err == nil || errors.Is(err, fence.ErrEnded) {
			t.Errorf("%v, want the error of the database", err)
		}
	})
}
