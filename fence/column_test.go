package fence_test

import (
	"database/sql"
	"math"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

func TestColumnUpdate(t *testing.T) {
	const (
		updatePostgreSQL = "UPDATE orders SET state = $1, total = $2, fence = $3 WHERE id = $4 AND fence <= $5"
		updateMySQL      = "UPDATE orders SET state = ?, total = ?, fence = ? WHERE id = ? AND fence <= ?"
		readPostgreSQL   = "SELECT fence FROM orders WHERE id = $1"
		readSQLite       = "SELECT fence FROM orders WHERE id = ?"
		readMySQL        = "SELECT fence FROM orders WHERE id = ? FOR UPDATE"
	)
	args, key := []any{"paid", int64(99), int64(7), int64(42), int64(7)}, []any{int64(42)}
	stale := outcome{matches: fence.ErrStale, stale: &fence.StaleError{Resource: "orders/42", Token: 7, Highest: 8}}
	missing := outcome{matches: sql.ErrNoRows, text: "fence: orders/42: sql: no rows in result set"}
	tests := []struct {
		name    string
		dialect fence.Dialect
		script  []exchange
		want    outcome
	}{
		{"PostgreSQL accepts", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args, affected: 1}}, outcome{}},
		{"PostgreSQL refuses", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args}, {query: readPostgreSQL, args: key, row: int64(8)}}, stale},
		{"PostgreSQL has no row", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args}, {query: readPostgreSQL, args: key}}, missing},
		{"PostgreSQL gets the row later", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args}, {query: readPostgreSQL, args: key, row: int64(7)}}, missing},
		{"PostgreSQL fails", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args, err: errDatabase}},
			outcome{matches: errDatabase, text: "fence: update orders/42 with token 7: the database's own error"}},
		{"PostgreSQL fails to read", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args}, {query: readPostgreSQL, args: key, err: errDatabase}},
			outcome{matches: errDatabase, text: "fence: read fence of orders/42: the database's own error"}},
		{"PostgreSQL has a null", fence.PostgreSQL, []exchange{{query: updatePostgreSQL, args: args}, {query: readPostgreSQL, args: key, null: true}},
			outcome{matches: errAny, text: `fence: fence of orders/42 is NULL, which refuses every token: set it to 0 and make the column NOT NULL`}},
		{"SQLite refuses", fence.SQLite, []exchange{{query: updateMySQL, args: args}, {query: readSQLite, args: key, row: int64(8)}}, stale},
		{"MySQL accepts", fence.MySQL, []exchange{{query: updateMySQL, args: args, affected: 1}}, outcome{}},
		{"MySQL has the new state already", fence.MySQL, []exchange{{query: updateMySQL, args: args}, {query: readMySQL, args: key, row: int64(7)}}, outcome{}},
		{"MySQL refuses", fence.MySQL, []exchange{{query: updateMySQL, args: args}, {query: readMySQL, args: key, row: int64(8)}}, stale},
		{"MySQL has no row", fence.MySQL, []exchange{{query: updateMySQL, args: args}, {query: readMySQL, args: key}}, missing},
		{"MySQL gets the row later", fence.MySQL, []exchange{{query: updateMySQL, args: args}, {query: readMySQL, args: key, row: int64(-1)}}, missing},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			orders := fence.Column{Dialect: tt.dialect, Table: "orders"}
			given := make([]any, 2, 8) // spare capacity belongs to the caller
			given[0], given[1] = "paid", 99
			err := orders.Update(t.Context(), scripted(t, tt.script...), 42, 7, "state = "+first(tt.dialect)+", total = "+second(tt.dialect), given...)
			tt.want.check(t, err)
			if room := given[:3]; room[2] != nil {
				t.Errorf("wrote %v behind the caller's arguments", room[2])
			}
		})
	}
}

func first(d fence.Dialect) string {
	if d == fence.PostgreSQL {
		return "$1"
	}
	return "?"
}

func second(d fence.Dialect) string {
	if d == fence.PostgreSQL {
		return "$2"
	}
	return "?"
}

func TestColumnNames(t *testing.T) {
	accounts := fence.Column{Dialect: fence.PostgreSQL, Table: "bank.accounts", Key: "number", Name: "seen"}
	announce := exchange{query: "UPDATE bank.accounts SET seen = $1 WHERE number = $2 AND seen <= $3", args: []any{int64(7), "DE1", int64(7)}}
	read := exchange{query: "SELECT seen FROM bank.accounts WHERE number = $1", args: []any{"DE1"}, row: int64(8)}
	accepted := announce
	accepted.affected = 1
	stale := outcome{matches: fence.ErrStale, text: `fence: "bank.accounts/DE1": stale token 7: 8 was seen`}

	outcome{}.check(t, accounts.Announce(t.Context(), scripted(t, accepted), "DE1", 7))
	stale.check(t, accounts.Announce(t.Context(), scripted(t, announce, read), "DE1", 7))
	stale.check(t, accounts.Check(t.Context(), scripted(t, read), "DE1", 7))
	stale.check(t, accounts.Do(t.Context(), scripted(t, begin(), announce, read, rollback()), "DE1", 7, func(*sql.Tx) error {
		t.Error("fn ran")
		return nil
	}))
	outcome{}.check(t, accounts.Do(t.Context(), scripted(t, begin(), accepted, save(), release(), commit()), "DE1", 7, func(*sql.Tx) error { return nil }))
	read.row = int64(7)
	outcome{}.check(t, accounts.Check(t.Context(), scripted(t, read), "DE1", 7))
}

// Bad input is rejected before the database gets a statement.
func TestColumnRejectsInput(t *testing.T) {
	tests := []struct {
		name   string
		column fence.Column
		token  uint64
		text   string
	}{
		{"no fencing", fence.Column{Dialect: fence.SQLite, Table: "t"}, 0, "fence: token 0: the lock was acquired without fencing"},
		{"no bigint", fence.Column{Dialect: fence.SQLite, Table: "t"}, math.MaxUint64,
			"fence: token 18446744073709551615 is above 9223372036854775807, the highest of a bigint"},
		{"no dialect", fence.Column{Table: "t"}, 1, "fence: the Dialect is none of PostgreSQL, SQLite and MySQL"},
		{"no table", fence.Column{Dialect: fence.SQLite}, 1, "fence: the Column has no Table"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			db := scripted(t)
			for call, err := range map[string]error{
				"Announce": tt.column.Announce(t.Context(), db, 42, tt.token),
				"Update":   tt.column.Update(t.Context(), db, 42, tt.token, "state = ?", "paid"),
				"Check":    tt.column.Check(t.Context(), db, 42, tt.token),
			} {
				if err == nil || err.Error() != tt.text {
					t.Errorf("%s: %v, want %s", call, err, tt.text)
				}
			}
		})
	}
}
