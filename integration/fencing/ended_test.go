package fencing

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/fence"
)

const (
	postgres  = "PostgreSQL"
	maria     = "MariaDB"
	snapshots = "MariaDB with snapshot isolation"
	lite      = "SQLite"
)

// A result describes a transaction in which the holder of token 5 writes row 3 early, meets an
// ending, and writes row 4 late. The holder of token 6 comes between the ending and the late
// write.
type result struct {
	err   error // matches the error of Do; nil for none, errAborted for one without a sentinel
	early bool  // the early write was stored
	late  bool  // the late write was stored
	held  bool  // the holder of 6 had to wait until Do returned
}

// errAborted stands for an error that means that nothing was written.
var errAborted = errors.New("an error without a sentinel")

var (
	goesOn     = result{err: nil, early: true, late: true, held: true}
	aborted    = result{err: errAborted, held: true}
	rolledBack = result{err: fence.ErrEnded}
	committed  = result{err: fence.ErrEnded, early: true}
)

// An ending is a way in which a transaction ends, or may seem to end, while fn runs.
type ending struct {
	name  string
	setup map[fence.Dialect]string // for the holder's connection, before Do
	end   func(h *holder)
	want  map[string]result // by database; missing if the ending does not exist there
	stale []string          // databases that, without the protection, accept the late write after the write of 6
}

