package redlock

import (
	"context"
	"errors"
	"fmt"
	"go/parser"
	"go/token"
	stdlog "log"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// The tests of this file belong to rows of docs/seeds.md.

// The table has every row, each with a test, and every test that the page names
// exists.
func TestSeedsTable(t *testing.T) {
	page := readPage(t, "seeds.md")
	tests := make(map[string]int) // how many, by row
	row := regexp.MustCompile(`^\| ([GSM]\d+[a-c]?) \|`)
	for _, line := range page {
		id := row.FindStringSubmatch(line.text)
		if id == nil {
			continue
		}
		if _, dup := tests[id[1]]; dup {
			t.Errorf("row %s is there twice", id[1])
		}
		tests[id[1]] = len(line.tests)
	}
	var want []string
	for system, last := range map[string]int{"G": 24, "S": 19, "M": 20} {
		for i := 1; i <= last; i++ {
			want = append(want, system+strconv.Itoa(i))
		}
	}
	for _, id := range append(want, "G21a", "G21b", "G21c", "S12a", "S12b", "S12c") {
		if n, ok := tests[id]; !ok {
			t.Errorf("row %s is missing", id)
		} else if n == 0 {
			t.Errorf("row %s names no test", id)
		}
	}
}

// Every row of docs/peers.md names a test, every test that it names exists, and
// it names all those that were written for it.
func TestPeersTable(t *testing.T) {
	named := make(map[string]bool)
	rows := 0
	for _, line := range readPage(t, "peers.md") {
		for _, ref := range line.tests {
			named[ref] = true
		}
		if strings.HasPrefix(line.text, "| ") && !strings.HasPrefix(line.text, "| library |") {
			rows++
			if len(line.tests) == 0 {
				t.Errorf("a row names no test: %s", line.text)
			}
		}
	}
	if rows == 0 {
		t.Error("no rows")
	}
	for _, file := range []string{"redlock/peers_test.go", "integration/behaviour/peers_test.go"} {
		text, err := readFile(file)
		if err != nil {
			t.Error(err)
		}
		for _, test := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllStringSubmatch(text, -1) {
			if ref := file + ":" + test[1]; !named[ref] {
				t.Errorf("the page does not name %s", ref)
			}
		}
	}
}

// pageLine is a line of a page of docs, and the tests that it names.
type pageLine struct {
	text  string
	tests []string
}

// readPage reads a page of docs. The test fails if a test that it names is not
// there.
func readPage(t *testing.T, page string) []pageLine {
	t.Helper()
	text, err := readFile("docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	reference := regexp.MustCompile("`([a-z]+/[a-z_/]+_test\\.go):(Test[A-Za-z0-9]+)(?:/([^`]+))?`")
	var lines []pageLine
	for i, line := range strings.Split(text, "\n") {
		l := pageLine{text: line}
		for _, ref := range reference.FindAllStringSubmatch(line, -1) {
			l.tests = append(l.tests, strings.Trim(ref[0], "`"))
			if err := findTest(ref[1], ref[2], ref[3]); err != nil {
				t.Errorf("docs/%s:%d: %v", page, i+1, err)
			}
		}
		if named := strings.Count(line, "_test.go"); named != len(l.tests) {
			t.Errorf("docs/%s:%d: names %d tests in a way that is not understood", page, i+1, named-len(l.tests))
		}
		lines = append(lines, l)
	}
	return lines
}

// findTest returns an error unless file has the test.
func findTest(file, test, sub string) error {
	text, err := readFile(file)
	if text == "" {
		return err
	}
	_, body, ok := strings.Cut(text, "\nfunc "+test+"(")
	if !ok {
		return fmt.Errorf("%s has no %s", file, test)
	}
	body, _, _ = strings.Cut(body, "\n}\n")
	if sub != "" && !strings.Contains(body, strconv.Quote(sub)) {
		return fmt.Errorf("%s in %s has no subtest %q", test, file, sub)
	}
	return nil
}

// readFile reads a file, named from the root of the repository. Where this module
// is alone, as a user downloads it, the files of other modules are empty.
func readFile(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(file)))
	if errors.Is(err, os.ErrNotExist) {
		if _, missing := os.Stat("../integration"); missing != nil {
			return "", nil
		}
	}
	return string(text), err
}

// G5: one Locker serves any number of locks, each with settings of its own.
func TestSeedsOneLockerManyLocks(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		short := r.lock(l, "short", WithTTL(time.Second))
		long := r.lock(l, "long", WithTTL(time.Minute), WithRetry(Fixed(0)))
		if d := long.Until().Sub(short.Until()); d < 50*time.Second {
			t.Errorf("one is valid for %v longer, want 58.41s", d)
		}
		time.Sleep(2 * time.Second)
		matches(t, short.Err(), ErrNotHeld)
		if err := long.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := l.TryLock(t.Context(), "short"); err != nil {
			t.Error(err)
		}
	})
}

