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
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// The tests of this file belong to rows of docs/seeds.md.

// The table has every row, each row names a test, and every test that the page names exists.
func TestSeedsTable(t *testing.T) {
	page := readPage(t, "seeds.md")
	tests := make(map[string]int) // number of tests by row
	row := regexp.MustCompile(`^\| ([GSCM]\d+[a-f]?) \|`)
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
	for system, last := range map[string]int{"G": 24, "S": 19, "C": 9, "M": 20} {
		for i := 1; i <= last; i++ {
			want = append(want, system+strconv.Itoa(i))
		}
	}
	for _, id := range append(want, "G21a", "G21b", "G21c", "S12a", "S12b", "S12c", "C8a", "C8b", "C8c", "C8d", "C8e", "C8f") {
		if n, ok := tests[id]; !ok {
			t.Errorf("row %s is missing", id)
		} else if n == 0 {
			t.Errorf("row %s names no test", id)
		}
	}
}

// Every row of docs/peers.md names a test, every named test exists, and all tests that were
// written for the page are named.
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

// Every row of docs/safety.md names a test, and every named test exists.
func TestSafetyTable(t *testing.T) {
	row := regexp.MustCompile(`^\| (?:([KAX]\d+b?) )?\|`)
	there := make(map[string]bool)
	table := false
	for _, line := range readPage(t, "safety.md") {
		if strings.HasPrefix(line.text, "#") {
			table = line.text == "## What happens when"
		}
		id := row.FindStringSubmatch(line.text)
		if !table || id == nil || strings.HasPrefix(line.text, "| | what happens |") {
			continue
		}
		there[id[1]] = true // "" continues the row above
		if len(line.tests) == 0 {
			t.Errorf("a row names no test: %s", line.text)
		}
	}
	want := []string{"K2b"}
	for kind, last := range map[string]int{"K": 6, "A": 2, "X": 10} {
		for i := 1; i <= last; i++ {
			want = append(want, kind+strconv.Itoa(i))
		}
	}
	for _, id := range want {
		if !there[id] {
			t.Errorf("row %s is missing", id)
		}
	}
}

// Every test that another page names exists, and so does what its commands run.
func TestPages(t *testing.T) {
	tests := 0
	for _, page := range []string{"adapters.md", "design.md", "fencing.md", "performance.md", "waiting.md", "models/README.md"} {
		for _, line := range readPage(t, page) {
			tests += len(line.tests)
		}
	}
	if tests == 0 {
		t.Error("the pages name no test")
	}
}

// pageLine is a line of a page of docs, and the tests that it names.
type pageLine struct {
	text  string
	tests []string
}

var (
	// `file:TestName/subtest`; or `TestName` alone, which is in the file that the line named
	// last; or `TestName` in `folder`.
	reference = regexp.MustCompile("`(?:([a-z]+/[a-z_/]+_test\\.go):)?(Test[A-Za-z0-9]+)(?:/([^`]+))?`( there| in `([a-z/]+)`)?")
	// A link to a file of tests, or to an example.
	link = regexp.MustCompile(`\]\(\.\./([a-z_/]+_test\.go)\)`)
	// A command that runs tests, which may have a line of its own.
	command = regexp.MustCompile("(?:^|`)go test [^`]+")
)

