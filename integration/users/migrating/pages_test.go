package migrating

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	long.Package(m)
	servers.Main(m)
}

// Each block of Go in docs/migrating is in a file of this folder, which the compiler checks. Only
// the indentation may differ.
func TestPagesShowThisCode(t *testing.T) {
	var sources []string
	for _, pattern := range []string{"*_test.go", "*/main.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			sources = append(sources, flat(read(t, file)))
		}
	}
	pages, err := filepath.Glob("../../../docs/migrating/*.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```go\n(.*?)^```$")
	for _, page := range pages {
		blocks := block.FindAllStringSubmatch(read(t, page), -1)
		if len(blocks) == 0 {
			t.Errorf("%s has no code", page)
		}
		for _, b := range blocks {
			found := false
			for _, source := range sources {
				found = found || strings.Contains(source, flat(b[1]))
			}
			if !found {
				t.Errorf("%s shows code that no file of this folder has:\n%s", page, b[1])
			}
		}
	}
	if len(pages) == 0 {
		t.Error("no pages")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// flat returns code without the indentation of its lines.
func flat(code string) string {
	var lines []string
	for line := range strings.Lines(code) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return "\n" + strings.Join(lines, "\n") + "\n"
}

// A snippet is code that a page shows: it locks, calls work, and unlocks.
type snippet func(ctx context.Context, work func(context.Context) error) error

// worksUnderTheLock runs a snippet. It checks that the work runs once, and that somebody has the
// lock on the servers meanwhile and nobody afterwards.
func worksUnderTheLock(t *testing.T, run snippet, list []*servers.Server, key string) {
	t.Helper()
	ran := 0
	err := run(t.Context(), func(context.Context) error {
		ran++
		if n := holders(t, list, key); n <= len(list)/2 {
			t.Errorf("%s is locked on %d of %d servers while the work runs", key, n, len(list))
		}
		return nil
	})
	if err != nil || ran != 1 {
		t.Errorf("%v; the work ran %d times", err, ran)
	}
	servers.WaitEmpty(t, waitEmpty, list...)
}

// holders returns on how many servers key exists.
func holders(t *testing.T, list []*servers.Server, key string) (n int) {
	t.Helper()
	for _, s := range list {
		if s.Do(t, "EXISTS", key) == int64(1) {
			n++
		}
	}
	return n
}

// client returns a client of a server, for the test.
func client(t *testing.T, s *servers.Server) *redis.Client {
	c := redis.NewClient(&redis.Options{Addr: s.Addr()})
	t.Cleanup(func() { c.Close() })
	return c
}