// G12: the defaults are what the documentation says.
func TestSeedsDefaults(t *testing.T) {
	if DefaultTTL != 10*time.Second || DefaultNodeTimeout != 250*time.Millisecond || DefaultDrift != 0.01 {
		t.Error("a default has changed: change docs/seeds.md, and say so in the change log")
	}
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		if d := time.Until(r.expiry("k", lock.Token())); d != 10*time.Second {
			t.Errorf("the TTL is %v, want 10s", d)
		}
	})
}

// G14: N/2+1 nodes are needed, and enough.
func TestSeedsQuorum(t *testing.T) {
	for n, need := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4} {
		onRig(t, n, false, func(t *testing.T, r *rig) {
			l := r.locker()
			r.set(need, n, backendtest.Refuse(nil))
			lock := r.lock(l, "enough")
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("%d of %d nodes: Unlock: %v", need, n, err)
			}
			r.set(need-1, n, backendtest.Refuse(nil))
			_, err := l.TryLock(t.Context(), "too few")
			var q *QuorumError
			if !errors.As(err, &q) || q.Need != need || !errors.Is(err, ErrUnavailable) {
				t.Errorf("%d of %d nodes: error %v, want that %d are needed", need-1, n, err, need)
			}
		})
	}
}

// G15: a lock costs one round trip, not one for each node.
func TestSeedsNodesAreAskedAtOnce(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.setAll(backendtest.Delay(100 * time.Millisecond))
		l := r.locker()
		start := time.Now()
		lock := r.lock(l, "k")
		took(t, start, 100*time.Millisecond, 100*time.Millisecond)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		took(t, start, 200*time.Millisecond, 200*time.Millisecond)
	})
}

// G20: a holder that releases after its lock has expired leaves the next holder's
// lock alone.
func TestSeedsLateRelease(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		first := r.lock(l, "k")
		time.Sleep(DefaultTTL)
		second := r.lock(l, "k")
		synctest.Wait()
		matches(t, first.Unlock(t.Context()), ErrNotHeld)
		synctest.Wait()
		if n := r.holders("k", second.Token()); n != len(r.mem) {
			t.Errorf("%d of %d nodes hold the second lock", n, len(r.mem))
		}
		if err := second.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// G22: a second acquire of the same key fails, and the first lock can be released as
// before.
func TestSeedsSecondAcquire(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lock := r.lock(l, "k")
		_, err := l.TryLock(t.Context(), "k")
		matches(t, err, ErrTaken)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		r.clean(l)
	})
}

// M6, M12: waiters of redis-lock-py subscribe to a channel, and try when it says
// "ok". With WithAnnounce they hear every release, at once and after it.
func TestSeedsAnnounce(t *testing.T) {
	for _, tt := range []struct {
		name  string
		opts  []Option
		end   func(t *testing.T, l *Locker, lock *Lock) error
		hears bool
		bare  bool
	}{
		{"unlocked", []Option{WithAnnounce("rlock-channel:")}, unlock, true, false},
		{"released elsewhere", []Option{WithAnnounce("rlock-channel:")}, func(t *testing.T, l *Locker, lock *Lock) error {
			return l.Release(t.Context(), "k", lock.Token())
		}, true, false},
		{"without the option", nil, unlock, false, false},
		{"taken back", []Option{WithAnnounce("rlock-channel:"), WithAnnounce("")}, unlock, false, false},
		{"another channel", []Option{WithAnnounce("other:")}, unlock, false, false},
		{"expired", []Option{WithAnnounce("rlock-channel:")}, func(*testing.T, *Locker, *Lock) error {
			time.Sleep(DefaultTTL)
			return nil
		}, false, false},
		{"not held", []Option{WithAnnounce("rlock-channel:")}, func(t *testing.T, l *Locker, _ *Lock) error {
			matches(t, l.Release(t.Context(), "k", "another"), ErrNotHeld)
			return nil
		}, false, false},
		{"node without scripts", []Option{WithAnnounce("rlock-channel:")}, unlock, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 3} {
				onRig(t, size, tt.bare, func(t *testing.T, r *rig) {
					l := r.locker(append(tt.opts, WithKeyPrefix("app:"))...)
					lock := r.lock(l, "k")
					synctest.Wait()
					heard := make([][]string, size)
					ctx, cancel := context.WithCancel(t.Context())
					for i, m := range r.mem {
						go func() {
							_ = m.Subscribe(ctx, "app:k", backend.Events{Ready: func() {}, Message: func(text string) {
								t.Errorf("node %d says %q on the key itself", i, text)
							}})
						}()
						go func() {
							err := m.Subscribe(ctx, "rlock-channel:app:k", backend.Events{
								Ready: func() {},
								Message: func(text string) {
									heard[i] = append(heard[i], text)
									if ok, err := m.SetNX(ctx, "app:k", "theirs", time.Minute); !ok || err != nil {
										t.Errorf("node %d: it hears %q and tries: %v, %v", i, text, ok, err)
									}
								},
							})
							if !errors.Is(err, context.Canceled) {
								t.Error(err)
							}
						}()
					}
					synctest.Wait()
					start := time.Now()
					if err := tt.end(t, l, lock); err != nil {
						t.Error(err)
					}
					synctest.Wait()
					cancel()
					synctest.Wait()
					for i, texts := range heard {
						if want := []string{"ok"}; tt.hears && (!slices.Equal(texts, want) || time.Since(start) > 0) {
							t.Errorf("node %d says %q after %v, want %q at once", i, texts, time.Since(start), want)
						}
						if !tt.hears && texts != nil {
							t.Errorf("node %d says %q, want nothing", i, texts)
						}
					}
				})
			}
		})
	}
}

