//go:build unix

package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// The tests of this file give the tool the command lines of redlock-py, and check its
// output as scripts parse it. docs/seeds.md names them.

// keyIn returns the key that a script has from "lock".
func keyIn(t *testing.T, stdout string) string {
	t.Helper()
	if !regexp.MustCompile(`^[A-Za-z0-9]+\n$`).MatchString(stdout) {
		t.Fatalf("stdout %q, want letters and digits on one line", stdout)
	}
	return strings.TrimSuffix(stdout, "\n")
}

// The options for all commands come before the command. Each --redis is a server.
func TestRedlockPyOptionsFirst(t *testing.T) {
	a, b, c := server(t), server(t), server(t)
	servers := []string{"--redis", "redis://" + a.Addr() + "/0", "--redis=redis://" + b.Addr(), "--redis", "redis://" + c.Addr() + "/0"}
	code, stdout, stderr := inProcess(append(servers, "lock", "job", "30000")...)
	if code != exitOK || stderr != "ok\n" {
		t.Fatalf("code %d, stderr %q", code, stderr)
	}
	key := keyIn(t, stdout)
	for _, s := range []interface{ Exists(string) bool }{a.Redis(), b.Redis(), c.Redis()} {
		if !s.Exists("job") {
			t.Error("a server does not have the lock")
		}
	}
	code, stdout, stderr = inProcess(append(servers, "--quiet", "unlock", "job", key)...)
	if code != exitOK || stdout != "" || stderr != "" {
		t.Errorf("unlock: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	code, stdout, stderr = inProcess(append(servers, "--quiet", "lock", "--retry-count", "0", "job", "30000")...)
	if code != exitOK || stderr != "" {
		t.Errorf("lock: code %d, stderr %q", code, stderr)
	}
	keyIn(t, stdout)
	code, stdout, stderr = inProcess(append(servers, "--quiet", "lock", "--retry-count", "0", "job", "30000")...)
	if code != exitFailed || stdout != "" || stderr != "" {
		t.Errorf("taken: code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// Without --redis it is the local Redis, or what the environment names.
func TestRedlockPyDefaultServer(t *testing.T) {
	urls, _, err := (&nodeFlags{}).find(func(string) (string, bool) { return "", false })
	if err != nil || len(urls) != 1 || urls[0] != "redis://localhost:6379/0" {
		t.Errorf("%q, %v", urls, err)
	}
}

// The lock lives for VALIDITY_MS milliseconds.
func TestRedlockPyValidity(t *testing.T) {
	s := server(t)
	code, _, stderr := inProcess("--redis", s.Addr(), "lock", "job", "30000")
	if code != exitOK {
		t.Fatal(stderr)
	}
	if left := s.Redis().TTL("job"); left < 25*time.Second || left > 30*time.Second {
		t.Errorf("it lives for %v", left)
	}
}

// N retries follow the first attempt, with a pause before each and none after the last.
func TestRedlockPyRetries(t *testing.T) {
	s := server(t)
	if err := s.Redis().Set("job", "of another"); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name     string
		args     []string
		attempts int64
		least    time.Duration
		most     time.Duration
	}{
		{"the defaults", nil, 4, 600 * time.Millisecond, 0},
		{"three", []string{"--retry-count", "3", "--retry-delay", "20"}, 4, 60 * time.Millisecond, 0},
		{"none", []string{"--retry-count=0", "--retry-delay=60000"}, 1, 0, patient},
		{"none without a pause", []string{"--retry-count=0", "--retry-delay=0"}, 1, 0, 0}, // see TestRedlockPyTraps
		{"some without a pause", []string{"--retry-count=50", "--retry-delay=0"}, 51, 0, 50 * defaultPause},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, begin := s.Commands(), time.Now()
			code, stdout, stderr := inProcess(append(append([]string{"--redis", s.Addr(), "lock"}, tt.args...), "job", "30000")...)
			took := time.Since(begin)
			if code != exitFailed || stdout != "" || stderr != "failed\n" {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
			if n := s.Commands() - before; n != tt.attempts {
				t.Errorf("%d attempts, want %d", n, tt.attempts)
			}
			if took < tt.least || tt.most > 0 && took > tt.most {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A negative N goes on until it has the lock, with a line for each attempt that failed, and
// also while no server works.
func TestRedlockPyBlocks(t *testing.T) {
	t.Parallel()
	s := server(t)
	lock, err := rival(t, s.Addr()).Lock(t.Context(), "job", redlock.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, s.Addr(), "lock", "--retry-count=-1", "--retry-delay=20", "job", "30000")
	p.stderr.await(t, "failed\nfailed\n")
	s.Kill()
	p.stderr.await(t, "error "+s.Addr()+": connection refused")
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.want(exitOK)
	keyIn(t, p.stdout.String())
	for line := range strings.Lines(p.stderr.String()) {
		if line != "failed\n" && line != "ok\n" && !strings.HasPrefix(line, "error ") {
			t.Errorf("a line on stderr is %q", line)
		}
	}
	if !strings.HasSuffix(p.stderr.String(), "\nok\n") {
		t.Errorf("stderr %q does not end with ok", p.stderr)
	}
	_ = lock.Unlock(context.Background())
}

// The key on stdout, and one word or an explained error on stderr.
func TestRedlockPyOutput(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, tt := range []struct {
		name   string
		args   []string
		code   int
		stdout string
		stderr string // a regular expression
	}{
		{"locked", []string{"lock", "job", "30000"}, 0, `^\w+\n$`, `^ok\n$`},
		{"taken", []string{"lock", "--retry-count", "0", "job", "30000"}, 1, `^$`, `^failed\n$`},
		{"no server", []string{"--redis", nobody(t), "lock", "--retry-count", "0", "job", "30000"}, 3, `^$`, `^error [^\n]+\n$`},
		{"no server to unlock", []string{"--redis", nobody(t), "unlock", "job", "KEY"}, 3, `^$`, `^Error: [^\n]+\n$`},
		{"bad option", []string{"lock", "--retry-cont", "0", "job", "30000"}, 2, `^$`, `unknown flag: --retry-cont`},
		{"no name", []string{"lock"}, 2, `^$`, `name of the lock is missing`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, s.Addr(), tt.args...)
			p.want(tt.code)
			if !regexp.MustCompile(tt.stdout).MatchString(p.stdout.String()) || !regexp.MustCompile(tt.stderr).MatchString(p.stderr.String()) {
				t.Errorf("stdout %q, stderr %q", p.stdout, p.stderr)
			}
		})
	}
}

func TestRedlockPyUnlock(t *testing.T) {
	s := server(t)
	_, stdout, _ := inProcess("--redis", s.Addr(), "lock", "job", "30000")
	key := keyIn(t, stdout)
	code, stdout, stderr := inProcess("--redis", s.Addr(), "unlock", "job", key)
	if code != exitOK || stdout != "" || stderr != "ok\n" || s.Redis().Exists("job") {
		t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	// A key of redlock-py itself.
	if err := s.Redis().Set("job", "J7KAjDpRUcwJVC7D4lMUvH"); err != nil {
		t.Fatal(err)
	}
	code, _, stderr = inProcess("--redis", s.Addr(), "unlock", "job", "J7KAjDpRUcwJVC7D4lMUvH")
	if code != exitOK || stderr != "ok\n" || s.Redis().Exists("job") {
		t.Errorf("with a key of redlock-py: code %d, stderr %q", code, stderr)
	}
}

// What goes wrong with redlock-py, and what happens here instead.
func TestRedlockPyTraps(t *testing.T) {
	a, b := server(t), server(t)
	dead := nobody(t)
	three := []string{"--redis", a.Addr(), "--redis", dead, "--redis", b.Addr()}
	t.Run("the key is printed bare", func(t *testing.T) {
		_, stdout, _ := inProcess("--redis", a.Addr(), "lock", "bare", "30000")
		key := keyIn(t, stdout) // and not b'…'
		if code, _, stderr := inProcess("--redis", a.Addr(), "unlock", "bare", key); code != exitOK || a.Redis().Exists("bare") {
			t.Errorf("code %d, stderr %q", code, stderr)
		}
	})
	t.Run("a wrong key is told", func(t *testing.T) {
		if err := a.Redis().Set("wrong", "KEY"); err != nil {
			t.Fatal(err)
		}
		for key, says := range map[string]string{"OTHER": `^Error: the lock "wrong" is not held with this key: [^\n]+\n$`, "b'KEY'": `^Error: [^\n]+ take what is between the quotes\n$`} {
			code, _, stderr := inProcess("--redis", a.Addr(), "unlock", "wrong", key)
			if code != exitFailed || !regexp.MustCompile(says).MatchString(stderr) || !a.Redis().Exists("wrong") {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
		}
	})
	t.Run("one of three down works", func(t *testing.T) {
		code, stdout, stderr := inProcess(append(three, "lock", "one", "30000")...)
		if code != exitOK || stderr != "ok\n" {
			t.Fatalf("code %d, stderr %q", code, stderr)
		}
		code, _, stderr = inProcess(append(three, "unlock", "one", keyIn(t, stdout))...)
		if code != exitOK || stderr != "ok\n" || a.Redis().Exists("one") || b.Redis().Exists("one") {
			t.Errorf("unlock: code %d, stderr %q", code, stderr)
		}
	})
	t.Run("all down is an error", func(t *testing.T) {
		code, stdout, stderr := inProcess("--redis", dead, "--redis", nobody(t), "--redis", nobody(t), "lock", "--retry-count", "1", "--retry-delay", "10", "all", "30000")
		if code != exitServers || stdout != "" || !regexp.MustCompile(`^error [23] of 3 servers failed, and 2 must work: [^\n]+\n$`).MatchString(stderr) {
			t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	t.Run("no pause means none", func(t *testing.T) {
		if err := a.Redis().Set("pause", "KEY"); err != nil {
			t.Fatal(err)
		}
		best := time.Hour
		for tries := 0; best >= defaultPause && tries < 50; tries++ { // the machine may be busy
			begin := time.Now()
			code, _, stderr := inProcess("--redis", a.Addr(), "lock", "--retry-count", "0", "--retry-delay", "0", "pause", "30000")
			if code != exitFailed || stderr != "failed\n" {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
			best = min(best, time.Since(begin))
		}
		if best >= defaultPause {
			t.Errorf("it took %v", best)
		}
	})
	t.Run("no command prints the help", func(t *testing.T) {
		for _, args := range [][]string{{}, {"--quiet"}, {"--redis", a.Addr()}, {"--redis=" + a.Addr(), "--quiet"}} {
			code, stdout, stderr := inProcess(args...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, "Usage:\n  redlock COMMAND\n") {
				t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
			}
		}
	})
	t.Run("a bad URL is wrong usage", func(t *testing.T) {
		for _, args := range [][]string{{"lock", "job", "30000"}, {"unlock", "job", "KEY"}} {
			code, stdout, stderr := inProcess(append([]string{"--redis", "http://:sekrit@h"}, args...)...)
			if code != exitUsage || stdout != "" || !strings.Contains(stderr, "--node: the URL has an unknown scheme") || strings.Contains(stderr, "sekrit") {
				t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
			}
		}
	})
}

// A shell script works line by line, with the tool called redlock in its PATH.
func TestRedlockPyScript(t *testing.T) {
	t.Parallel()
	a, b, c := server(t), server(t), server(t)
	dir := t.TempDir()
	if err := os.Symlink(os.Args[0], filepath.Join(dir, "redlock")); err != nil {
		t.Fatal(err)
	}
	const script = `
fail() { echo "line $1: $2" >&2; exit 1; }
redis="--redis redis://$A/0 --redis redis://$B/0 --redis redis://$C/0"

KEY=$(redlock $redis lock job 30000 2>err) || fail 1 "code $?"
[ "$(cat err)" = ok ] || fail 2 "$(cat err)"
[ -n "$KEY" ] || fail 3 "no key"
[ "$(echo "$KEY" | wc -l)" -eq 1 ] || fail 4 "$KEY"

if redlock $redis --quiet lock --retry-count=0 --retry-delay=0 job 30000; then fail 5 "locked twice"; fi
redlock $redis lock --retry-count 1 --retry-delay 10 job 30000 2>err
[ $? -eq 1 ] || fail 6 "not 1"
[ "$(cat err)" = failed ] || fail 7 "$(cat err)"

redlock $redis unlock job "$KEY" 2>err || fail 8 "code $?"
[ "$(cat err)" = ok ] || fail 9 "$(cat err)"

redlock $redis --quiet lock --retry-count=-1 --retry-delay=1000 job 30000 >key || fail 10 "code $?"
read KEY <key
redlock $redis --quiet unlock job "$KEY" || fail 11 "code $?"

redlock $redis unlock job "$KEY" 2>err
[ $? -eq 1 ] || fail 12 "not 1"
case $(cat err) in "Error: "*) ;; *) fail 13 "$(cat err)" ;; esac

redlock --redis redis://127.0.0.1:1 lock --retry-count=0 job 30000 2>err
[ $? -eq 3 ] || fail 14 "not 3"
case $(cat err) in "error "*) ;; *) fail 15 "$(cat err)" ;; esac

redlock $redis lock job 2>/dev/null
[ $? -eq 2 ] || fail 16 "not 2"

# The same with the tool's own command line.
export REDLOCK_NODES="$A $B $C"
REDLOCK_TOKEN=$(redlock lock job --ttl 30s --wait 0) || fail 17 "code $?"
export REDLOCK_TOKEN
redlock extend --ttl 1m || fail 18 "code $?"
redlock run --wait 0 job -- true 2>/dev/null
[ $? -eq 121 ] || fail 19 "not 121"
(trap 'redlock unlock' EXIT; true) || fail 20 "code $?"
redlock unlock 2>/dev/null
[ $? -eq 1 ] || fail 21 "not 1"
redlock run --wait 0 job -- true || fail 22 "code $?"
echo done
`
	cmd := exec.Command("sh", "-u", "-c", script)
	cmd.Dir = dir
	cmd.Env = append(environment("A="+a.Addr(), "B="+b.Addr(), "C="+c.Addr()), "PATH="+dir+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "done\n" {
		t.Errorf("%v\n%s", err, out)
	}
}
