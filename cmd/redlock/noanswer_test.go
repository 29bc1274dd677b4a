//go:build unix

package main

import (
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// Each command says of a server that hangs how long it has waited for it, whether the server
// is the only one or one of too many that fail.
func TestNoAnswerSaysHowLong(t *testing.T) {
	hung := server(t)
	hung.Hang()
	handover, err := redlock.NewHandover("job", "token", 0).MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, nodes := range []string{"alone", "majority"} {
		for _, args := range [][]string{
			{"run", "--wait", "0", "job", "--", "true"},
			{"run", "--wait", "1s", "job", "--", "true"},
			{"run", "--wait", "1s", "--permits", "2", "job", "--", "true"},
			{"run", "--wait", "1s", "--shared", "job", "--", "true"},
			{"run", "--wait", "1s", "--also", "other", "job", "--", "true"},
			{"lock", "--wait", "1s", "--ttl", "30s", "job"},
			{"lock", "--retry-count", "0", "job", "30000"},
			{"extend", "--ttl", "30s", string(handover)},
			{"unlock", string(handover)},
			{"unlock", "job", "token"},
			{"status", "job"},
			{"status", "--json", "job"},
			{"status", "--prefix", "jo"},
			{"leader", "job"},
			{"break", "--yes", "00000000", "job"},
			{"end-quarantine"},
			{"campaign", "job", "--", "true"},
		} {
			t.Run(nodes+" "+strings.Join(args, " "), func(t *testing.T) {
				t.Parallel()
				servers := hung.Addr()
				if nodes == "majority" {
					servers = strings.Join([]string{server(t).Addr(), nobody(t), hung.Addr()}, ",")
				}
				p := start(t, servers, append([]string{args[0], "--node-timeout", "250ms"}, args[1:]...)...)
				if args[0] == "campaign" { // it waits for as long as it takes
					p.stderr.await(t, "\n")
					p.signal(syscall.SIGTERM)
				}
				if p.wait() == 0 {
					t.Error("exit code 0")
				}
				said := p.stdout.String() + p.stderr.String()
				const complaint = "no answer"
				if !strings.Contains(said, complaint) {
					t.Errorf("no message about the server: %q", said)
				}
				within := regexp.MustCompile(complaint+` within ([0-9.]+m?s)`).FindAllStringSubmatch(said, -1)
				if len(within) != strings.Count(said, complaint) {
					t.Errorf("a message does not say how long: %q", said)
				}
				least := 230 * time.Millisecond // a context may end a little early, and a busy machine is late
				if slices.Contains(args, "1s") {
					least = 50 * time.Millisecond // the end of the wait may have cut off the last attempt
				}
				for _, m := range within {
					if d, err := time.ParseDuration(m[1]); err != nil || d < least || d > patient {
						t.Errorf("a message says that it waited for %s: %q", m[1], said)
					}
				}
			})
		}
	}
}
