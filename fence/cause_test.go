package fence_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/fence"
)

// The error of each call names the cause of the end of ctx, also while it waits for one of the
// connections.
func TestCauseWhileWaiting(t *testing.T) {
	lost := errors.New("the lock was lost")
	table := fence.Table{Dialect: fence.PostgreSQL}
	column := fence.Column{Dialect: fence.PostgreSQL, Table: "orders"}
	fn := func(*sql.Tx) error { t.Error("fn ran"); return nil }
	for name, call := range map[string]func(ctx context.Context, db *sql.DB) error{
		"Table.Do":       func(ctx context.Context, db *sql.DB) error { return table.Do(ctx, db, "r", 7, fn) },
		"Table.Announce": func(ctx context.Context, db *sql.DB) error { return table.Announce(ctx, db, "r", 7) },
		"Column.Do":      func(ctx context.Context, db *sql.DB) error { return column.Do(ctx, db, 1, 7, fn) },
		"Column.Update":  func(ctx context.Context, db *sql.DB) error { return column.Update(ctx, db, 1, 7, "state = 'paid'") },
		"Column.Check":   func(ctx context.Context, db *sql.DB) error { return column.Check(ctx, db, 1, 7) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				db := scripted(t) // has one connection
				conn, err := db.Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancelCause(t.Context())
				time.AfterFunc(time.Second, func() { cancel(lost) })
				if err := call(ctx, db); !errors.Is(err, lost) || !errors.Is(err, context.Canceled) {
					t.Errorf("%v, want the cause of ctx's end", err)
				}
				if err := conn.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
