package fencing

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/fence"
)

// A way is one of the ways to fence the state of order 1.
type way struct {
	name     string
	announce func(ctx context.Context, q fence.Querier, token uint64) error
}

// ways returns the ways for a new database.
func ways(t testing.TB, d *database, db *sql.DB) []way {
	t.Helper()
	orders, table := newOrders(t, d, db), newTable(t, d, db)
	if err := table.Announce(t.Context(), db, "seen", 1); err != nil {
		t.Fatal(err)
	}
	return []way{
		{"column", func(ctx context.Context, q fence.Querier, token uint64) error {
			return orders.Announce(ctx, q, 1, token)
		}},
		{"table", func(ctx context.Context, q fence.Querier, token uint64) error {
			return table.Announce(ctx, q, "seen", token)
		}},
		{"table without a row", func(ctx context.Context, q fence.Querier, token uint64) error {
			return table.Announce(ctx, q, "new", token)
		}},
	}
}

func setState(t testing.TB, q fence.Querier, state string) {
	t.Helper()
	mustExec(t, q, "UPDATE orders SET state = '"+state+"' WHERE id = 1")
}

// eachWay runs a test in a new database for each way to fence.
func eachWay(t *testing.T, test func(t *testing.T, d *database, db *sql.DB, w way)) {
	each(t, func(t *testing.T, d *database) {
		for i, w := range ways(t, d, d.open(t)) {
			t.Run(w.name, func(t *testing.T) {
				db := d.open(t)
				test(t, d, db, ways(t, d, db)[i])
			})
		}
	})
}

// waits calls f in the background and fails if f does not wait.
func waits(t testing.TB, f func() error) (result <-chan error) {
	t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		t.Errorf("did not wait, but returned %v", err)
		done <- err
	case <-time.After(50 * time.Millisecond):
	}
	return done
}

// A new holder waits for the old one's transaction, and then reads what it wrote.
func TestNewerWaitsForOlder(t *testing.T) {
	eachWay(t, func(t *testing.T, _ *database, db *sql.DB, w way) {
		older, newer := begin(t, db, sql.LevelDefault), begin(t, db, sql.LevelDefault)
		if err := w.announce(t.Context(), older, 5); err != nil {
			t.Fatal(err)
		}
		announced := waits(t, func() error { return w.announce(t.Context(), newer, 6) })
		setState(t, older, "by 5")
		commit(t, older)
		if err := <-announced; err != nil {
			t.Fatal(err)
		}
		if got := state(t, newer, 1); got != "by 5" {
			t.Errorf("the newer holder read %q, want what the older one wrote", got)
		}
		commit(t, newer)
		wantStale(t, w.announce(t.Context(), db, 5), 5, 6)
	})
}

// An old holder that wakes up during the new holder's transaction waits, and is then rejected.
func TestOlderWaitsForNewer(t *testing.T) {
	eachWay(t, func(t *testing.T, _ *database, db *sql.DB, w way) {
		older, newer := begin(t, db, sql.LevelDefault), begin(t, db, sql.LevelDefault)
		if err := w.announce(t.Context(), newer, 6); err != nil {
			t.Fatal(err)
		}
		announced := waits(t, func() error { return w.announce(t.Context(), older, 5) })
		setState(t, newer, "by 6")
		commit(t, newer)
		wantStale(t, <-announced, 5, 6)
		older.Rollback()
		if got := state(t, db, 1); got != "by 6" {
			t.Errorf("state %q, want by 6", got)
		}
	})
}

// An announcement that was rolled back has no effect.
func TestOlderAfterNewerRolledBack(t *testing.T) {
	eachWay(t, func(t *testing.T, _ *database, db *sql.DB, w way) {
		older, newer := begin(t, db, sql.LevelDefault), begin(t, db, sql.LevelDefault)
		if err := w.announce(t.Context(), newer, 6); err != nil {
			t.Fatal(err)
		}
		announced := waits(t, func() error { return w.announce(t.Context(), older, 5) })
		if err := newer.Rollback(); err != nil {
			t.Fatal(err)
		}
		if err := <-announced; err != nil {
			t.Fatal(err)
		}
		commit(t, older)
	})
}

// A wait ends with its ctx and leaves nothing behind. The transaction is rolled back, even if the
// server notices late that nobody waits any more.
func TestWaitEnds(t *testing.T) {
	eachWay(t, func(t *testing.T, d *database, db *sql.DB, w way) {
		older := begin(t, db, sql.LevelDefault)
		if err := w.announce(t.Context(), older, 5); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		newer, err := db.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer newer.Rollback()
		if d.dialect == fence.SQLite { // checks ctx only when its own limit is over
			mustExec(t, newer, "PRAGMA busy_timeout = 200")
		}
		start := time.Now()
		err = w.announce(ctx, newer, 6)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want context.DeadlineExceeded", err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("a wait of 100 ms took %v", took)
		}
		newer.Rollback()
		commit(t, older)
		if err := w.announce(t.Context(), db, 5); err != nil {
			t.Errorf("after a newer holder gave up: %v", err)
		}
	})
}

// A holder that pauses within its transaction makes the others wait until the server ends the
// transaction. Nothing is written then.
func TestPausedInTransaction(t *testing.T) {
	limit := map[fence.Dialect]string{
		fence.PostgreSQL: "SET idle_in_transaction_session_timeout = '300ms'",
		fence.MySQL:      "SET idle_transaction_timeout = 1", // only in MariaDB, in seconds
	}
	eachWay(t, func(t *testing.T, d *database, db *sql.DB, w way) {
		if limit[d.dialect] == "" {
			t.Skipf("%s has no limit for an idle transaction", d.name)
		}
		older := begin(t, db, sql.LevelDefault)
		mustExec(t, older, limit[d.dialect])
		if err := w.announce(t.Context(), older, 5); err != nil {
			t.Fatal(err)
		}
		setState(t, older, "by 5")
		if err := w.announce(t.Context(), db, 6); err != nil {
			t.Error(err)
		}
		if err := older.Commit(); err == nil {
			t.Error("the transaction was committed after its end")
		}
		if got := state(t, db, 1); got != "new" {
			t.Errorf("state %q, want new", got)
		}
	})
}
