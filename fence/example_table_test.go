package fence_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/quorumlock/quorumlock/fence"
)

// The program opens the database with a driver of its choice.
var db *sql.DB

var fences = fence.Table{Dialect: fence.PostgreSQL}

// One transaction takes items out of a stock, under a lock's token. The statements do not mention
// fencing, because the announcement that Do makes covers all of them.
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

// A program that manages its own transactions announces the token first, and reads afterwards.
func ExampleTable_Announce() {
	archive := func(ctx context.Context, tx *sql.Tx, token uint64) error {
		if err := fences.Announce(ctx, tx, "orders", token); err != nil {
			return err // the caller rolls back
		}
		_, err := tx.ExecContext(ctx, "INSERT INTO archive SELECT * FROM orders WHERE state = 'shipped'")
		return err
	}
	_ = archive
}

// A migration creates the table once.
func ExampleTable_Schema() {
	fmt.Println(fence.Table{Dialect: fence.SQLite}.Schema())
	// Output: CREATE TABLE IF NOT EXISTS fences (resource text NOT NULL PRIMARY KEY, token bigint NOT NULL)
}
