package fence_test

import (
	"database/sql"
	"fmt"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// A state is an error of a database, as the drivers pgx and lib/pq report it.
type state string

func (s state) Error() string    { return "SQLSTATE " + string(s) }
func (s state) SQLState() string { return string(s) }

// An answer to COMMIT that leaves its outcome open is no refusal, although the connection works.
func TestAnswersToCommit(t *testing.T) {
	accepts := exchange{query: upsertPostgreSQL, args: []any{"r", int64(7)}, affected: 1}
	for answer, unknown := range map[state]bool{
		"40003": true, // statement completion unknown
		"08007": true, // transaction resolution unknown
		"08006": true, // connection failure, seen by a proxy
		"57P01": true, // shutdown, seen by a proxy
		"40001": false,
		"23505": false,
		"57014": false,
		"":      false,
	} {
		t.Run(string(answer), func(t *testing.T) {
			script := []exchange{begin(), accepts, save(), release(), commit().fails(fmt.Errorf("driver: %w", answer))}
			want := outcome{matches: fence.ErrCommitUnknown}
			if !unknown {
				script = append(script, exchange{query: "ROLLBACK"}, exchange{query: "SELECT 1", row: int64(1)})
				want = outcome{matches: answer, text: "fence: the database refused the commit, nothing was written: driver: SQLSTATE " + string(answer)}
			}
			db, closed := counted(t, script...)
			want.check(t, fence.Table{Dialect: fence.PostgreSQL}.Do(t.Context(), db, "r", 7, func(*sql.Tx) error { return nil }))
			if got := closed.Load(); got != 1 {
				t.Errorf("%d connections were closed, want that of the transaction", got)
			}
		})
	}
}
