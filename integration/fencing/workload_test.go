package fencing

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/fence"
)

// A workload consists of holders that ignore every error while their transactions are ended. Each
// holder writes its token into the table log twice, with the highest token that the resource has
// seen.
type workload struct {
	t  *testing.T
	d  *database
	db *sql.DB
	do doer

	faults  map[string]func(tx *sql.Tx, worker int)
	last    atomic.Uint64 // the last token
	commits atomic.Int64

	mu      sync.Mutex
	errs    map[uint64]error // result of Do, by token
	noticed map[string]int   // number of errors, by kind
	met     map[string]int   // number of faults
}

func newWorkload(t *testing.T, d *database, how string) *workload {
	t.Helper()
	db := d.open(t)
	w := &workload{t: t, d: d, db: db, errs: make(map[uint64]error), noticed: make(map[string]int), met: make(map[string]int)}
	table := newTable(t, d, db)
	w.do = func(ctx context.Context, db fence.Beginner, token uint64, fn func(*sql.Tx) error) error {
		return table.Do(ctx, db, "orders", token, fn)
	}
	if how == "unprotected" {
		w.do = unprotected(table)
	}
	mustExec(t, db, "CREATE TABLE log (token bigint NOT NULL, seen bigint NOT NULL, late integer NOT NULL)")
	mustExec(t, db, "CREATE TABLE pairs (id integer NOT NULL PRIMARY KEY, v integer NOT NULL)")
	mustExec(t, db, "CREATE TABLE ballast (v integer)")
	for worker := range workers {
		mustExec(t, db, fmt.Sprintf("INSERT INTO pairs VALUES (%d, 0), (%d, 0)", 2*worker, 2*worker+1))
	}
	w.faults = map[fence.Dialect]map[string]func(*sql.Tx, int){
		fence.PostgreSQL: {"deadlock": w.deadlock, "killed connection": w.kill},
		fence.MySQL:      {"deadlock": w.deadlock, "killed connection": w.kill, "DDL": w.exec("CREATE TABLE IF NOT EXISTS made_by_fn (id integer)")},
		fence.SQLite:     {"interrupted statement": w.interrupt, "constraint": w.exec("INSERT OR ROLLBACK INTO pairs VALUES (0, 0)")},
	}[d.dialect]
	return w
}

func (w *workload) exec(statement string) func(*sql.Tx, int) {
	return func(tx *sql.Tx, _ int) { _, _ = tx.ExecContext(context.Background(), statement) }
}

// interrupt makes the ctx of a statement end while the statement runs. The statement also ends by
// itself, because an interruption before its first step is lost.
func (w *workload) interrupt(tx *sql.Tx, _ int) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Millisecond)
	defer cancel()
	_, _ = tx.ExecContext(ctx, "INSERT INTO ballast WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000) SELECT i FROM n")
}

// kill ends the connection within 4 ms: while fn runs, at COMMIT, or during the next holder's
// transaction.
func (w *workload) kill(tx *sql.Tx, _ int) {
	query, statement := "SELECT pg_backend_pid()", "SELECT pg_terminate_backend(%d)"
	if w.d.dialect == fence.MySQL {
		query, statement = "SELECT CONNECTION_ID()", "KILL CONNECTION %d"
	}
	var id int
	if tx.QueryRowContext(context.Background(), query).Scan(&id) == nil {
		time.AfterFunc(rand.N(4*time.Millisecond), func() { _, _ = w.db.ExecContext(context.Background(), fmt.Sprintf(statement, id)) })
	}
}

// deadlock makes the holder the victim of a deadlock.
func (w *workload) deadlock(tx *sql.Tx, worker int) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	first, second := fmt.Sprintf("UPDATE pairs SET v = v + 1 WHERE id = %d", 2*worker), fmt.Sprintf("UPDATE pairs SET v = v + 1 WHERE id = %d", 2*worker+1)
	if w.d.dialect == fence.PostgreSQL {
		_, _ = tx.ExecContext(ctx, "SET LOCAL deadlock_timeout = '2ms'")
	}
	_, _ = tx.ExecContext(ctx, first)
	rival, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return
	}
	defer rival.Rollback()
	_, _ = rival.ExecContext(ctx, "INSERT INTO ballast VALUES (1), (2), (3), (4), (5), (6), (7), (8)") // so that the other transaction is the victim
	_, _ = rival.ExecContext(ctx, second)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = rival.ExecContext(ctx, first)
	}()
	time.Sleep(3 * time.Millisecond) // until the rival waits
	_, _ = tx.ExecContext(ctx, second)
	<-done
}

// note writes into log and ignores the error, as holders do here.
func (w *workload) note(tx *sql.Tx, token uint64, late int) {
	_, _ = tx.ExecContext(context.Background(), fmt.Sprintf("INSERT INTO log (token, seen, late) SELECT %d, token, %d FROM fences WHERE resource = 'orders'", token, late))
}

