package fencing

import (
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/quorumlock/quorumlock/fence"
)

// sqlite is embedded, and writes to a file.
func sqlite() []*database {
	return []*database{{
		name:    lite,
		dialect: fence.SQLite,
		open: func(t testing.TB) *sql.DB {
			t.Helper()
			settings := url.Values{"_pragma": {"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(OFF)"}}
			db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?"+settings.Encode())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { db.Close() })
			return db
		},
		close: func() {},
	}}
}
