package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
)

// The lines around the table in the page.
const (
	begin = "<!-- begin: go run ./recovery -->\n"
	end   = "<!-- end: go run ./recovery -->\n"
)

// replace writes text between the markers of a file.
func replace(file, text string) error {
	page, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return fmt.Errorf("%s does not have the lines %q and %q", file, begin, end)
	}
	return os.WriteFile(file, []byte(before+begin+text+end+after), 0o644)
}

// table returns the measurements in Markdown, with a description of the machine.
func table(cells []cell, rounds int, kind servers.Kind) string {
	measured := "measured once"
	if rounds > 1 {
		measured = fmt.Sprintf("the worst of %d measurements", rounds)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s on %s/%s, %s, clients and servers on %d cores, %s.\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, kind, runtime.NumCPU(), measured)
	b.WriteString("| fault | adapter | first lock | all callers | errors: Lock, Unlock | held lock | commands/s | connections/s | goroutines | sockets | server's connections |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|\n")
	for i, c := range cells {
		name := c.fault.name
		if i > 0 && cells[i-1].fault.name == name {
			name = ""
		}
		if c.err != nil {
			fmt.Fprintf(&b, "| %s | %s | failed | | | | | | | | |\n", name, c.adapter.Name)
			continue
		}
		r := c.result
		first := recovered(r.first)
		if r.note != "" {
			first += " (" + r.note + ")"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %d, %d | %s | %.0f → %.0f | %.1f → %.1f | %s | %s | %s |\n", name, c.adapter.Name, first, recovered(r.all),
			r.failed, r.unfreed, r.held, r.before.commands, r.then.commands, r.before.connections, r.then.connections,
			change(r.goroutines), change(r.sockets), change(r.connections))
	}
	return b.String()
}

// recovered formats the time of a recovery.
func recovered(d time.Duration) string {
	if d < 0 {
		return "not within " + short(tooLong)
	}
	return short(d)
}

// short formats d in milliseconds, or in tenths of a second from one second on.
func short(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
}

func change(n [2]int) string { return fmt.Sprintf("%d → %d", n[0], n[1]) }
