package fence_test

import (
	"context"
	"database/sql"

	"github.com/quorumlock/quorumlock/fence"
)

var orders = fence.Column{Dialect: fence.PostgreSQL, Table: "orders"}

// For long work on one row, announce the token before reading, and write the result in one
// statement at the end. No transaction is open in between.
func ExampleColumn_Update() {
	price := func(ctx context.Context, token uint64, id int64, work func(items string) int) error {
		if err := orders.Announce(ctx, db, id, token); err != nil {
			return err // fence.ErrStale, sql.ErrNoRows, or an error of the database
		}
		var items string
		if err := db.QueryRowContext(ctx, "SELECT items FROM orders WHERE id = $1", id).Scan(&items); err != nil {
			return err
		}
		total := work(items) // if the lock is lost here, the update is rejected
		return orders.Update(ctx, db, id, token, "total = $1, state = $2", total, "priced")
	}
	_ = price
}

// A statement of your own compares the fence itself. Check reports why it changed nothing.
func ExampleColumn_Check() {
	ship := func(ctx context.Context, tx *sql.Tx, token uint64, id int64) error {
		res, err := tx.ExecContext(ctx,
			"UPDATE orders SET state = 'shipped', fence = $1 WHERE id = $2 AND fence <= $1 AND state = 'paid'", token, id)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n > 0 {
			return err
		}
		if err := orders.Check(ctx, tx, id, token); err != nil {
			return err // the token is stale, or there is no such order
		}
		return nil // the order was not paid, which has nothing to do with fencing
	}
	_ = ship
}