func unlock(t *testing.T, _ *Locker, lock *Lock) error { return lock.Unlock(t.Context()) }

// M6: where waiters of both kinds wait, ours comes first, and theirs finds a lock
// that is reserved, and keeps away.
func TestSeedsAnnounceBesideOurs(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker(WithAnnounce("rlock-channel:"))
		held := r.lock(l, "k")
		got := make(chan *Lock)
		go func() {
			lock, err := r.locker().Lock(t.Context(), "k")
			if err != nil {
				t.Error(err)
			}
			got <- lock
		}()
		tries := 0
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			_ = r.mem[0].Subscribe(ctx, "rlock-channel:k", backend.Events{Ready: func() {}, Message: func(string) {
				tries++
				if ok, err := r.mem[0].SetNX(ctx, "k", "theirs", time.Minute); ok || err != nil {
					t.Errorf("theirs gets a lock that is reserved: %v, %v", ok, err)
				}
			}})
		}()
		synctest.Wait()
		start := time.Now()
		if err := held.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		lock := <-got
		took(t, start, 0, 0)
		synctest.Wait()
		if tries != 1 {
			t.Errorf("theirs has tried %d times, want once", tries)
		}
		if err := lock.Unlock(t.Context()); err != nil { // of one who announces nothing
			t.Error(err)
		}
	})
}

// S13: without WithLogger nothing is written anywhere, whatever goes wrong.
func TestSeedsSilentByDefault(t *testing.T) {
	var log logText
	before, output, flags := slog.Default(), stdlog.Writer(), stdlog.Flags()
	slog.SetDefault(log.logger()) // which sends what package log logs there too
	defer func() {
		slog.SetDefault(before)
		stdlog.SetOutput(output)
		stdlog.SetFlags(flags)
	}()
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		err := r.locker(WithTTL(time.Second)).Do(t.Context(), "k", func(ctx context.Context) error {
			r.setAll(backendtest.Refuse(backend.MarkReply(errors.New("NOPERM no"))))
			<-ctx.Done()
			return nil
		})
		matches(t, err, ErrNotHeld)
	})
	if log.String() != "" {
		t.Errorf("it logged: %s", log.String())
	}
}

// S18: what a user of the core links is the standard library and this module.
func TestSeedsStandardLibraryOnly(t *testing.T) {
	for _, dir := range []string{".", "../backend", "../backend/lua", "../backend/memory", "../backend/backendtest", "../internal/quorum"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", dir, len(files), err)
		}
		for _, file := range files {
			f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				path, _ := strconv.Unquote(i.Path.Value)
				first, _, _ := strings.Cut(path, "/")
				if strings.Contains(first, ".") && !strings.HasPrefix(path, "github.com/quorumlock/quorumlock/") {
					t.Errorf("%s imports %s", file, path)
				}
			}
		}
	}
}

// Nodes of different kinds make one quorum.
func TestMixedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New([]backend.Node{memory.New(), backendtest.Bare(memory.New()), backendtest.NewFaultNode(backendtest.Bare(memory.New()))})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if err := l.Do(t.Context(), "k", func(context.Context) error { time.Sleep(time.Minute); return nil }); err != nil {
				t.Error(err)
			}
		}
	})
}