// readPage reads a page of docs. The test fails if a named test, or a test that a command of the
// page runs, does not exist.
func readPage(t *testing.T, page string) []pageLine {
	t.Helper()
	text, err := readFile("docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	var lines []pageLine
	for i, line := range strings.Split(text, "\n") {
		l := pageLine{text: line}
		fail := func(err error) {
			if err != nil {
				t.Errorf("docs/%s:%d: %v", page, i+1, err)
			}
		}
		files, last := 0, ""
		for _, ref := range reference.FindAllStringSubmatch(line, -1) {
			file, test, sub, folder := ref[1], ref[2], ref[3], ref[5]
			switch {
			case file != "":
				files++
				last = file
			case ref[4] == " there":
				file = last
			case folder != "":
				fail(findRun("Test", "^"+test+"$", folder))
				l.tests = append(l.tests, folder+":"+test)
				continue
			}
			if file == "" {
				fail(fmt.Errorf("the page does not say where %s is", test))
				continue
			}
			fail(findTest(file, test, sub))
			name := file + ":" + test
			if sub != "" {
				name += "/" + sub
			}
			l.tests = append(l.tests, name)
		}
		for _, to := range link.FindAllStringSubmatch(line, -1) {
			files++
			_, err := readFile(to[1])
			fail(err)
		}
		if named := strings.Count(line, "_test.go"); named != files {
			fail(fmt.Errorf("the line names %d test files in an unknown form", named-files))
		}
		for _, c := range command.FindAllString(line, -1) {
			fail(checkCommand(strings.Trim(c, "`")))
		}
		lines = append(lines, l)
	}
	return lines
}

var (
	runFlag   = regexp.MustCompile(` -(run|bench)[ =](?:'([^']*)'|(\S+))`)
	folderArg = regexp.MustCompile(` \./([a-z/]+[a-z])`)
	functions = regexp.MustCompile(`(?m)^func ((?:Test|Example|Benchmark)\w*)\(`)
)

// checkCommand returns an error unless a go test command runs something in each of its folders.
func checkCommand(command string) error {
	kind, pattern := "Test|Example", ""
	for _, flag := range runFlag.FindAllStringSubmatch(command, -1) {
		switch p := flag[2] + flag[3]; {
		case flag[1] == "bench":
			kind, pattern = "Benchmark", p
		case p != "^$":
			pattern = p
		}
	}
	for _, folder := range folderArg.FindAllStringSubmatch(command, -1) {
		if err := findRun(kind, pattern, folder[1]); err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
	}
	return nil
}

// findRun returns an error unless folder, or integration's folder of that name, has a test that
// pattern matches. The kind can also be something else than a test.
func findRun(kind, pattern, folder string) error {
	if alone() {
		return nil
	}
	is, match := regexp.MustCompile("^("+kind+")"), regexp.MustCompile(pattern)
	for _, parent := range []string{"..", "../integration"} {
		files, err := filepath.Glob(filepath.Join(parent, filepath.FromSlash(folder), "*_test.go"))
		if err != nil {
			return err
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			for _, f := range functions.FindAllStringSubmatch(string(text), -1) {
				if is.MatchString(f[1]) && match.MatchString(f[1]) {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%s has nothing that matches %s", folder, pattern)
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

// readFile reads a file, named from the root of the repository. If the other modules are missing,
// their files read as empty.
func readFile(file string) (string, error) {
	text, err := os.ReadFile(filepath.Join("..", filepath.FromSlash(file)))
	if errors.Is(err, os.ErrNotExist) && alone() {
		return "", nil
	}
	return string(text), err
}

// alone reports whether the other modules are missing, as in a user's download.
func alone() bool {
	_, err := os.Stat("../integration")
	return err != nil
}

// G5: one Locker serves any number of locks, each with its own settings.
func TestSeedsOneLockerManyLocks(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		short := r.lock(l, "short", WithTTL(time.Second))
		long := r.lock(l, "long", WithTTL(time.Minute), WithOwner("me"))
		if d := long.Until().Sub(short.Until()); d < 50*time.Second {
			t.Errorf("the longer lock is valid for %v longer, want 58.41s", d)
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

// G12: the defaults match the documentation.
func TestSeedsDefaults(t *testing.T) {
	if DefaultTTL != 10*time.Second || DefaultNodeTimeout != 250*time.Millisecond || DefaultDrift != 0.01 {
		t.Error("a default has changed: update docs/seeds.md and CHANGELOG.md")
	}
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		lock := r.lock(r.locker(), "k")
		if d := time.Until(r.expiry("k", lock.Token())); d != 10*time.Second {
			t.Errorf("the TTL is %v, want 10s", d)
		}
	})
}

// G14: N/2+1 nodes are needed, and are enough.
func TestSeedsQuorum(t *testing.T) {
	for n, need := range map[int]int{1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 4} {
		onRig(t, n, false, func(t *testing.T, r *rig) {
			l := r.locker()
			r.set(need, n, faulty.Refuse(nil))
			lock := r.lock(l, "enough")
			if err := lock.Unlock(t.Context()); err != nil {
				t.Errorf("%d of %d nodes: Unlock: %v", need, n, err)
			}
			r.set(need-1, n, faulty.Refuse(nil))
			_, err := l.TryLock(t.Context(), "too few")
			var q *QuorumError
			if !errors.As(err, &q) || q.Need != need || !errors.Is(err, ErrUnavailable) {
				t.Errorf("%d of %d nodes: error %v, want one that says that %d are needed", need-1, n, err, need)
			}
		})
	}
}

// G15: a lock costs one round trip in total, not one per node.
func TestSeedsNodesAreAskedAtOnce(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		r.setAll(faulty.Delay(100 * time.Millisecond))
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

// G20: a holder that releases after its lock has expired does not touch the next holder's lock.
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

// G22: a second acquire of the same key fails, and the first lock can still be released.
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

// M6, M12: waiters of redis-lock-py subscribe to a channel, and make an attempt when it says
// "ok". With WithAnnounce they get a message for every release, once the key is free.
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
			return l.Release(t.Context(), lock.Handover())
		}, true, false},
		{"without the option", nil, unlock, false, false},
		{"switched off again", []Option{WithAnnounce("rlock-channel:"), WithAnnounce("")}, unlock, false, false},
		{"another channel", []Option{WithAnnounce("other:")}, unlock, false, false},
		{"expired", []Option{WithAnnounce("rlock-channel:")}, func(*testing.T, *Locker, *Lock) error {
			time.Sleep(DefaultTTL)
			return nil
		}, false, false},
		{"not held", []Option{WithAnnounce("rlock-channel:")}, func(t *testing.T, l *Locker, _ *Lock) error {
			matches(t, l.Release(t.Context(), NewHandover("app:k", "another", 0)), ErrNotHeld)
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
								t.Errorf("node %d published %q on the key itself", i, text)
							}})
						}()
						go func() {
							err := m.Subscribe(ctx, "rlock-channel:app:k", backend.Events{
								Ready: func() {},
								Message: func(text string) {
									heard[i] = append(heard[i], text)
									if ok, err := m.SetNX(ctx, "app:k", "theirs", time.Minute); !ok || err != nil {
										t.Errorf("node %d: the waiter gets %q and makes an attempt: %v, %v", i, text, ok, err)
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
							t.Errorf("node %d published %q after %v, want %q at once", i, texts, time.Since(start), want)
						}
						if !tt.hears && texts != nil {
							t.Errorf("node %d published %q, want nothing", i, texts)
						}
					}
				})
			}
		})
	}
}