var endings = []ending{
	{
		name: "nothing",
		end:  func(*holder) {},
		want: map[string]result{postgres: goesOn, maria: goesOn, snapshots: goesOn, lite: goesOn},
	},
	{
		name: "deadlock",
		end: func(h *holder) {
			done := h.rival()
			if h.d.dialect == fence.PostgreSQL {
				mustExec(h.t, h.tx, "SET LOCAL deadlock_timeout = '10ms'") // the rival's is 1 s
			}
			h.fails("UPDATE orders SET state = 'by 5' WHERE id = 2")
			<-done
		},
		want:  map[string]result{postgres: aborted, maria: rolledBack, snapshots: rolledBack},
		stale: []string{maria, snapshots},
	},
	{
		name:  "serialization failure",
		setup: map[fence.Dialect]string{fence.PostgreSQL: "SET default_transaction_isolation = 'repeatable read'"},
		end: func(h *holder) {
			state(h.t, h.tx, 2)
			setRow(h.t, h.db, 2, "other")
			h.fails("UPDATE orders SET state = 'by 5' WHERE id = 2")
		},
		want:  map[string]result{postgres: aborted, snapshots: rolledBack},
		stale: []string{snapshots},
	},
	{
		name:  "lock timeout",
		setup: map[fence.Dialect]string{fence.PostgreSQL: "SET lock_timeout = '50ms'", fence.MySQL: "SET innodb_lock_wait_timeout = 1"},
		end:   lockTimeout,
		want:  map[string]result{postgres: aborted, maria: goesOn, snapshots: goesOn},
	},
	{
		name: "ctx of a statement ends",
		end: func(h *holder) {
			ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
			defer cancel()
			if _, err := h.tx.ExecContext(ctx, slow[h.d.dialect]); !errors.Is(err, context.DeadlineExceeded) {
				h.t.Errorf("%v, want context.DeadlineExceeded", err)
			}
		},
		// pgx and the MySQL driver close the connection. MariaDB notices it after the statement.
		want:  map[string]result{postgres: rolledBack, maria: {err: fence.ErrEnded, held: true}, snapshots: {err: fence.ErrEnded, held: true}, lite: {err: fence.ErrEnded, late: true}},
		stale: []string{lite},
	},
	{
		name: "statement cancelled on the server",
		end: func(h *holder) {
			h.later("SELECT pg_cancel_backend(%d)", "KILL QUERY %d")
			h.fails(slow[h.d.dialect])
		},
		want: map[string]result{postgres: aborted, maria: goesOn, snapshots: goesOn},
	},
	{
		name:  "statement timeout",
		setup: map[fence.Dialect]string{fence.PostgreSQL: "SET statement_timeout = '100ms'", fence.MySQL: "SET max_statement_time = 0.1"},
		end:   func(h *holder) { h.fails(slow[h.d.dialect]) },
		want:  map[string]result{postgres: aborted, maria: goesOn, snapshots: goesOn},
	},
	{
		name: "constraint",
		end:  func(h *holder) { h.fails("INSERT INTO orders (id, state) VALUES (3, 'twice')") },
		want: map[string]result{postgres: aborted, maria: goesOn, snapshots: goesOn, lite: goesOn},
	},
	{
		name:  "constraint with ON CONFLICT ROLLBACK",
		end:   func(h *holder) { h.fails("INSERT OR ROLLBACK INTO orders (id, state) VALUES (3, 'twice')") },
		want:  map[string]result{lite: {err: fence.ErrEnded, late: true}},
		stale: []string{lite},
	},
	{
		name:  "full disk",
		setup: map[fence.Dialect]string{fence.SQLite: "PRAGMA max_page_count = 20"},
		end: func(h *holder) {
			if h.d.dialect == fence.SQLite {
				h.fails(slow[fence.SQLite])
				return
			}
			mustExec(h.t, h.tx, "CREATE TABLE filler (v text)") // reaches the limit of the server's file size
			h.fails("INSERT INTO filler SELECT 'some text that fills up the disk' FROM generate_series(1, 1000000)")
		},
		want: map[string]result{postgres: aborted, lite: goesOn},
	},
	{
		name:  "DDL",
		end:   func(h *holder) { mustExec(h.t, h.tx, "CREATE TABLE made_by_fn (id integer)") },
		want:  map[string]result{postgres: goesOn, maria: committed, snapshots: committed, lite: goesOn},
		stale: []string{maria, snapshots},
	},
	{
		name: "LOCK TABLES",
		end: func(h *holder) {
			mustExec(h.t, h.tx, map[fence.Dialect]string{
				fence.PostgreSQL: "LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE", fence.MySQL: "LOCK TABLES orders WRITE",
			}[h.d.dialect])
		},
		want: map[string]result{postgres: goesOn, maria: {err: fence.ErrEnded, early: true, held: true}, snapshots: {err: fence.ErrEnded, early: true, held: true}},
	},
	{
		name: "LOCK TABLES and UNLOCK TABLES",
		end: func(h *holder) {
			mustExec(h.t, h.tx, "LOCK TABLES orders WRITE")
			mustExec(h.t, h.tx, "UNLOCK TABLES")
		},
		want:  map[string]result{maria: committed, snapshots: committed},
		stale: []string{maria, snapshots},
	},
	{
		name:  "COMMIT as text",
		end:   func(h *holder) { mustExec(h.t, h.tx, "COMMIT") },
		want:  map[string]result{postgres: {fence.ErrEnded, true, true, false}, maria: committed, snapshots: committed, lite: {fence.ErrEnded, true, true, false}},
		stale: []string{postgres, maria, snapshots, lite},
	},
	{
		name:  "ROLLBACK as text",
		end:   func(h *holder) { mustExec(h.t, h.tx, "ROLLBACK") },
		want:  map[string]result{postgres: {err: fence.ErrEnded, late: true}, maria: rolledBack, snapshots: rolledBack, lite: {err: fence.ErrEnded, late: true}},
		stale: []string{postgres, maria, snapshots, lite},
	},
	{
		name:  "BEGIN as text",
		end:   func(h *holder) { h.ignore("BEGIN") },
		want:  map[string]result{postgres: goesOn, maria: committed, snapshots: committed, lite: goesOn},
		stale: []string{maria, snapshots},
	},
	{
		name: "COMMIT and BEGIN as text",
		end: func(h *holder) {
			mustExec(h.t, h.tx, "COMMIT")
			mustExec(h.t, h.tx, "BEGIN")
		},
		want:  map[string]result{postgres: committed, maria: committed, snapshots: committed, lite: committed},
		stale: []string{postgres, maria, snapshots, lite},
	},
	{
		name: "autocommit switched on",
		end:  func(h *holder) { mustExec(h.t, h.tx, "SET autocommit = 1") },
		want: map[string]result{maria: {fence.ErrEnded, true, true, false}, snapshots: {fence.ErrEnded, true, true, false}},
	},
	{
		name: "tx.Commit",
		end:  func(h *holder) { commit(h.t, h.tx) },
		want: map[string]result{postgres: committed, maria: committed, snapshots: committed, lite: committed},
	},
	{
		name: "tx.Rollback",
		end:  func(h *holder) { h.tx.Rollback() },
		want: map[string]result{postgres: rolledBack, maria: rolledBack, snapshots: rolledBack, lite: rolledBack},
	},
	{
		name: "ctx of Do ends",
		end:  func(h *holder) { h.stop() },
		want: map[string]result{postgres: {err: context.Canceled}, maria: {err: context.Canceled}, snapshots: {err: context.Canceled}, lite: {err: context.Canceled}},
	},
	{
		name: "connection killed",
		end: func(h *holder) {
			h.later("SELECT pg_terminate_backend(%d)", "KILL CONNECTION %d")
			h.fails(slow[h.d.dialect])
		},
		want: map[string]result{postgres: rolledBack, maria: rolledBack, snapshots: rolledBack},
	},
	{
		name:  "idle too long",
		setup: map[fence.Dialect]string{fence.PostgreSQL: "SET idle_in_transaction_session_timeout = '100ms'", fence.MySQL: "SET idle_transaction_timeout = 1"},
		end:   func(h *holder) {}, // the holder of 6 waits for the server to end the connection
		want:  map[string]result{postgres: rolledBack, maria: rolledBack, snapshots: rolledBack},
	},
	{
		name: "rows left open",
		end: func(h *holder) {
			rows, err := h.tx.QueryContext(context.Background(), "SELECT id FROM orders")
			if err != nil {
				h.t.Fatal(err)
			}
			rows.Next()
		},
		want: map[string]result{postgres: {err: fence.ErrEnded, held: true}, maria: {err: fence.ErrEnded, held: true}, snapshots: {err: fence.ErrEnded, held: true}, lite: goesOn},
	},
}

