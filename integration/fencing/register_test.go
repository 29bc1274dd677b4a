package fencing

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/quorumlock/quorumlock/fence"
)

// A register is a value that holders read and write, each with its token.
type register interface {
	read(ctx context.Context, token uint64) (string, error)
	write(ctx context.Context, token uint64, value string) error
}

// variable is an unfenced register of this process.
type variable struct {
	mu    sync.Mutex
	value string
}

func (v *variable) read(context.Context, uint64) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.value, nil
}

func (v *variable) write(_ context.Context, _ uint64, value string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.value = value
	return nil
}

// guarded is a register behind a Guard.
type guarded struct {
	guard fence.Guard
	value string
}

func (g *guarded) read(_ context.Context, token uint64) (value string, err error) {
	err = g.guard.Do(token, func() error { value = g.value; return nil })
	return value, err
}

func (g *guarded) write(_ context.Context, token uint64, value string) error {
	return g.guard.Do(token, func() error { g.value = value; return nil })
}

// row is an unfenced register in a row of an SQL database.
type row struct {
	*database
	db *sql.DB
}

func newRow(t testing.TB, d *database) row {
	t.Helper()
	db := d.open(t)
	mustExec(t, db, "CREATE TABLE registers (id integer NOT NULL PRIMARY KEY, value varchar(4000) NOT NULL, fence bigint NOT NULL DEFAULT 0)")
	mustExec(t, db, "INSERT INTO registers (id, value) VALUES (1, '')")
	return row{d, db}
}

func (r row) get(ctx context.Context, q fence.Querier) (value string, err error) {
	err = q.QueryRowContext(ctx, "SELECT value FROM registers WHERE id = 1").Scan(&value)
	return value, err
}

func (r row) set(ctx context.Context, q fence.Querier, value string) error {
	_, err := q.ExecContext(ctx, "UPDATE registers SET value = "+r.arg(1)+" WHERE id = 1", value)
	return err
}

func (r row) read(ctx context.Context, _ uint64) (string, error) { return r.get(ctx, r.db) }

func (r row) write(ctx context.Context, _ uint64, value string) error { return r.set(ctx, r.db, value) }

// tabled is a row with a fence in a table.
type tabled struct {
	row
	fences fence.Table
}

func (r tabled) read(ctx context.Context, token uint64) (value string, err error) {
	err = r.fences.Do(ctx, r.db, "register", token, func(tx *sql.Tx) error {
		value, err = r.get(ctx, tx)
		return err
	})
	return value, err
}

func (r tabled) write(ctx context.Context, token uint64, value string) error {
	return r.fences.Do(ctx, r.db, "register", token, func(tx *sql.Tx) error { return r.set(ctx, tx, value) })
}

// columned is a row with a fence in a column, without a transaction.
type columned struct {
	row
	rows fence.Column
}

// read also reads the fence, because another client may write between the two statements.
func (r columned) read(ctx context.Context, token uint64) (value string, err error) {
	if err := r.rows.Announce(ctx, r.db, 1, token); err != nil {
		return "", err
	}
	var highest uint64
	if err := r.db.QueryRowContext(ctx, "SELECT value, fence FROM registers WHERE id = 1").Scan(&value, &highest); err != nil {
		return "", err
	}
	if highest > token {
		return "", &fence.StaleError{Resource: "registers", Token: token, Highest: highest}
	}
	return value, nil
}

func (r columned) write(ctx context.Context, token uint64, value string) error {
	return r.rows.Update(ctx, r.db, 1, token, "value = "+r.arg(1), value)
}

// unannounced compares tokens in writes, as columned does, but reads without an announcement.
// This is the mistake that the rule forbids.
type unannounced struct{ columned }

func (r unannounced) read(ctx context.Context, token uint64) (string, error) { return r.get(ctx, r.db) }

// A kind is one kind of register.
type kind struct {
	name   string
	fenced bool
	make   func(t testing.TB) register
}

// eachKind runs a test on a new register of every kind that is without the mistake.
func eachKind(t *testing.T, test func(t *testing.T, k kind)) {
	for _, k := range []kind{
		{"variable", false, func(testing.TB) register { return &variable{} }},
		{"Guard", true, func(testing.TB) register { return &guarded{} }},
	} {
		t.Run(k.name, func(t *testing.T) { test(t, k) })
	}
	each(t, func(t *testing.T, d *database) {
		for _, k := range []kind{
			{"row", false, func(t testing.TB) register { return newRow(t, d) }},
			{"Table", true, func(t testing.TB) register {
				r := newRow(t, d)
				return tabled{r, newTable(t, d, r.db)}
			}},
			{"Column", true, func(t testing.TB) register { return newColumned(t, d) }},
		} {
			t.Run(k.name, func(t *testing.T) { test(t, k) })
		}
	})
}

func newColumned(t testing.TB, d *database) columned {
	t.Helper()
	return columned{newRow(t, d), fence.Column{Dialect: d.dialect, Table: "registers"}}
}
