package tokens

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A set is a list of numbers as a text in a row of an SQL database.
type set struct {
	read  func(ctx context.Context, token uint64) (string, error)
	write func(ctx context.Context, token uint64, value string) error
}

const (
	get = "SELECT value FROM sets WHERE id = 1"
	put = "UPDATE sets SET value = ? WHERE id = 1"
)

// unfenced is a set in which the last write wins.
func unfenced(db *sql.DB) set {
	return set{
		read: func(ctx context.Context, _ uint64) (value string, err error) {
			err = db.QueryRowContext(ctx, get).Scan(&value)
			return value, err
		},
		write: func(ctx context.Context, _ uint64, value string) error {
			_, err := db.ExecContext(ctx, put, value)
			return err
		},
	}
}

// tabled is a set with a fence in a table.
func tabled(db *sql.DB) set {
	fences := fence.Table{Dialect: fence.SQLite}
	return set{
		read: func(ctx context.Context, token uint64) (value string, err error) {
			err = fences.Do(ctx, db, "set", token, func(tx *sql.Tx) error {
				return tx.QueryRowContext(ctx, get).Scan(&value)
			})
			return value, err
		},
		write: func(ctx context.Context, token uint64, value string) error {
			return fences.Do(ctx, db, "set", token, func(tx *sql.Tx) error {
				_, err := tx.ExecContext(ctx, put, value)
				return err
			})
		},
	}
}

// columned is a set with a fence in a column of its row.
func columned(db *sql.DB) set {
	rows := fence.Column{Dialect: fence.SQLite, Table: "sets"}
	return set{
		read: func(ctx context.Context, token uint64) (value string, err error) {
			if err := rows.Announce(ctx, db, 1, token); err != nil {
				return "", err
			}
			err = db.QueryRowContext(ctx, get).Scan(&value)
			return value, err
		},
		write: func(ctx context.Context, token uint64, value string) error {
			return rows.Update(ctx, db, 1, token, "value = ?", value)
		},
	}
}

func openDB(t testing.TB) *sql.DB {
	t.Helper()
	settings := url.Values{"_pragma": {"busy_timeout(30000)", "journal_mode(WAL)", "synchronous(OFF)"}}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "db")+"?"+settings.Encode())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	for _, statement := range []string{
		"CREATE TABLE sets (id integer NOT NULL PRIMARY KEY, value text NOT NULL, fence bigint NOT NULL DEFAULT 0)",
		"INSERT INTO sets (id, value) VALUES (1, '')",
		fence.Table{Dialect: fence.SQLite}.Schema(),
	} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	return db
}

// Clients add numbers to a set under a lock: they read, sometimes sleep until the lock has
// expired, and write. Without a fence updates are lost, and with a fence none is.
func TestLockSet(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fenced bool
		make   func(*sql.DB) set
	}{
		{"unfenced", false, unfenced},
		{"Table", true, tabled},
		{"Column", true, columned},
	} {
		t.Run(tc.name, func(t *testing.T) {
			db := openDB(t)
			list := servers.Start(t, servers.Any, 3)
			l := lockSet{set: tc.make(db)}
			l.progress = sync.NewCond(&l.mu)
			l.run(t, list)

			var end string
			if err := db.QueryRowContext(t.Context(), get).Scan(&end); err != nil {
				t.Fatal(err)
			}
			there := strings.Split(end, ",")
			missing := func(number string) bool { return !slices.Contains(there, number) }
			lost := slices.DeleteFunc(slices.Clone(l.accepted), func(n string) bool { return !missing(n) })
			forged := slices.DeleteFunc(slices.Clone(l.refused), missing)
			t.Logf("%d added, %d refused, %d lost", len(l.accepted), len(l.refused), len(lost))
			if len(forged) > 0 {
				t.Errorf("unsafe: rejected, but in the set: %v", forged)
			}
			for _, err := range l.failures {
				t.Error(err)
			}
			switch {
			case !tc.fenced && len(lost) == 0:
				t.Error("no update was lost, so the workload does not show the need for fencing")
			case tc.fenced && len(lost) > 0:
				t.Errorf("unsafe: lost: %v", lost)
			case tc.fenced && len(l.refused) == 0:
				t.Error("nothing was rejected, so no holder was late")
			}
		})
	}
}

const (
	workers = 8
	rounds  = 8 // of each worker
)

// A lockSet consists of the workers of one set, and the results of their additions.
type lockSet struct {
	set set

	mu                sync.Mutex
	progress          *sync.Cond
	accepted, refused []string
	ended             int // additions with any result
	failures          []error
}

// run starts the workers. The first of them pauses until others have added to the set that it
// read, so that there is always a late write.
func (l *lockSet) run(t *testing.T, list []*servers.Server) {
	var wg sync.WaitGroup
	late, reading := newLocker(t, list, workers, redlock.WithTTL(ttl)), make(chan struct{})
	wg.Go(func() {
		first := sync.OnceFunc(func() { close(reading) })
		defer first()
		l.add(t.Context(), late, func() {
			first()
			l.mu.Lock()
			defer l.mu.Unlock()
			for len(l.accepted) < 2 && l.ended < workers*rounds {
				l.progress.Wait()
			}
		})
	})
	<-reading
	for i := range workers {
		locker := newLocker(t, list, i, redlock.WithTTL(ttl))
		wg.Go(func() {
			for range rounds {
				l.add(t.Context(), locker, func() {
					if rand.IntN(8) == 0 {
						time.Sleep(ttl + rand.N(ttl))
					}
				})
			}
		})
	}
	wg.Wait()
}

// add adds the lock's token to the set, a number that no other worker has.
func (l *lockSet) add(ctx context.Context, locker *redlock.Locker, pause func()) {
	number := ""
	lock, err := locker.Lock(ctx, key)
	if err == nil {
		number = fmt.Sprint(lock.Fence())
		var value string
		if value, err = l.set.read(ctx, lock.Fence()); err == nil {
			pause()
			err = l.set.write(ctx, lock.Fence(), strings.TrimPrefix(value+","+number, ","))
		}
		lock.Unlock(ctx) // it may be late
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended++
	l.progress.Broadcast()
	switch {
	case err == nil:
		l.accepted = append(l.accepted, number)
	case errors.Is(err, fence.ErrStale):
		l.refused = append(l.refused, number)
	case errors.Is(err, redlock.ErrUnavailable): // the machine was busy
	default:
		l.failures = append(l.failures, err)
	}
}