// slow lists statements that take a long time.
var slow = map[fence.Dialect]string{
	fence.PostgreSQL: "SELECT pg_sleep(20)",
	fence.MySQL:      "UPDATE orders SET state = 'slow' WHERE id = 2 AND SLEEP(1) = 0",
	fence.SQLite: "INSERT INTO orders (id, state) WITH RECURSIVE n(i) AS " +
		"(SELECT 1000 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) SELECT i, 'slow' FROM n",
}

func lockTimeout(h *holder) {
	other := begin(h.t, h.db, sql.LevelDefault)
	setRow(h.t, other, 2, "other")
	h.fails("UPDATE orders SET state = 'by 5' WHERE id = 2")
	other.Rollback()
}

// A holder is the holder of token 5, in its transaction.
type holder struct {
	t    *testing.T
	d    *database
	db   *sql.DB // for other holders
	tx   *sql.Tx
	stop func() // ends the ctx of Do
}

// ignore runs a statement and ignores its error, which a correct fn does not do.
func (h *holder) ignore(query string) {
	if _, err := h.tx.ExecContext(context.Background(), query); err != nil {
		h.t.Logf("ignored: %s: %v", query, err)
	}
}

// fails runs a statement that must fail, and ignores the error.
func (h *holder) fails(query string) {
	h.t.Helper()
	_, err := h.tx.ExecContext(context.Background(), query)
	if err == nil {
		h.t.Errorf("%s did not fail", query)
	}
	h.t.Logf("ignored: %s: %v", query, err)
}

// later runs a statement about the holder's connection on another connection, after 100 ms.
func (h *holder) later(postgreSQL, mySQL string) {
	h.t.Helper()
	query, statement := "SELECT pg_backend_pid()", postgreSQL
	if h.d.dialect == fence.MySQL {
		query, statement = "SELECT CONNECTION_ID()", mySQL
	}
	var id int
	if err := h.tx.QueryRowContext(h.t.Context(), query).Scan(&id); err != nil {
		h.t.Fatal(err)
	}
	time.AfterFunc(100*time.Millisecond, func() {
		if _, err := h.db.ExecContext(context.Background(), fmt.Sprintf(statement, id)); err != nil {
			h.t.Errorf(statement+": %v", id, err)
		}
	})
}

// rival has locked row 2 and waits for row 3, which the holder has locked. It has changed more
// rows than the holder, so that the database makes the holder the victim.
func (h *holder) rival() (done chan struct{}) {
	h.t.Helper()
	rival := begin(h.t, h.db, sql.LevelDefault)
	for i := range 20 {
		mustExec(h.t, rival, fmt.Sprintf("INSERT INTO orders (id, state) VALUES (%d, 'rival')", 100+i))
	}
	setRow(h.t, rival, 2, "rival")
	waits := lockWait(h.t, h.d, rival)
	done = make(chan struct{})
	go func() {
		defer close(done)
		if _, err := rival.ExecContext(context.Background(), "UPDATE orders SET state = 'rival' WHERE id = 3"); err != nil {
			h.t.Errorf("the rival was the victim: %v", err)
		}
		rival.Rollback()
	}()
	for deadline := time.Now().Add(10 * time.Second); ; {
		var n int
		if err := h.db.QueryRowContext(h.t.Context(), waits).Scan(&n); err != nil {
			h.t.Fatal(err)
		}
		if n > 0 {
			return done
		}
		if time.Now().After(deadline) {
			h.t.Fatal("the rival does not wait")
		}
		time.Sleep(120 * time.Millisecond) // InnoDB repeats its answer if it is asked again within 100 ms
	}
}

