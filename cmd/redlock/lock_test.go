package main

import (
	"encoding/json"
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
	"github.com/quorumlock/quorumlock/redlock"
)

// handoverIn returns the handover that a command has printed, which must be all of its
// output.
func handoverIn(t *testing.T, stdout string) (h redlock.Handover) {
	t.Helper()
	line, ok := strings.CutSuffix(stdout, "\n")
	if err := h.UnmarshalText([]byte(line)); err != nil || !ok {
		t.Fatalf("stdout is not a handover alone (%v): %q", err, stdout)
	}
	return h
}

// taken takes the lock "job" on the servers with the tool, and returns the handover.
func taken(t *testing.T, nodes string, flags ...string) string {
	t.Helper()
	code, stdout, stderr := inProcess(append([]string{"lock", "--node", nodes, "job", "--ttl", "60s"}, flags...)...)
	if code != exitOK || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	handoverIn(t, stdout)
	return strings.TrimSuffix(stdout, "\n")
}

func TestLockPrintsTheHandover(t *testing.T) {
	a, b, c := server(t), server(t), server(t)
	p := start(t, a.Addr()+","+b.Addr()+","+c.Addr(), "lock", "job", "--ttl", "20", "--prefix", "jobs:", "--owner", "tester")
	p.want(exitOK)
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr %q", got)
	}
	h := handoverIn(t, p.stdout.String())
	if h.Key() != "jobs:job" || h.Owner() != "tester" || h.Fence() != 0 {
		t.Errorf("the handover is of %v", h)
	}
	for _, s := range []*embedded.Server{a, b, c} {
		if token, err := s.Redis().Get("jobs:job"); err != nil || token != h.Token() {
			t.Errorf("a server has %q, %v", token, err)
		}
	}
	if left := a.Redis().TTL("jobs:job"); left < 15*time.Second || left > 20*time.Second {
		t.Errorf("the lock lives for %v, want 20s: a number is seconds", left)
	}
}

// The process of the tool ends at once, so the label names the one that has called it.
func TestLockNamesTheScript(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), "lock", "job", "--ttl", "20s")
	p.want(exitOK)
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := handoverIn(t, p.stdout.String()).Owner(), host+":"+strconv.Itoa(os.Getpid()); got != want {
		t.Errorf("the label is %q, want %q", got, want)
	}
}

func TestLockFencing(t *testing.T) {
	s := server(t)
	last := uint64(0)
	for range 3 {
		var h redlock.Handover
		if err := h.UnmarshalText([]byte(taken(t, s.Addr(), "--fencing"))); err != nil || h.Fence() <= last {
			t.Errorf("the token is %d after %d, %v", h.Fence(), last, err)
		}
		last = h.Fence()
		if code, _, stderr := inProcess("unlock", "--node", s.Addr(), "job", h.Token()); code != exitOK {
			t.Fatalf("code %d, stderr %q", code, stderr)
		}
	}
}

// The fields are those in the help of lock and extend, and no others.
func TestLockJSON(t *testing.T) {
	s := server(t)
	code, stdout, stderr := inProcess("lock", "--node", s.Addr(), "--json", "--fencing", "--owner", "me", "--prefix", "p:", "job", "--ttl", "60s")
	if code != exitOK || stderr != "" || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	type object struct {
		Key, Handover, Owner string
		Fence                uint64
		ValidMS              int64     `json:"valid_ms"`
		ValidUntil           time.Time `json:"valid_until"`
	}
	parse := func(text string) (o object) {
		t.Helper()
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&o); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return o
	}
	o := parse(stdout)
	h := handoverIn(t, o.Handover+"\n")
	if o.Key != "p:job" || o.Owner != "me" || o.Fence == 0 || o.Fence != h.Fence() || h.Key() != "p:job" {
		t.Errorf("it printed %s", stdout)
	}
	if o.ValidMS < 50_000 || o.ValidMS > 60_000 || time.Until(o.ValidUntil) < 50*time.Second || time.Until(o.ValidUntil) > 60*time.Second {
		t.Errorf("it is valid for %d ms, until %v", o.ValidMS, o.ValidUntil)
	}

	code, stdout, stderr = inProcess("extend", "--node", s.Addr(), "--json", o.Handover, "--ttl", "600s")
	if code != exitOK || stderr != "" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	e := parse(stdout)
	if e.Key != o.Key || e.Owner != o.Owner || e.Fence != o.Fence || e.ValidMS < 500_000 || strings.Contains(stdout, h.Token()) || e.Handover != "" {
		t.Errorf("extend printed %s", stdout)
	}
	for command, fields := range map[*cobra.Command][]string{
		newLock():   {"key", "handover", "fence", "owner", "valid_ms", "valid_until"},
		newExtend(): {"key", "fence", "owner", "valid_ms", "valid_until"},
	} {
		for _, field := range fields {
			if !strings.Contains(command.Long, "\n  "+field+" ") {
				t.Errorf("the help of %s does not describe %s", command.Name(), field)
			}
		}
	}
}

