package fencing

import (
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
)

// newTable returns an existing Table without any resource.
func newTable(t testing.TB, d *database, db *sql.DB) fence.Table {
	t.Helper()
	table := fence.Table{Dialect: d.dialect}
	for range 2 { // a migration may run twice
		mustExec(t, db, table.Schema())
	}
	return table
}

// wantStale fails unless err rejects token because of highest.
func wantStale(t testing.TB, err error, token, highest uint64) {
	t.Helper()
	var stale *fence.StaleError
	if !errors.As(err, &stale) || stale.Token != token || stale.Highest != highest {
		t.Errorf("token %d after %d: %v, want a StaleError", token, highest, err)
	}
}

func TestTableAnnounce(t *testing.T) {
	const highest = math.MaxInt64
	tests := []struct {
		name   string
		tokens []uint64
		stale  []bool
	}{
		{"rising", []uint64{1, 2, 1 << 53, highest}, []bool{false, false, false, false}},
		{"the same token again", []uint64{7, 7, 7}, []bool{false, false, false}},
		{"lower than seen", []uint64{7, 6, 7, 8, 7}, []bool{false, true, false, false, true}},
		{"the lowest after the highest", []uint64{highest, 1}, []bool{false, true}},
	}
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		if err := table.Announce(t.Context(), db, "other", highest); err != nil { // does not affect the others
			t.Fatal(err)
		}
		for _, tt := range tests {
			for _, how := range []string{"on the pool", "in a transaction"} {
				t.Run(tt.name+" "+how, func(t *testing.T) {
					resource := "r/" + tt.name + how
					var seen uint64
					for i, token := range tt.tokens {
						var err error
						if how == "on the pool" {
							err = table.Announce(t.Context(), db, resource, token)
						} else {
							err = table.Do(t.Context(), db, resource, token, func(*sql.Tx) error { return nil })
						}
						if tt.stale[i] {
							wantStale(t, err, token, seen)
						} else if err != nil {
							t.Errorf("token %d: %v", token, err)
						}
						seen = max(seen, token)
					}
				})
			}
		}
	})
}

// Different names are different resources, even if the database ignores case or spaces in texts.
func TestTableResources(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		for i, resource := range []string{"a", "A", "a ", " a", "", "ä", "a\u0308", "日本", "o'brien", strings.Repeat("x", 255)} {
			if err := table.Announce(t.Context(), db, resource, uint64(100-i)); err != nil {
				t.Errorf("%q: %v", resource, err)
			}
		}
	})
}

// A transaction that was rejected, or whose fn failed, leaves nothing behind.
func TestTableDoIsAtomic(t *testing.T) {
	errOwn := errors.New("fn's own error")
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		mustExec(t, db, "CREATE TABLE data (v integer)")
		write := func(token uint64, v int, fail error) error {
			return table.Do(t.Context(), db, "r", token, func(tx *sql.Tx) error {
				mustExec(t, tx, "INSERT INTO data VALUES ("+d.arg(1)+")", v)
				return fail
			})
		}
		if err := write(5, 1, nil); err != nil {
			t.Error(err)
		}
		if err := write(9, 10, errOwn); err != errOwn {
			t.Errorf("%v, want fn's own error", err)
		}
		if err := write(6, 100, nil); err != nil { // the announcement of 9 was rolled back
			t.Error(err)
		}
		wantStale(t, write(5, 1000, nil), 5, 6)
		var sum int
		if err := db.QueryRowContext(t.Context(), "SELECT sum(v) FROM data").Scan(&sum); err != nil || sum != 101 {
			t.Errorf("%d was written, %v; want 101", sum, err)
		}
	})
}

// Many holders start concurrently on a new resource, some of them late. One runs at a time, in
// the order of the tokens.
func TestTableDoConcurrently(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		var last atomic.Uint64
		var inside atomic.Int64
		var mu sync.Mutex
		var seen []uint64
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 20 {
					token := last.Add(1)
					err := table.Do(t.Context(), db, "r", token, func(*sql.Tx) error {
						if n := inside.Add(1); n > 1 {
							t.Errorf("unsafe: %d holders at once", n)
						}
						mu.Lock()
						seen = append(seen, token)
						mu.Unlock()
						inside.Add(-1)
						return nil
					})
					if err != nil && !errors.Is(err, fence.ErrStale) {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if len(seen) < 2 || !slices.IsSorted(seen) {
			t.Errorf("unsafe: the tokens are not in order: %v", seen)
		}
		t.Logf("%d of %d in time", len(seen), last.Load())
	})
}