// hold is one holder. About every tenth meets a fault.
func (w *workload) hold(worker int) {
	token := w.last.Add(1)
	err := w.do(context.Background(), w.db, token, func(tx *sql.Tx) error {
		w.note(tx, token, 0)
		if rand.N(10) == 0 {
			names := slices.Collect(maps.Keys(w.faults))
			name := names[rand.N(len(names))]
			w.faults[name](tx, worker)
			w.mu.Lock()
			w.met[name]++
			w.mu.Unlock()
			time.Sleep(rand.N(8 * time.Millisecond)) // so that newer holders can come
		}
		w.note(tx, token, 1)
		return nil
	})
	if err == nil {
		w.commits.Add(1)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs[token] = err
	w.noticed[kindOf(err)]++
}

func kindOf(err error) string {
	for kind, sentinel := range map[string]error{"stale": fence.ErrStale, "ended": fence.ErrEnded, "commit unknown": fence.ErrCommitUnknown} {
		if errors.Is(err, sentinel) {
			return kind
		}
	}
	if err != nil {
		return "other"
	}
	return "committed"
}

// run lets the holders work until that many have committed.
func (w *workload) run(commits int64) {
	start := time.Now()
	var wg sync.WaitGroup
	for worker := range workers / 2 {
		wg.Go(func() {
			for w.commits.Load() < commits && time.Since(start) < time.Minute {
				w.hold(worker)
			}
		})
	}
	wg.Wait()
	if got := w.commits.Load(); got < commits {
		w.t.Errorf("%d commits in a minute, want %d", got, commits)
	}
	w.t.Logf("%v in %v; faults: %v", w.noticed, time.Since(start).Round(time.Millisecond), w.met)
}

// check returns the number of stale writes, and how many of their calls of Do returned nil. If
// the fence protects the writes, it fails unless they match the results of Do.
func (w *workload) check(protected bool) (stale, silent int) {
	w.t.Helper()
	// Operations on a broken connection have ended once a newer holder has run.
	var err error
	for range 10 { // a late kill may end this connection
		if err = w.do(w.t.Context(), w.db, w.last.Add(1), func(*sql.Tx) error { return nil }); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err != nil {
		w.t.Error(err)
	}
	rows, err := w.db.QueryContext(w.t.Context(), "SELECT token, seen, late FROM log")
	if err != nil {
		w.t.Fatal(err)
	}
	defer rows.Close()
	written := make(map[uint64][2]int)
	for rows.Next() {
		var token, seen uint64
		var late int
		if err := rows.Scan(&token, &seen, &late); err != nil {
			w.t.Fatal(err)
		}
		n := written[token]
		n[late]++
		written[token] = n
		if seen > token {
			stale++
			if w.errs[token] == nil {
				silent++
			}
			if protected && !errors.Is(w.errs[token], fence.ErrEnded) {
				w.t.Errorf("unsafe: token %d wrote after %d was seen, and Do returned %v", token, seen, w.errs[token])
			}
		}
	}
	if err := rows.Err(); err != nil {
		w.t.Fatal(err)
	}
	if !protected {
		return stale, silent
	}
	none, both := [2]int{0, 0}, [2]int{1, 1}
	for token, err := range w.errs {
		got, kind := written[token], kindOf(err)
		right := false
		switch kind {
		case "committed":
			right = got == both
		case "commit unknown":
			right = got == none || got == both
		case "ended":
			right = got[1] == 0 || w.d.dialect == fence.SQLite
		default:
			right = got == none
		}
		if !right {
			w.t.Errorf("unsafe: token %d: %v early and late writes, and Do returned %v", token, got, err)
		}
	}
	return stale, silent
}

// There are thousands of commits while connections are killed and the database ends transactions.
// Databases that can roll back a late write store no stale one. The others report each of them.
func TestWorkload(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.name == snapshots {
			t.Skip("these faults end transactions as in MariaDB without snapshot isolation")
		}
		w := newWorkload(t, d, "Table")
		commits := int64(1200)
		if d.dialect == fence.SQLite {
			commits = 700 // because writers poll there
		}
		w.run(commits)
		stale, silent := w.check(true)
		t.Logf("%d stale writes, %d of them not reported", stale, silent)
		if stale > 0 && d.dialect != fence.SQLite || silent > 0 {
			t.Error("want no stale write, or in SQLite no unreported one")
		}
		for name := range w.faults {
			if w.met[name] < 15 {
				t.Errorf("%s: %d times, want 15", name, w.met[name])
			}
		}
	})
}

// Without the protection, the workload finds stale writes.
func TestWorkloadUnprotected(t *testing.T) {
	each(t, func(t *testing.T, d *database) {
		if d.name == snapshots {
			t.Skip("these faults end transactions as in MariaDB without snapshot isolation")
		}
		w := newWorkload(t, d, "unprotected")
		if d.dialect == fence.PostgreSQL { // ends no transaction by itself
			w.faults = map[string]func(*sql.Tx, int){"COMMIT": w.exec("COMMIT")}
		}
		w.run(250)
		stale, silent := w.check(false)
		t.Logf("%d stale writes, %d of them not reported", stale, silent)
		if stale == 0 || silent == 0 && d.dialect != fence.SQLite { // SQLite fails at COMMIT
			t.Error("want unreported stale writes")
		}
	})
}
