package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/long"
)

func TestMain(m *testing.M) {
	if where := os.Getenv(clientVariable); where != "" {
		if err := runClient(where); err != nil {
			fmt.Fprintln(os.Stderr, "client:", err)
			os.Exit(1)
		}
		return
	}
	long.Package(m)
	servers.Main(m)
}

// The command's measurement is right for a fault that leaves traces: the server keeps its side of
// connections that the network has forgotten.
func TestMeasure(t *testing.T) {
	if servers.AreEmbedded() {
		t.Skip("embedded servers have no CLIENT LIST")
	}
	const name = "connections dropped silently"
	var cells []cell
	for _, f := range faults {
		if f.name == name {
			cells = append(cells, cell{adapter: drivers.All[0], fault: f, quick: true})
		}
	}
	cells = measureAll(cells, 1, io.Discard)
	if len(cells) != 1 {
		t.Fatalf("%d faults are named %q", len(cells), name)
	}
	if cells[0].err != nil {
		t.Fatal(cells[0].err)
	}
	r := cells[0].result
	if r.first < 0 || r.all < r.first {
		t.Errorf("a lock again after %v, for all callers after %v", r.first, r.all)
	}
	if r.held != survived {
		t.Errorf("the held lock: %s", r.held)
	}
	if r.before.commands < 10*callers {
		t.Errorf("before the fault %d callers make %.0f commands per second", callers, r.before.commands)
	}
	if r.then.connections <= 0 {
		t.Error("no connection was made after the fault")
	}
	if r.goroutines[0] < callers || r.goroutines[1] < callers {
		t.Errorf("goroutines: %v, want at least those of %d callers", r.goroutines, callers)
	}
	if r.connections[0] < 2 || r.connections[1] <= r.connections[0] {
		t.Errorf("connections at the server: %v, want the forgotten ones and new ones", r.connections)
	}
	text := table(cells, 1, servers.Any)
	if row := "| " + name + " | goredis | "; !strings.Contains(text, row) {
		t.Errorf("the table has no row %q:\n%s", row, text)
	}
	t.Log(text)
}

// A failure in a helper ends a measurement, and everything that was started is cleaned up.
func TestScope(t *testing.T) {
	var order []string
	err := within("x", func(s *scope) {
		s.Cleanup(func() { order = append(order, "first") })
		s.Cleanup(func() { order = append(order, "second") })
		s.Errorf("one")
		s.Fatal("two")
		order = append(order, "went on")
	})
	if got := fmt.Sprint(err); got != "one\ntwo" {
		t.Errorf("the error is %q", got)
	}
	if got := strings.Join(order, ", "); got != "second, first" {
		t.Errorf("what ran: %s", got)
	}
}

// A lock counts if it was requested after the fault, or granted after an outage.
func TestRecovery(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	all := func(start, end int) *client {
		c := &client{locks: []event{{Caller: 0, Start: at(1), End: at(2)}}}
		for i := range callers {
			c.locks = append(c.locks, event{Caller: i, Start: at(start), End: at(end + i)})
		}
		return c
	}
	some := all(200, 300)
	some.locks = some.locks[:callers]
	const none = -1 * time.Nanosecond
	for name, tc := range map[string]struct {
		c          *client
		m          moments
		first, all time.Duration
	}{
		"requested after the fault":          {all(101, 150), moments{begun: at(100), zero: at(100)}, 50 * time.Millisecond, 57 * time.Millisecond},
		"requested before the fault":         {all(99, 150), moments{begun: at(100), zero: at(100)}, none, none},
		"requested before an outage":         {all(99, 5000), moments{begun: at(100), zero: at(4000)}, time.Second, 1007 * time.Millisecond},
		"granted before an outage was noted": {all(101, 3990), moments{begun: at(100), zero: at(4000)}, 0, 0},
		"not for one caller":                 {some, moments{begun: at(100), zero: at(100)}, 200 * time.Millisecond, none},
	} {
		if first, all := tc.c.recovery(tc.m); first != tc.first || all != tc.all {
			t.Errorf("%s: %v, %v; want %v, %v", name, first, all, tc.first, tc.all)
		}
	}
}

// A server's counts from before a restart are not subtracted.
func TestCensus(t *testing.T) {
	a, b, c := &servers.Server{}, &servers.Server{}, &servers.Server{}
	before := census{a: {"1", 10, 100}, b: {"2", 20, 200}, c: {"3", 30, 300}}
	after := census{a: {"1", 11, 110}, b: {"4", 2, 5}}
	if got := after.since(before); got.connections != 3 || got.commands != 15 {
		t.Errorf("%d connections and %d commands, want 3 and 15", got.connections, got.commands)
	}
}

func TestReplace(t *testing.T) {
	page := filepath.Join(t.TempDir(), "page.md")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before\n" + begin + "old\n" + end + "after\n")
	if err := replace(page, "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(page); string(got) != "before\n"+begin+"new\n"+end+"after\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	for _, text := range []string{"", begin, end, end + begin} {
		write(text)
		if err := replace(page, "new\n"); err == nil {
			t.Errorf("no error for a page %q", text)
		}
	}
	// The page has one row for each fault, and no others.
	text, err := os.ReadFile("../../docs/recovery.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rows, _ := strings.Cut(string(text), begin)
	rows, _, ok := strings.Cut(rows, end)
	if !ok {
		t.Fatal("docs/recovery.md does not have the markers")
	}
	for _, f := range faults {
		if !strings.Contains(rows, "\n| "+f.name+" | ") {
			t.Errorf("docs/recovery.md has no row for %q: run the command with -md", f.name)
		}
	}
}
