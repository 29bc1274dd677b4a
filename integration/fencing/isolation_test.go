package fencing

import (
	"database/sql"
	"errors"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// The behaviour of a database when a holder announces itself after an older holder: after a wait,
// and after a read in the same transaction.
type answers struct{ afterWait, afterReading string }

const (
	right   = "it reads what the older one wrote"
	old     = "it reads what was there before the older one"
	refused = "the database rejects its transaction"
)

var isolations = map[string]map[sql.IsolationLevel]answers{
	"PostgreSQL": {
		sql.LevelDefault:        {right, right},
		sql.LevelReadCommitted:  {right, right},
		sql.LevelRepeatableRead: {refused, refused},
		sql.LevelSerializable:   {refused, refused},
	},
	// MariaDB's SERIALIZABLE has no entry after a read, because the read makes the older holder
	// wait.
	"MariaDB": {
		sql.LevelDefault:        {right, old},
		sql.LevelReadCommitted:  {right, right},
		sql.LevelRepeatableRead: {right, old},
		sql.LevelSerializable:   {right, ""},
	},
	"MariaDB with snapshot isolation": {
		sql.LevelDefault:        {right, refused},
		sql.LevelReadCommitted:  {right, right},
		sql.LevelRepeatableRead: {right, refused},
		sql.LevelSerializable:   {refused, ""},
	},
	"SQLite": {
		sql.LevelDefault: {right, refused},
	},
}

// eachLevel runs a test in a new database for each isolation level.
func eachLevel(t *testing.T, test func(t *testing.T, db *sql.DB, w way, level sql.IsolationLevel, want answers)) {
	each(t, func(t *testing.T, d *database) {
		for level, want := range isolations[d.name] {
			t.Run(level.String(), func(t *testing.T) {
				db := d.open(t)
				test(t, db, ways(t, d, db)[1], level, want)
			})
		}
	})
}

// then does what a newer holder does after its attempt to announce itself, and describes what it
// has read.
func then(t testing.TB, newer *sql.Tx, announced error) string {
	t.Helper()
	if announced != nil {
		t.Log(announced)
		return refused
	}
	if state(t, newer, 1) == "new" {
		return old
	}
	return right
}

// At every isolation level, a holder that announces itself first reads what earlier holders
// wrote, or the database rejects its transaction. It never reads anything older.
func TestIsolationAnnouncedFirst(t *testing.T) {
	t.Run("after the older holder", func(t *testing.T) {
		eachLevel(t, func(t *testing.T, db *sql.DB, w way, level sql.IsolationLevel, _ answers) {
			older, newer := begin(t, db, level), begin(t, db, level)
			if err := w.announce(t.Context(), older, 5); err != nil {
				t.Fatal(err)
			}
			setState(t, older, "by 5")
			commit(t, older)
			if got := then(t, newer, w.announce(t.Context(), newer, 6)); got != right {
				t.Error(got)
			}
		})
	})
	t.Run("waiting for the older holder", func(t *testing.T) {
		eachLevel(t, func(t *testing.T, db *sql.DB, w way, level sql.IsolationLevel, want answers) {
			older, newer := begin(t, db, level), begin(t, db, level)
			if err := w.announce(t.Context(), older, 5); err != nil {
				t.Fatal(err)
			}
			announced := waits(t, func() error { return w.announce(t.Context(), newer, 6) })
			setState(t, older, "by 5")
			commit(t, older)
			if got := then(t, newer, <-announced); got != want.afterWait || got == old {
				t.Errorf("%s, want: %s", got, want.afterWait)
			}
		})
	})
}

// A transaction that reads before its announcement shows the reason for the rule. Unless the
// database rejects the transaction, an update is lost silently.
func TestIsolationReadFirst(t *testing.T) {
	eachLevel(t, func(t *testing.T, db *sql.DB, w way, level sql.IsolationLevel, want answers) {
		if want.afterReading == "" {
			t.Skip("at this level, the read makes the older holder wait")
		}
		newer := begin(t, db, level)
		read := state(t, newer, 1)

		older := begin(t, db, level)
		if err := w.announce(t.Context(), older, 5); err != nil {
			t.Fatal(err)
		}
		setState(t, older, read+", 5")
		commit(t, older)

		got := then(t, newer, w.announce(t.Context(), newer, 6))
		if got != want.afterReading {
			t.Errorf("%s, want: %s", got, want.afterReading)
		}
		if got == refused {
			return
		}
		setState(t, newer, read+", 6") // based on the first read
		commit(t, newer)
		if end := state(t, db, 1); end != "new, 6" {
			t.Errorf("the state is %q; want the update of 5 lost, which is the reason for the rule", end)
		}
	})
}

// A late holder is rejected even if its transaction has read, and may still see, the state before
// the newer holder.
func TestIsolationLateAfterReading(t *testing.T) {
	eachWay(t, func(t *testing.T, d *database, _ *sql.DB, w way) {
		for level, want := range isolations[d.name] {
			if want.afterReading == "" {
				continue // at this level, the read makes the newer holder wait
			}
			t.Run(level.String(), func(t *testing.T) {
				db := d.open(t)
				ways(t, d, db)
				if err := w.announce(t.Context(), db, 5); err != nil {
					t.Fatal(err)
				}
				older := begin(t, db, level)
				state(t, older, 1)
				if err := w.announce(t.Context(), db, 6); err != nil {
					t.Fatal(err)
				}
				err := w.announce(t.Context(), older, 5)
				if err == nil || !errors.Is(err, fence.ErrStale) && want.afterReading != refused {
					t.Errorf("%v, want ErrStale", err)
				}
			})
		}
	})
}
