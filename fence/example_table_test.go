package fence_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/fence"
)

// The database was opened with a driver of the program's choice.
var db *sql.DB

var fences = fence.Table{Dialect: fence.PostgreSQL}

// A stock is counted down in one transaction, under a lock's token. The statements
// say nothing of fencing: the announcement that Do makes covers them all.
func ExampleTable_Do() {
	reserve := func(ctx context.Context, token uint64, item string, n int) error {
		err := fences.Do(ctx, db, "stock/"+item, token, func(tx *sql.Tx) error {
			var left int
			if err := tx.QueryRowContext(ctx, "SELECT left FROM stock WHERE item = $1", item).Scan(&left); err != nil {
				return err
			}
			if left < n {
				return fmt.Errorf("only %d of %s left", left, item)
			}
			_, err := tx.ExecContext(ctx, "UPDATE stock SET left = $1 WHERE item = $2", left-n, item)
			return err
		})
		if errors.Is(err, fence.ErrStale) {
			return fmt.Errorf("lost the lock on the way, nothing was reserved: %w", err)
		}
		return err
	}
	_ = reserve
}

// A program that has its own way with transactions announces first, and reads then.
func ExampleTable_Announce() {
	archive := func(ctx context.Context, tx *sql.Tx, token uint64) error {
		if err := fences.Announce(ctx, tx, "orders", token); err != nil {
			return err // and the caller rolls back
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO archive SELECT * FROM orders WHERE state = 'shipped'")
		return err
	}
	_ = archive
}

// The table is made once, by a migration.
func ExampleTable_Schema() {
	fmt.Println(fence.Table{Dialect: fence.SQLite}.Schema())
	// Output: CREATE TABLE IF NOT EXISTS fences (resource text NOT NULL PRIMARY KEY, token bigint NOT NULL)
}
