package fencing

import (
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// newTable returns a Table that is there, with no resource.
func newTable(t testing.TB, d *database, db *sql.DB) fence.Table {
	t.Helper()
	table := fence.Table{Dialect: d.dialect}
	for range 2 { // a migration may run twice
		mustExec(t, db, table.Schema())
	}
	return table
}

// wantStale fails unless err refuses token for highest.
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
		{"the same again", []uint64{7, 7, 7}, []bool{false, false, false}},
		{"lower than seen", []uint64{7, 6, 7, 8, 7}, []bool{false, true, false, false, true}},
		{"the lowest after the highest", []uint64{highest, 1}, []bool{false, true}},
	}
	each(t, func(t *testing.T, d *database) {
		db := d.open(t)
		table := newTable(t, d, db)
		if err := table.Announce(t.Context(), db, "other", highest); err != nil { // of no concern to the others
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

// Names that differ are different resources, whatever the database makes of case and
// spaces in texts.
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

// A transaction that was refused, or whose fn failed, leaves nothing behind.
func TestTableDoIsAtomic(t *testing.T) {
	errOwn := errors.New("fn's own")
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
			t.Errorf("%v, want fn's own", err)
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

// Many holders at once, some late, from the resource's first token on: one runs at a
// time, in the order of the tokens.
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
							t.Errorf("%d holders at once", n)
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
			t.Errorf("in this order: %v", seen)
		}
		t.Logf("%d of %d in time", len(seen), last.Load())
	})
}