// lockWait returns a query for whether the connection of tx waits for a row: 1, or 0.
func lockWait(t testing.TB, d *database, tx *sql.Tx) string {
	t.Helper()
	query, waits := "SELECT pg_backend_pid()", "SELECT count(*) FROM pg_stat_activity WHERE pid = %d AND wait_event_type = 'Lock'"
	if d.dialect == fence.MySQL {
		query, waits = "SELECT CONNECTION_ID()", "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %d AND trx_state = 'LOCK WAIT'"
	}
	var id int
	if err := tx.QueryRowContext(t.Context(), query).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(waits, id)
}

func setRow(t testing.TB, q fence.Querier, id int, state string) {
	t.Helper()
	mustExec(t, q, fmt.Sprintf("UPDATE orders SET state = '%s' WHERE id = %d", state, id))
}

// A doer is Do of a Table or a Column, or an unprotected one.
type doer func(ctx context.Context, db fence.Beginner, token uint64, fn func(*sql.Tx) error) error

// unprotected is Do without its protection.
func unprotected(table fence.Table) doer {
	return func(ctx context.Context, db fence.Beginner, token uint64, fn func(*sql.Tx) error) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := table.Announce(ctx, tx, "orders", token); err != nil {
			return err
		}
		if err := fn(tx); err != nil {
			return err
		}
		return tx.Commit()
	}
}

// newDoers returns the doers for a new database with the orders 1 to 4.
func newDoers(t *testing.T, d *database, db *sql.DB) map[string]doer {
	t.Helper()
	orders, table := newOrders(t, d, db), newTable(t, d, db)
	mustExec(t, db, "INSERT INTO orders (id, state) VALUES (3, 'new'), (4, 'new')")
	return map[string]doer{
		"Table": func(ctx context.Context, db fence.Beginner, token uint64, fn func(*sql.Tx) error) error {
			return table.Do(ctx, db, "orders", token, fn)
		},
		"Column": func(ctx context.Context, db fence.Beginner, token uint64, fn func(*sql.Tx) error) error {
			return orders.Do(ctx, db, 1, token, fn)
		},
		"unprotected": unprotected(table),
	}
}

// meet makes the holder of token 5 meet the ending. fn returns what returns.
func (e *ending) meet(t *testing.T, d *database, how string, held bool, returns error) (got result) {
	t.Helper()
	db := d.open(t)
	do := newDoers(t, d, db)[how]
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	next := make(chan error, 1)
	fn := func(tx *sql.Tx) error {
		setRow(t, tx, 3, "by 5")
		h := &holder{t, d, db, tx, stop}
		e.end(h)
		go func() {
			next <- do(t.Context(), db, 6, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(t.Context(), "UPDATE orders SET state = 'by 6' WHERE id = 1")
				return err
			})
		}()
		limit := 20 * time.Second
		if held {
			limit = 50 * time.Millisecond
		}
		select {
		case err := <-next:
			next <- err
		case <-time.After(limit):
			got.held = true
		}
		h.ignore("UPDATE orders SET state = 'by 5' WHERE id = 4")
		return returns
	}
	if setup := e.setup[d.dialect]; setup == "" {
		got.err = do(ctx, db, 5, fn)
	} else {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mustExec(t, conn, setup)
		got.err = do(ctx, conn, 5, fn)
		if d.dialect == fence.MySQL && conn.PingContext(t.Context()) == nil {
			checkIdle(t, d, conn)
		}
		conn.Raw(func(any) error { return driver.ErrBadConn }) // drops the settings of setup
		conn.Close()
	}
	if err := <-next; err != nil {
		t.Errorf("the holder of 6: %v", err)
	}
	got.early = state(t, db, 3) == "by 5"
	got.late = state(t, db, 4) == "by 5"
	checkPool(t, d, db)
	return got
}

// checkPool fails unless every connection of the pool has its initial settings.
func checkPool(t *testing.T, d *database, db *sql.DB) {
	t.Helper()
	for range db.Stats().Idle {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close() // closes at the end, so that the next connection is another one
		checkIdle(t, d, conn)
	}
}