// Sessions may create the table concurrently, as instances of a service do when they start.
func TestTableSchemaConcurrently(t *testing.T) {
	const sessions, rounds = 12, 10
	// run creates tables in that many concurrent sessions, and returns the errors.
	run := func(t *testing.T, db *sql.DB, statement func(name string) string) (failed []error) {
		t.Helper()
		conns := make([]*sql.Conn, sessions)
		for i := range conns {
			var err error
			if conns[i], err = db.Conn(t.Context()); err != nil {
				t.Fatal(err)
			}
			defer conns[i].Close()
		}
		var mu sync.Mutex
		for round := range rounds {
			create := statement(fmt.Sprint("fences", round))
			start := make(chan struct{})
			var wg sync.WaitGroup
			for _, conn := range conns {
				wg.Go(func() {
					<-start
					if _, err := conn.ExecContext(t.Context(), create); err != nil {
						mu.Lock()
						defer mu.Unlock()
						failed = append(failed, err)
					}
				})
			}
			close(start)
			wg.Wait()
		}
		return failed
	}
	each(t, func(t *testing.T, d *database) {
		failed := run(t, d.open(t), func(name string) string { return fence.Table{Dialect: d.dialect, Name: name}.Schema() })
		if len(failed) > 0 {
			t.Errorf("%d sessions failed, one with: %v", len(failed), failed[0])
		}
	})
	t.Run("without the lock of PostgreSQL", func(t *testing.T) {
		for _, d := range databases {
			if d.dialect != fence.PostgreSQL {
				continue
			}
			if d.lack != "" {
				servers.Require(t, "%s", d.lack)
			}
			failed := run(t, d.open(t), func(name string) string {
				return fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (resource text NOT NULL PRIMARY KEY, token bigint NOT NULL)", name)
			})
			if len(failed) == 0 {
				t.Error("no session failed, so the test does not show that Schema needs its lock")
			}
		}
	})
}

// A name that the column cannot hold is rejected, and the resource of its shortened form is not
// affected.
func TestTableLongName(t *testing.T) {
	long := strings.Repeat("x", 256)
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if d.dialect != fence.MySQL {
			if err := table.Announce(t.Context(), conn, long, 9); err != nil {
				t.Errorf("a database without a limit: %v", err)
			}
			return
		}
		mustExec(t, conn, "SET sql_mode = ''") // MariaDB then shortens values instead of rejecting them
		if err := table.Announce(t.Context(), conn, long, 9); err == nil || !strings.Contains(err.Error(), "256 bytes") {
			t.Errorf("%v, want an error about the length", err)
		}
		if err := table.Announce(t.Context(), conn, long[:255], 1); err != nil {
			t.Errorf("the resource of the shortened name: %v", err)
		}
		// The program's own table has a shorter column.
		mustExec(t, db, "CREATE TABLE short (resource varbinary(5) NOT NULL PRIMARY KEY, token bigint NOT NULL) ENGINE=InnoDB")
		err = fence.Table{Dialect: d.dialect, Name: "short"}.Do(t.Context(), conn, "abcdef", 9, func(*sql.Tx) error {
			t.Error("fn ran")
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "the column shortened the name") {
			t.Errorf("%v, want an error about the column", err)
		}
		if err := (fence.Table{Dialect: d.dialect, Name: "short"}).Announce(t.Context(), conn, "abcde", 1); err != nil {
			t.Errorf("the resource of the shortened name: %v", err)
		}
	})
}

// A program that begins and commits its own transactions announces again before COMMIT. It then
// learns that its transaction had ended and a newer holder came.
func TestAnnounceAgain(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		newOrders(t, d, db)
		table := newTable(t, d, db)
		older := begin(t, db, sql.LevelDefault)
		if err := table.Announce(t.Context(), older, "r", 5); err != nil {
			t.Fatal(err)
		}
		mustExec(t, older, "ROLLBACK") // as a deadlock does on MySQL
		if err := table.Announce(t.Context(), db, "r", 6); err != nil {
			t.Fatal(err)
		}
		setState(t, older, "by 5")
		wantStale(t, table.Announce(t.Context(), older, "r", 5), 5, 6)
	})
}