// A quorum decides without the slowest server, but the tool must not end before that one
// has the lock, or it never gets it.
func TestLockWaitsForTheSlowestServer(t *testing.T) {
	t.Parallel()
	a, b, slow := server(t), server(t), server(t)
	proxy := netfault.New(t, slow.Addr())
	proxy.DelayConnect(15 * time.Millisecond)
	nodes := a.Addr() + "," + b.Addr() + "," + proxy.Addr()
	for _, args := range [][]string{{"lock", "job", "--ttl", "30s"}, {"lock", "old", "30000"}} {
		p := start(t, nodes, args...)
		p.want(exitOK)
		if !slow.Redis().Exists(args[1]) {
			t.Errorf("%q: the slow server does not have the lock", args)
		}
	}
	handover := taken(t, nodes, "--prefix", "p:")
	p := start(t, nodes, "extend", handover, "--ttl", "600s")
	p.want(exitOK)
	if left := slow.Redis().TTL("p:job"); left < 500*time.Second {
		t.Errorf("the slow server keeps the lock for %v", left)
	}
}

// A lock whose handover is lost would be stuck until its TTL is over.
func TestLockReleasesWhatItCannotPrint(t *testing.T) {
	s := server(t)
	for _, args := range [][]string{{"lock", "--node", s.Addr(), "job", "--ttl", "30s"}, {"lock", "--node", s.Addr(), "--json", "job", "--ttl", "30s"}, {"lock", "--node", s.Addr(), "job", "30000"}} {
		var stderr strings.Builder
		if code, _ := execute(args, brokenWriter{}, &stderr); code != exitServers || !strings.Contains(stderr.String(), "the lock \"job\" was released: no space") &&
			!strings.Contains(stderr.String(), "error could not print the key, so the lock was released: no space") {
			t.Errorf("%q: code %d, stderr %q", args, code, stderr.String())
		}
		if strings.Contains(stderr.String(), "ok\n") {
			t.Errorf("%q: stderr %q says that all is well", args, stderr.String())
		}
		if s.Redis().Exists("job") {
			t.Errorf("%q: the lock was not released", args)
		}
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space") }

// A fleet that relies on a quarantine sets it for all commands.
func TestLockQuarantine(t *testing.T) {
	url := realServer(t)
	t.Setenv("REDLOCK_QUARANTINE", "40s")
	for _, args := range [][]string{{"lock", "--wait", "0", "job", "--ttl", "30s"}, {"lock", "--retry-count", "0", "job", "30000"}} {
		code, stdout, stderr := inProcess(append(args, "--node", url)...)
		if code != exitServers || stdout != "" || !strings.Contains(stderr, "in quarantine for another 40s") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
	if code, _, stderr := inProcess("lock", "--node", url, "job", "--ttl", "50s"); code != exitUsage || !strings.Contains(stderr, "must be longer than the TTL") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
	if code, _, stderr := inProcess("end-quarantine", "--node", url); code != exitOK {
		t.Fatal(stderr)
	}
	_, stdout, _ := inProcess("lock", "--node", url, "job", "--ttl", "30s")
	handover := strings.TrimSuffix(stdout, "\n")
	if code, _, stderr := inProcess("extend", "--node", url, handover, "--ttl", "50s"); code != exitUsage || !strings.Contains(stderr, "must be longer than the TTL") {
		t.Errorf("extend: code %d, stderr %q", code, stderr)
	}
	if code, _, stderr := inProcess("extend", "--node", url, handover, "--ttl", "35s"); code != exitOK {
		t.Errorf("extend: code %d, stderr %q", code, stderr)
	}
}

// Inside the command of a run that holds the lock, it would wait for itself.
func TestLockWaitsForItself(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the script needs a POSIX shell")
	}
	s := server(t)
	p := start(t, s.Addr(), "run", "job", "--", "env", asTool+"=1", os.Args[0], "lock", "job", "--ttl", "5s")
	p.want(exitUsage)
	if got := p.stderr.String(); !strings.Contains(got, "would wait for itself") {
		t.Errorf("stderr %q", got)
	}
}

func TestLockUsage(t *testing.T) {
	good := "redlock1.b3JkZXJzLzQy.dG9rZW4.17.7a4b1e90"
	for _, tt := range []struct {
		args string // separated by blanks; '' is empty
		says string
	}{
		{"lock", "the name of the lock is missing, as in: redlock lock NAME --ttl 30s"},
		{"lock --ttl 3s", "the name of the lock is missing"},
		{"lock '' --ttl 3s", "the name of the lock is empty"},
		{"lock a{b}:queue --ttl 3s", "cannot exist"},
		{"lock redis://h --ttl 3s", "the URL of a server"},
		{"lock job", "--ttl is missing, which says how long the lock lives. Nobody extends it"},
		{"lock job --ttl 0", "must be positive"},
		{"lock job --ttl 2ms", "leaves no validity"},
		{"lock job --ttl 30s --node-timeout 4s", "at most an eighth of the TTL"},
		{"lock job --ttl 30s --retry-count 3", "--retry-count goes with redlock lock NAME VALIDITY_MS"},
		{"lock job --ttl 30s --owner ~x", "must not begin with ~"},
		{"lock job --ttl 30s --wait -1", `"forever" waits without an end`},
		{"lock a b c --ttl 30s", `there are 3 arguments: "a", "b", "c"`},
		{"lock job --ttl 30s -- make report", `there are 3 arguments`},
		{"lock job -- make", `there are 2 arguments: "job", "make"; "redlock run" runs a command under a lock`},
		{"lock job 30000 --ttl 30s", "--ttl goes with a name alone"},
		{"lock job 30000 --json", "--json goes with a name alone"},
		{"lock job 30s", `a number of milliseconds, and not "30s", as in: redlock lock NAME 30000; --ttl takes a unit`},
		{"lock job 0", `and not "0"`},
		{"lock job 1", "leaves no validity"},
		{"lock job 9999999999999999999", `and not "9999999999999999999"`},
		{"lock '' 30000", "the name of the lock is empty"},
		{"lock a{b}:queue 30000", "cannot exist"},
		{"lock redis://h 30000", "the URL of a server"},
		{"lock job redis://:sekrit@h", "and not (not shown"},
		{"lock --retry-delay -1 job 30000", "invalid argument"},
		{"lock --retry-count x job 30000", "invalid argument"},
		{"unlock", "the handover is missing, what \"redlock lock\" has printed: in REDLOCK_TOKEN, on stdin with -, or as an argument"},
		{"unlock job", `the argument is not what "redlock lock" has printed (handover: not the text of a handover); with redlock-py's key it is: redlock unlock NAME KEY`},
		{"unlock redlock1.sekrit", "the argument is not"},
		{"unlock a b c", "there are 3 arguments"},
		{"unlock '' key", "the name of the lock is empty"},
		{"unlock a{b}:queue key", "cannot exist"},
		{"unlock job ''", "the key is empty"},
		{"unlock job " + good, "the second argument is a handover, which stands alone: redlock unlock HANDOVER"},
		{"unlock job ~x", "must not begin with ~"},
		{"unlock --prefix x: " + good, `the lock has the key "orders/42", which does not begin with --prefix "x:"`},
		{"unlock --node-timeout 0 " + good, "must be positive"},
		{"extend", "--ttl is missing"},
		{"extend --ttl 3s", "the handover is missing"},
		{"extend job --ttl 3s", "the argument is not"},
		{"extend a b --ttl 3s", "there are 2 arguments"},
		{"extend --ttl 0 " + good, "must be positive"},
		{"extend --ttl 30s --node-timeout 4s " + good, "at most an eighth of the TTL"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Setenv(tokenVariable, "")
			args := strings.Fields(tt.args)
			for i, a := range args {
				if a == "''" {
					args[i] = ""
				}
			}
			code, stdout, stderr := inProcess(args...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, tt.says) {
				t.Errorf("code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, tt.says)
			}
			oneLine(t, stderr, "")
			if strings.Contains(stderr, "sekrit") || strings.Contains(stderr, good) {
				t.Errorf("a secret was printed: %q", stderr)
			}
		})
	}
}

func TestLockHelp(t *testing.T) {
	for command, has := range map[string][]string{
		"lock":   {"Examples:", "Environment:", "REDLOCK_QUARANTINE", "Exit codes:", "  128 + N", "121, 122 and 123 instead of 1, 2 and 3", "redlock-py has other codes", "[--retry-count N] [--retry-delay MS]", "--ttl duration", "--json", "--owner label"},
		"unlock": {"Examples:", "REDLOCK_TOKEN", "Exit codes:", "unlock NAME KEY", "redlock-py has 0 instead of 1"},
		"extend": {"Examples:", "REDLOCK_TOKEN", "REDLOCK_QUARANTINE", "Exit codes:", "--ttl duration", "valid_until"},
	} {
		code, stdout, stderr := inProcess(command, "--help")
		if code != exitOK || stderr != "" {
			t.Errorf("%s: code %d, stderr %q", command, code, stderr)
		}
		for _, want := range has {
			if !strings.Contains(stdout, want) {
				t.Errorf("the help of %s lacks %q", command, want)
			}
		}
		for line := range strings.Lines(stdout) {
			if len(line) > 101 {
				t.Errorf("%s: a line of %d characters: %q", command, len(line), line)
			}
		}
	}
}

// A quarantine of 0 is none, also instead of that of the environment.
func TestQuarantineOfZero(t *testing.T) {
	s := server(t)
	for _, tt := range []struct{ variable, args string }{
		{"40s", "run --quarantine 0 job -- true"},
		{"0", "run job -- true"},
		{"40s", "lock --quarantine 0 --wait 0 --ttl 30s other"},
	} {
		p := startIn(t, environment("REDLOCK_NODES="+s.Addr(), "REDLOCK_QUARANTINE="+tt.variable), strings.Fields(tt.args)...)
		p.want(exitOK)
		if got := p.stderr.String(); got != "" {
			t.Errorf("%s with REDLOCK_QUARANTINE=%s: stderr %q", tt.args, tt.variable, got)
		}
	}
}