func unlock(t *testing.T, _ *Locker, lock *Lock) error { return lock.Unlock(t.Context()) }

// M6: if waiters of both libraries wait, ours comes first. Theirs finds a reserved lock and does
// not take it.
func TestSeedsAnnounceWithBothWaiters(t *testing.T) {
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
					t.Errorf("their waiter gets a reserved lock: %v, %v", ok, err)
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
			t.Errorf("their waiter has made %d attempts, want one", tries)
		}
		if err := lock.Unlock(t.Context()); err != nil { // a lock of a Locker that announces nothing
			t.Error(err)
		}
	})
}

// S13: without WithLogger nothing is logged, whatever fails.
func TestSeedsSilentByDefault(t *testing.T) {
	var log logText
	before, output, flags := slog.Default(), stdlog.Writer(), stdlog.Flags()
	slog.SetDefault(log.logger()) // also sends the output of package log there
	defer func() {
		slog.SetDefault(before)
		stdlog.SetOutput(output)
		stdlog.SetFlags(flags)
	}()
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		err := r.locker(WithTTL(time.Second)).Do(t.Context(), "k", func(ctx context.Context) error {
			r.setAll(faulty.Refuse(backend.MarkReply(errors.New("NOPERM no"))))
			<-ctx.Done()
			return nil
		})
		matches(t, err, ErrNotHeld)
	})
	if log.String() != "" {
		t.Errorf("the library logged: %s", log.String())
	}
}

// S18: users of the core link only the standard library and this module.
func TestSeedsStandardLibraryOnly(t *testing.T) {
	for _, dir := range []string{".", "../backend", "../backend/lua", "../backend/memory", "../backend/backendtest", "../backend/faulty", "../internal/check", "../internal/quorum", "../internal/attempt", "../internal/round", "../internal/member"} {
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

// Nodes of different kinds form one quorum.
func TestMixedNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, err := New([]backend.Node{memory.New(), faulty.Bare(memory.New()), faulty.NewFaultNode(faulty.Bare(memory.New()))})
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