func checkIdle(t *testing.T, d *database, conn *sql.Conn) {
	t.Helper()
	if d.dialect == fence.MySQL {
		var autocommit, open int
		if err := conn.QueryRowContext(t.Context(), "SELECT @@autocommit, @@in_transaction").Scan(&autocommit, &open); err != nil {
			t.Error(err)
		}
		if autocommit != 1 || open != 0 {
			t.Errorf("a connection has autocommit %d and %d open transactions, want 1 and 0", autocommit, open)
		}
		return
	}
	for _, statement := range []string{"BEGIN", "ROLLBACK"} {
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Errorf("a connection has an open transaction: %v", err)
		}
	}
}

func (r result) check(t *testing.T, want result) {
	t.Helper()
	t.Logf("Do: %v", r.err)
	sentinel := slices.ContainsFunc([]error{fence.ErrEnded, fence.ErrStale, fence.ErrCommitUnknown}, func(e error) bool { return errors.Is(r.err, e) })
	switch {
	case want.err == errAborted && (r.err == nil || sentinel), want.err != errAborted && !errors.Is(r.err, want.err):
		t.Errorf("Do returned %v, want %v", r.err, want.err)
	case r.late && !r.held && r.err == nil:
		t.Error("a stale write was not reported")
	}
	r.err, want.err = nil, nil
	if r != want {
		t.Errorf("early write, late write, 6 waits: %v %v %v, want %v %v %v", r.early, r.late, r.held, want.early, want.late, want.held)
	}
}

// A holder ignores every error. Either it cannot write after a newer holder, or Do reports it. Do
// returns nil only if everything that fn wrote was written under the fence.
func TestEnded(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for _, e := range endings {
			want, ok := e.want[d.name]
			if !ok {
				t.Logf("%s: not in %s", e.name, d.name)
				continue
			}
			for _, how := range []string{"Table", "Column"} {
				t.Run(e.name+"/"+how, func(t *testing.T) {
					e.meet(t, d, how, want.held, nil).check(t, want)
				})
			}
		}
	})
}

// In SQLite, the end of the ctx of Do can interrupt a statement. That ends the transaction just
// before database/sql rejects further statements. A late write in between is stored, so Do
// reports it.
func TestEndedByCtxInStatement(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.dialect != fence.SQLite {
			t.Skipf("the driver of %s closes the connection in this case", d.name)
		}
		db := d.open(t)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		err := newDoers(t, d, db)["Table"](ctx, db, 5, func(tx *sql.Tx) error {
			time.AfterFunc(100*time.Millisecond, stop)
			_, _ = tx.ExecContext(ctx, slow[d.dialect])
			_, _ = tx.ExecContext(context.Background(), "UPDATE orders SET state = 'by 5' WHERE id = 4")
			return nil
		})
		if !errors.Is(err, context.Canceled) || !errors.Is(err, fence.ErrEnded) {
			t.Errorf("%v, want context.Canceled and ErrEnded", err)
		}
		t.Logf("the late write was stored: %v", state(t, db, 4) == "by 5")
		checkPool(t, d, db)
	})
}

// An error that fn returns does not hide that its transaction had ended.
func TestEndedAndReturned(t *testing.T) {
	errOwn := errors.New("fn's own error")
	each(t, func(t *testing.T, d *database) {
		for _, e := range endings {
			want, ok := e.want[d.name]
			if !ok || !slices.Contains([]string{"nothing", "deadlock", "COMMIT as text", "constraint", "ctx of a statement ends"}, e.name) {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				got := e.meet(t, d, "Table", want.held, errOwn)
				if !errors.Is(got.err, errOwn) {
					t.Errorf("%v, want the error of fn", got.err)
				}
				if want == goesOn || want == aborted {
					want = aborted
					if got.err != errOwn {
						t.Errorf("%v, want only the error of fn", got.err)
					}
				}
				got.check(t, want)
			})
		}
	})
}

// The endings do what they are meant to do: without the protection, a late write follows the
// write of the newer holder. Otherwise TestEnded would prove nothing.
func TestEndedUnprotected(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		for _, e := range endings {
			if !slices.Contains(e.stale, d.name) {
				continue
			}
			t.Run(e.name, func(t *testing.T) {
				got := e.meet(t, d, "unprotected", false, nil)
				if !got.late || got.held {
					t.Errorf("the late write was stored: %v, the holder of 6 waited: %v; want a stale write", got.late, got.held)
				}
				if silent := got.err == nil; !silent && d.dialect != fence.SQLite { // SQLite fails at COMMIT
					t.Errorf("reported without the protection: %v", got.err)
				}
			})
		}
	})
}
