package fencing

import (
	"database/sql"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// newOrders returns the Column of an existing table with the rows 1 and 2.
func newOrders(t testing.TB, d *database, db *sql.DB) fence.Column {
	t.Helper()
	mustExec(t, db, "CREATE TABLE orders (id integer NOT NULL PRIMARY KEY, state varchar(20) NOT NULL)")
	mustExec(t, db, "INSERT INTO orders VALUES (1, 'new'), (2, 'new')")
	mustExec(t, db, "ALTER TABLE orders ADD COLUMN fence bigint NOT NULL DEFAULT 0")
	return fence.Column{Dialect: d.dialect, Table: "orders"}
}

func state(t testing.TB, q fence.Querier, id int) (state string) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), "SELECT state FROM orders WHERE id = "+string('0'+rune(id))).Scan(&state); err != nil {
		t.Error(err)
	}
	return state
}

func TestColumnUpdate(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		orders := newOrders(t, d, db)
		steps := []struct {
			name  string
			id    int
			token uint64
			state string
			want  error
			after string
		}{
			{"first", 1, 7, "paid", nil, "paid"},
			{"the same holder again", 1, 7, "packed", nil, "packed"},
			{"the same write again", 1, 7, "packed", nil, "packed"},
			{"a newer holder, the same value", 1, 8, "packed", nil, "packed"},
			{"a stale holder", 1, 7, "lost", fence.ErrStale, "packed"},
			{"a stale holder, the same value", 1, 7, "packed", fence.ErrStale, "packed"},
			{"another row", 2, 1, "paid", nil, "paid"},
			{"no row", 3, 9, "paid", sql.ErrNoRows, ""},
			{"the highest token", 1, math.MaxInt64, "shipped", nil, "shipped"},
			{"after the highest token", 1, 1 << 53, "lost", fence.ErrStale, "shipped"},
		}
		for _, s := range steps {
			// Each step continues from the previous one.
			if err := orders.Update(t.Context(), db, s.id, s.token, "state = "+d.arg(1), s.state); !errors.Is(err, s.want) {
				t.Errorf("%s: %v, want %v", s.name, err, s.want)
			}
			if err := orders.Check(t.Context(), db, s.id, s.token); !errors.Is(err, s.want) {
				t.Errorf("%s: Check: %v, want %v", s.name, err, s.want)
			}
			if s.after == "" {
				continue
			}
			if got := state(t, db, s.id); got != s.after {
				t.Errorf("%s: the state is %q, want %q", s.name, got, s.after)
			}
		}
	})
}

// After a newer holder has announced itself, an older one cannot write, in a transaction or
// without.
func TestColumnAnnounce(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		orders := newOrders(t, d, db)
		announce := func(id int, token uint64) error { return orders.Announce(t.Context(), db, id, token) }
		write := func(token uint64) error {
			return orders.Do(t.Context(), db, 1, token, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(t.Context(), "UPDATE orders SET state = 'written' WHERE id = 1")
				return err
			})
		}
		for range 2 {
			if err := announce(1, 7); err != nil {
				t.Error(err)
			}
		}
		if err := announce(1, 8); err != nil {
			t.Error(err)
		}
		wantStale(t, announce(1, 7), 7, 8)
		wantStale(t, write(7), 7, 8)
		if got := state(t, db, 1); got != "new" {
			t.Errorf("state %q, want new", got)
		}
		if err := write(8); err != nil || state(t, db, 1) != "written" {
			t.Errorf("the holder that announced itself: %v, state %q", err, state(t, db, 1))
		}
		if err := announce(3, 9); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no row: %v, want sql.ErrNoRows", err)
		}
	})
}

// The statement that docs/fencing.md shows for users who write their own.
func TestColumnByHand(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		orders := newOrders(t, d, db)
		ship := func(token uint64) (updated int64) {
			t.Helper()
			res, err := db.ExecContext(t.Context(), "UPDATE orders SET state = 'shipped', fence = "+d.arg(1)+
				" WHERE id = "+d.arg(2)+" AND fence <= "+d.arg(3)+" AND state = 'new'", token, 1, token) // a uint64 works
			if err != nil {
				t.Fatal(err)
			}
			if updated, err = res.RowsAffected(); err != nil {
				t.Fatal(err)
			}
			return updated
		}
		if err := orders.Announce(t.Context(), db, 1, 8); err != nil {
			t.Fatal(err)
		}
		if n := ship(7); n != 0 {
			t.Errorf("a stale token updated %d rows", n)
		}
		wantStale(t, orders.Check(t.Context(), db, 1, 7), 7, 8)
		if n := ship(8); n != 1 {
			t.Errorf("the highest token updated %d rows", n)
		}
		if n, err := ship(8), orders.Check(t.Context(), db, 1, 8); n != 0 || err != nil {
			t.Errorf("rejected for another reason than the token: %d rows, %v", n, err)
		}
	})
}

// A NULL in the column is reported as such, not as a missing row.
func TestColumnNull(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		mustExec(t, db, "CREATE TABLE bad (id varchar(10) NOT NULL PRIMARY KEY, fence bigint)")
		mustExec(t, db, "INSERT INTO bad (id) VALUES ('x')")
		err := fence.Column{Dialect: d.dialect, Table: "bad"}.Announce(t.Context(), db, "x", 7)
		if err == nil || errors.Is(err, fence.ErrStale) || errors.Is(err, sql.ErrNoRows) || !strings.Contains(err.Error(), "fence of bad/x is NULL") {
			t.Errorf("%v, want an error about the NULL", err)
		}
	})
}

// RETURNING announces the token and reads in one statement.
func TestColumnReturning(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.dialect == fence.MySQL {
			t.Skip("MariaDB and MySQL have no UPDATE … RETURNING")
		}
		db := d.open(t)
		newOrders(t, d, db)
		announce := "UPDATE orders SET fence = " + d.arg(1) + " WHERE id = " + d.arg(2) + " AND fence <= " + d.arg(3) + " RETURNING state"
		var got string
		if err := db.QueryRowContext(t.Context(), announce, 8, 1, 8).Scan(&got); err != nil || got != "new" {
			t.Errorf("%q, %v", got, err)
		}
		if err := db.QueryRowContext(t.Context(), announce, 7, 1, 7).Scan(&got); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("a stale holder: %v, want no row", err)
		}
	})
}
