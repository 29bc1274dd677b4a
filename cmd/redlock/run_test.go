//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

// asCommand makes the test binary a command that says which signal it gets, and
// then ends with exit code 5. (A shell may miss one while it starts something.)
const asCommand = "REDLOCK_TEST_AS_COMMAND"

func init() { asSomethingElse[asCommand] = command }

func command() {
	signals := make(chan os.Signal, 1000) // one that finds no room is dropped
	signal.Notify(signals)
	fmt.Println("ready")
	for sig := range signals {
		if sig != syscall.SIGURG && sig != syscall.SIGCONT { // the runtime's own, and the tool's
			fmt.Println("got", sig)
			os.Exit(5)
		}
	}
}

// sh is the arguments of the tool that run a script under the lock "job".
func sh(script string, flags ...string) []string {
	return append(append([]string{"run"}, flags...), "job", "--", "sh", "-c", script)
}

func TestRunPassesAllThrough(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), sh(`read x; echo "out $x $REDLOCK_NAME"; echo err >&2; exit 7`)...)
	p.tell("in")
	p.want(7)
	if got := p.stdout.String(); got != "out in job\n" {
		t.Errorf("stdout %q", got)
	}
	if got := p.stderr.String(); got != "err\n" {
		t.Errorf("stderr %q: the tool has nothing to say when all goes well", got)
	}
	if s.Redis().Exists("job") {
		t.Error("the lock was not released")
	}
}

func TestRunExitCodes(t *testing.T) {
	t.Parallel()
	s := server(t)
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, []byte("text\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte("text\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name    string
		command []string
		code    int
		says    string
	}{
		{"success", []string{"true"}, 0, ""},
		{"failure", []string{"false"}, 1, ""},
		{"a code that the tool has too", []string{"sh", "-c", "exit 121"}, 121, "exit code 121 is from the command itself"},
		{"killed", []string{"sh", "-c", "kill -9 $$"}, 128 + 9, ""},
		{"terminated", []string{"sh", "-c", "kill $$"}, 128 + 15, ""},
		{"no such command", []string{"no-such-command"}, 127, `there is no command "no-such-command"`},
		{"no such path", []string{"/no/such/command"}, 127, `there is no command "/no/such/command"`},
		{"a line of shell", []string{"ls | wc"}, 127, `a line of shell needs a shell: redlock run job -- sh -c`},
		{"not executable", []string{plain}, 126, "not executable"},
		{"a folder", []string{"/"}, 126, "cannot be run: is a directory"},
		{"no program", []string{garbage}, 126, "exec format error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, s.Addr(), append([]string{"run", "job", "--"}, tt.command...)...)
			p.want(tt.code)
			got := p.stderr.String()
			if tt.says == "" && got != "" || !strings.Contains(got, tt.says) || strings.Count(got, "\n") > 1 {
				t.Errorf("stderr %q, want one line with %q", got, tt.says)
			}
			if s.Redis().Exists("job") {
				t.Error("the lock was not released")
			}
		})
	}
}

func TestRunLooksForTheCommandFirst(t *testing.T) {
	s := server(t)
	start(t, s.Addr(), "run", "job", "--", "no-such-command").want(127)
	if n := s.Commands(); n != 0 {
		t.Errorf("%d commands were sent, want none", n)
	}
}

func TestRunHoldsTheLock(t *testing.T) {
	t.Parallel()
	s := server(t)
	locker := rival(t, s.Addr())
	p := start(t, s.Addr(), sh(`echo ready; read x`, "--prefix", "jobs:", "--owner", "tester")...)
	p.stdout.await(t, "ready")

	status, err := locker.Inspect(t.Context(), "jobs:job")
	if err != nil || status.State != redlock.StateHeld || status.Owner != "tester" {
		t.Errorf("status %v, %v", status, err)
	}
	if _, err := locker.TryLock(t.Context(), "jobs:job"); !errors.Is(err, redlock.ErrTaken) {
		t.Errorf("TryLock: %v, want ErrTaken", err)
	}
	p.tell("go on")
	p.want(0)
	lock, err := locker.TryLock(t.Context(), "jobs:job")
	if err != nil {
		t.Fatal(err)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRunHidesTheToken(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), sh(`env; echo ready; read x`)...)
	p.stdout.await(t, "ready")
	token, err := s.Redis().Get("job")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(p.stdout.String(), token) {
		t.Error("the command can see the token")
	}
	p.tell("go on")
	p.want(0)
	if strings.Contains(p.stderr.String(), token) {
		t.Error("the token was printed")
	}
}

func TestRunExtends(t *testing.T) {
	t.Parallel()
	s := server(t)
	const ttl = 4 * time.Second
	p := start(t, s.Addr(), sh(`echo ready; read x`, "--ttl", ttl.String())...)
	p.stdout.await(t, "ready")
	// An extension is seen as a TTL that grows, by a third of the whole.
	extensions, last := 0, s.Redis().TTL("job")
	await(t, "four extensions", func() bool {
		now := s.Redis().TTL("job")
		if now > last {
			extensions++
		}
		last = now
		return extensions == 4
	})
	if _, err := rival(t, s.Addr()).TryLock(t.Context(), "job"); !errors.Is(err, redlock.ErrTaken) {
		t.Errorf("TryLock: %v, want ErrTaken", err)
	}
	p.tell("go on")
	p.want(0)
}

func TestRunForwardsSignals(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGUSR1} {
		t.Run(sig.String(), func(t *testing.T) {
			if signal.Ignored(sig) {
				t.Skip("the signal is ignored here, as by nohup, and so by all that is started from here")
			}
			p := start(t, s.Addr(), "run", "job", "--", "env", asCommand+"=1", os.Args[0])
			p.stdout.await(t, "ready")
			p.signal(sig)
			p.want(5)
			if got := p.stdout.String(); got != "ready\ngot "+sig.String()+"\n" {
				t.Errorf("the command said %q", got)
			}
			if s.Redis().Exists("job") {
				t.Error("the lock was not released")
			}
		})
	}
}

func TestRunEndsWithTheSignalOfTheCommand(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh(`sleep 60 & echo ready; wait`)...)
	p.stdout.await(t, "ready")
	p.signal(syscall.SIGTERM)
	p.want(128 + 15) // and the sleep has ended as well
}

// What a command that was told to end has started may take longer.
func TestRunHoldsTheLockForWhatTheCommandHasStarted(t *testing.T) {
	t.Parallel()
	t.Run("as long as it takes", func(t *testing.T) {
		s := server(t)
		p := start(t, s.Addr(), sh(`exec 3<&0; (trap "" TERM; echo ready; read x <&3; echo "the end") & wait`)...)
		p.stdout.await(t, "ready")
		p.signal(syscall.SIGTERM)
		if err := p.exited(100 * time.Millisecond); err == nil {
			t.Error("the tool did not wait for what is left of the command")
		}
		if !s.Redis().Exists("job") {
			t.Error("the lock was released before the command had ended")
		}
		p.tell("end")
		p.want(128 + 15)
		if !strings.Contains(p.stdout.String(), "the end") {
			t.Error("the rest of the command was killed")
		}
	})
	t.Run("but not for ever", func(t *testing.T) {
		s := server(t)
		p := start(t, s.Addr(), sh(`exec 3<&0; (trap "" TERM; echo ready; read x <&3) & wait`, "--grace", "100ms")...)
		p.stdout.await(t, "ready")
		p.signal(syscall.SIGTERM)
		p.stderr.await(t, "goes on without the lock")
		if err := p.exited(patient); err != nil {
			t.Fatal(err)
		}
		if s.Redis().Exists("job") {
			t.Error("the lock was not released")
		}
		p.want(128 + 15) // its input has ended, so what was left ends as well
	})
}

// All of the command ends with the tool, also when that is killed and can do nothing about
// it any more.
func TestRunKilledTakesItsCommandAlong(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, script := range []string{
		`sleep 60 | (echo ready; cat)`,
		`(trap "" HUP TERM INT; echo ready; sleep 60) & wait`,
		`trap "exit 0" HUP TERM; sh -c "sh -c 'sleep 60 & echo ready; wait'; :"; :`,
	} {
		t.Run(script, func(t *testing.T) {
			s.Redis().Del("job")
			p := start(t, s.Addr(), sh(script)...)
			p.stdout.await(t, "ready")
			p.signal(syscall.SIGKILL)
			p.wait() // until nothing has the output open
			if !s.Redis().Exists("job") {
				t.Error("the lock is gone before its time")
			}
		})
	}
}

// What a command leaves behind when it ends by itself lives on.
func TestRunLeavesTheBackgroundAlone(t *testing.T) {
	t.Parallel()
	s := server(t)
	lives := filepath.Join(t.TempDir(), "lives")
	if err := os.WriteFile(lives, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := startIn(t, environment("REDLOCK_NODES="+s.Addr(), "LIVES="+lives),
		sh(`(while [ -e "$LIVES" ]; do sleep 0.02; done; echo "the end") & exit 3`)...)
	if err := p.exited(patient); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond) // for whatever might end it
	if err := os.Remove(lives); err != nil {
		t.Fatal(err)
	}
	p.want(3)
	p.stdout.await(t, "the end")
}

// Without a terminal the tool goes on while its command is stopped, and passes on what
// continues it.
func TestRunStopsAndContinues(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		want   int
	}{
		{"continued", syscall.SIGCONT, 6},
		{"terminated", syscall.SIGTERM, 7},
		{"interrupted", syscall.SIGINT, 8},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if signal.Ignored(tt.signal) {
				t.Skip("the signal is ignored here, as by nohup, and so by all that is started from here")
			}
			cmd := exec.Command(os.Args[0], sh(`trap "exit 7" TERM; trap "exit 8" INT; echo "ready $$"; read x; exit 6`)...)
			cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // without a terminal
			p := startAs(t, cmd)
			p.stdout.await(t, "\n")
			pid := strings.TrimSpace(strings.TrimPrefix(p.stdout.String(), "ready "))
			p.signal(syscall.SIGTSTP)
			await(t, "the command is stopped", func() bool { return state(t, pid) == "T" })
			p.signal(tt.signal)
			if tt.signal == syscall.SIGCONT {
				await(t, "the command goes on", func() bool { return state(t, pid) != "T" })
				p.tell("go on")
			}
			p.want(tt.want)
		})
	}
}

// state returns the state of a process, as ps names it.
func state(t *testing.T, pid string) string {
	t.Helper()
	out, err := exec.Command("ps", "-o", "state=", "-p", pid).Output()
	if err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Skipf("no ps here: %v", err)
		}
	}
	s := strings.TrimSpace(string(out))
	if s == "" {
		t.Fatalf("there is no process %s", pid)
	}
	return s[:1]
}

func TestRunStopsTheCommandWhenTheLockIsLost(t *testing.T) {
	t.Parallel()
	const ttl = "1500ms"
	tests := []struct {
		name, script string
		flags        []string
		says         []string
	}{
		{"it ends as told", `exec env ` + asCommand + `=1 "` + os.Args[0] + `"`, nil,
			[]string{"stopping the command", "exit status 5"}},
		{"it has to be killed", `trap "" TERM; echo ready; sleep 60`, []string{"--grace", "100ms"},
			[]string{"killing it", "killed by SIGKILL"}},
		{"what it started has to be killed", `(trap "" TERM; exec sleep 60) & echo ready; wait`, []string{"--grace", "100ms"},
			[]string{"killing it", "killed by SIGTERM"}},
		{"no grace", `trap "echo told" TERM; echo ready; while :; do sleep 60; done`, []string{"--grace", "0"},
			[]string{"killing the command", "killed by SIGKILL"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := server(t)
			p := start(t, s.Addr(), sh(tt.script, append(tt.flags, "--ttl", ttl)...)...)
			p.stdout.await(t, "ready")
			s.Redis().Del("job")
			p.want(runLost)
			for _, want := range append(tt.says, `lost the lock "job": the server `+s.Addr()+` does not have it any more`) {
				if !strings.Contains(p.stderr.String(), want) {
					t.Errorf("stderr lacks %q", want)
				}
			}
		})
	}
}

func TestRunNoticesATakeover(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh(`echo ready; sleep 60`, "--ttl", "1500ms")...)
	p.stdout.await(t, "ready")
	if err := s.Redis().Set("job", "another's"); err != nil {
		t.Fatal(err)
	}
	p.want(runLost)
	if got, _ := s.Redis().Get("job"); got != "another's" {
		t.Errorf("the other's lock became %q", got)
	}
}

// A server that cannot be reached still has the lock for a while: the command
// has to be gone before it is anybody else's.
func TestRunStopsTheCommandBeforeTheLockEnds(t *testing.T) {
	long.Test(t)
	s := server(t)
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	// Only the command has this open, not the tool.
	p := start(t, s.Addr(), sh(`trap "" TERM; exec >`+fifo+`; echo ready; sleep 60`, "--ttl", "3s", "--grace", "300ms")...)
	r, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	command := newOutput()
	go command.copy(r)
	command.await(t, "ready")
	s.Hang()
	command.end(t)
	if !s.Redis().Exists("job") {
		t.Error("the lock ended before the command")
	}
	s.Resume()
	p.want(runLost)
	for _, want := range []string{"could not extend the lock", "no answer", "is about to end", "killing it"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("stderr lacks %q", want)
		}
	}
}

func TestRunSurvivesAnOutage(t *testing.T) {
	long.Test(t)
	s := server(t)
	p := start(t, s.Addr(), sh(`echo ready; read x`, "--ttl", "6s", "--grace", "100ms")...)
	p.stdout.await(t, "ready")
	s.Hang()
	p.stderr.await(t, "could not extend the lock")
	s.Resume()
	p.stderr.await(t, `extended the lock "job" again`)
	p.tell("go on")
	p.want(0)
}

func TestRunTellsOfALockThatWasLostAtTheEnd(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), sh(`echo ready; read x`)...)
	p.stdout.await(t, "ready")
	s.Redis().Del("job")
	p.tell("go on")
	p.want(runLost)
	if got := p.stderr.String(); !strings.Contains(got, "ended by itself (exit status 0)") {
		t.Errorf("stderr %q", got)
	}
}

func TestRunUnlockUnanswered(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh(`echo ready; read x; exit 3`)...)
	p.stdout.await(t, "ready")
	s.Hang()
	p.tell("go on")
	p.want(3)
	if got := p.stderr.String(); !strings.Contains(got, "could not unlock") || !strings.Contains(got, "no answer within") {
		t.Errorf("stderr %q", got)
	}
}

func TestRunOnThreeServersOneDead(t *testing.T) {
	a, b := server(t), server(t)
	nodes := a.Addr() + ", " + nobody(t) + " " + b.Addr()
	p := start(t, nodes, sh(`echo ready; read x; exit 4`)...)
	p.stdout.await(t, "ready")
	if !a.Redis().Exists("job") || !b.Redis().Exists("job") {
		t.Error("a server that works does not have the lock")
	}
	p.tell("go on")
	p.want(4)
	if got := p.stderr.String(); got != "" {
		t.Errorf("stderr %q, want nothing: a minority is no trouble", got)
	}
	if a.Redis().Exists("job") || b.Redis().Exists("job") {
		t.Error("the lock was not released")
	}
}

// A server that hangs does not keep the tool from ending, and is named.
func TestRunOnThreeServersOneHung(t *testing.T) {
	a, b, hung := server(t), server(t), server(t)
	nodes := []string{"--node", a.Addr() + ",valkey://" + b.Addr(), "--node", hung.Addr()}
	for _, tt := range []struct {
		name   string
		before bool // it hangs before the lock is taken
	}{
		{"while it is held", false},
		{"all the time", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before {
				hung.Hang()
			}
			p := startIn(t, environment(), sh(`echo ready; read x; exit 4`, nodes...)...)
			p.stdout.await(t, "ready")
			if !tt.before {
				hung.Hang()
			}
			begin := time.Now()
			p.tell("go on")
			p.want(4)
			if took := time.Since(begin); took > 400*time.Millisecond {
				t.Errorf("it ended after %v", took)
			}
			want := "redlock: no answer yet from " + hung.Addr() + `, where what is left of the lock "job" ends by itself, at the latest after 30s` + "\n"
			if got := p.stderr.String(); got != want {
				t.Errorf("stderr %q, want %q", got, want)
			}
			if a.Redis().Exists("job") || b.Redis().Exists("job") {
				t.Error("the lock was not released")
			}
			hung.Resume()
			hung.Redis().FlushAll()
		})
	}
}

// A server that works is not named among those that do not.
func TestRunNamesOnlyServersThatFailed(t *testing.T) {
	t.Parallel()
	works, dead1, dead2 := server(t).Addr(), nobody(t), nobody(t)
	for range 5 { // what ends the wait may come at any point of an attempt
		code, _, stderr := inProcess("run", "--wait", "300ms", "--node", dead1, "--node", works, "--node", dead2, "job", "--", "true")
		if code != runServers || !strings.Contains(stderr, "2 of 3 servers failed, and 2 must work: ") || strings.Contains(stderr, works) {
			t.Errorf("code %d, stderr %q", code, stderr)
		}
	}
}

// What is waited for is told as it is: not always somebody who has the lock.
func TestRunTellsWhyItWaits(t *testing.T) {
	long.Test(t)
	for _, tt := range []struct {
		name, node string
		flags      []string
		says       []string
	}{
		{"a replica", realServer(t, "--replicaof", "127.0.0.1", "1"), nil,
			[]string{`cannot get the lock "job", trying for up to 1.5s: `, "it is a replica"}},
		{"a quarantine", realServer(t), []string{"--quarantine", "31"},
			[]string{`cannot get the lock "job" yet, waiting for up to 1.5s: `, "in quarantine"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.node, sh("echo ran", append(tt.flags, "--wait", "1.5")...)...)
			p.want(runServers)
			first, _, _ := strings.Cut(p.stderr.String(), "\n")
			for _, want := range tt.says {
				if !strings.Contains(first, want) {
					t.Errorf("it says first %q, want %q", first, want)
				}
			}
			if strings.Contains(p.stderr.String(), "waiting for the lock") {
				t.Errorf("stderr %q: nobody has the lock", p.stderr)
			}
		})
	}
}

// A lock that is free when the tool looks for what it waits for is taken.
func TestTellWaitTakesWhatIsFree(t *testing.T) {
	s := server(t)
	r := &run{acquisition: acquisition{name: "job", ttl: time.Minute, stderr: io.Discard, nodes: nodeFlags{urls: []string{s.Addr()}, timeout: time.Second}}}
	var err error
	if r.conn, err = r.nodes.connect(os.Getenv, redlock.WithTTL(time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.close(leave) })
	told, lock := r.tellWait(t.Context())
	if told || lock == nil || lock.Err() != nil || !s.Redis().Exists("job") {
		t.Fatalf("told %v, lock %v", told, lock)
	}
	if told, other := r.tellWait(t.Context()); !told || other != nil {
		t.Errorf("of a lock that is held: told %v, lock %v", told, other)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRunWarnsOfAnEvenNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{
		1: "", 3: "",
		2: "redlock: of 2 servers 2 must work, so that no more of them may fail than of 1: an odd number of servers is better\n",
		4: "redlock: of 4 servers 3 must work, so that no more of them may fail than of 3: an odd number of servers is better\n",
	} {
		var nodes []string
		for range n {
			nodes = append(nodes, server(t).Addr())
		}
		code, _, stderr := inProcess("run", "--node", strings.Join(nodes, ","), "job", "--", "true")
		if code != 0 || stderr != want {
			t.Errorf("%d servers: code %d, stderr %q, want %q", n, code, stderr, want)
		}
	}
}

func TestRunWait(t *testing.T) {
	long.Test(t)
	s := server(t)
	locker := rival(t, s.Addr())
	lock, err := locker.Lock(t.Context(), "job", redlock.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("not at all", func(t *testing.T) {
		p := start(t, s.Addr(), sh(`echo ran`, "--wait", "0")...)
		p.want(runTaken)
		if got := p.stderr.String(); got != "redlock: the lock \"job\" is taken, by \"rival\"\n" {
			t.Errorf("stderr %q", got)
		}
	})
	t.Run("quietly", func(t *testing.T) {
		p := start(t, s.Addr(), sh(`echo ran`, "--wait", "0", "--quiet")...)
		p.want(runTaken)
		if got := p.stderr.String(); got != "" {
			t.Errorf("stderr %q", got)
		}
	})
	t.Run("for a time", func(t *testing.T) {
		p := start(t, s.Addr(), sh(`echo ran`, "--wait", "1s")...)
		p.want(runTaken)
		for _, want := range []string{`waiting for the lock "job", held by "rival", for up to 1s`, "waited for 1s"} {
			if !strings.Contains(p.stderr.String(), want) {
				t.Errorf("stderr lacks %q", want)
			}
		}
		if got := p.stdout.String(); got != "" {
			t.Errorf("the command ran without the lock: %q", got)
		}
	})
	t.Run("until told otherwise", func(t *testing.T) {
		p := start(t, s.Addr(), sh(`echo ran`)...)
		p.stderr.await(t, "waiting for the lock")
		p.signal(syscall.SIGINT)
		p.want(130)
		if got := p.stderr.String(); !strings.Contains(got, "gave up waiting") {
			t.Errorf("stderr %q", got)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		p := start(t, s.Addr(), sh(`echo ran`)...)
		p.stderr.await(t, `waiting for the lock "job", held by "rival"`)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.want(0)
		p.stdout.await(t, "ran")
		p.stderr.await(t, `got the lock "job" after`)
	})
}

func TestRunTellsOfServersThatDoNotWork(t *testing.T) {
	long.Test(t)
	dead := nobody(t)
	hung := server(t)
	hung.Hang()
	locked := miniredis.NewMiniRedis()
	locked.RequireAuth("right")
	if err := locked.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locked.Close)
	t.Run("while it waits", func(t *testing.T) {
		p := start(t, dead, sh(`echo ran`, "--wait", "1500ms")...)
		p.stderr.await(t, "trying for up to 1.5s: "+dead+": connection refused")
		p.want(runServers)
	})
	tests := []struct {
		name, nodes string
		says        string
	}{
		{"dead", dead, dead + ": connection refused (is Redis running there?"},
		{"hung", hung.Addr(), hung.Addr() + ": no answer within 2"},
		{"unknown host", "redis.invalid", "redis.invalid:6379: unknown host"},
		{"no socket", "unix:///no/such/socket", "no such socket"},
		{"no password", locked.Addr(), locked.Addr() + ": it wants a password (put it into the URL"},
		{"wrong password", "redis://:sekrit@" + locked.Addr(), locked.Addr() + ": wrong user or password"},
		{"two of three", dead + "," + server(t).Addr() + "," + hung.Addr(), "2 of 3 servers failed, and 2 must work: "},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := start(t, tt.nodes, sh(`echo ran`, "--wait", "0", "--node-timeout", "200ms")...)
			p.want(runServers)
			got := p.stderr.String()
			if !strings.Contains(got, tt.says) || strings.Count(got, "\n") != 1 {
				t.Errorf("stderr %q, want one line with %q", got, tt.says)
			}
			if strings.Contains(got, "sekrit") {
				t.Errorf("the password was printed: %q", got)
			}
			if got := p.stdout.String(); got != "" {
				t.Errorf("the command ran without the lock: %q", got)
			}
		})
	}
}

func TestRunFindsItsServers(t *testing.T) {
	t.Parallel()
	s := server(t)
	host, port, _ := strings.Cut(s.Addr(), ":")
	tests := []struct {
		name string
		env  []string
		args []string
		db   int
	}{
		{"flags", []string{"REDLOCK_NODES=" + nobody(t)}, []string{"--node", "redis://" + s.Addr() + "/2"}, 2},
		{"the flag's other name", nil, []string{"--redis", "redis://" + s.Addr() + "/2"}, 2},
		{"a list", []string{"REDLOCK_NODES= redis://" + s.Addr() + "/1 ", "REDIS_HOST=redis.invalid"}, nil, 1},
		{"host, port and database", []string{"REDIS_HOST=" + host, "REDIS_PORT=" + port, "REDIS_DB=3"}, nil, 3},
		{"a Kubernetes service", []string{"REDIS_PORT=tcp://" + s.Addr()}, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := startIn(t, environment(tt.env...), sh(`echo ready; read x`, tt.args...)...)
			p.stdout.await(t, "ready")
			if !s.Redis().DB(tt.db).Exists("job") {
				t.Errorf("the lock is not in database %d", tt.db)
			}
			p.tell("go on")
			p.want(0)
		})
	}
}

// A script may lock itself.
func TestRunNameInEnvironment(t *testing.T) {
	s := server(t)
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(`#!/bin/sh
[ "$REDLOCK_NAME" = nightly ] || `+asTool+`=1 exec "$TOOL" run --wait 0 nightly -- "$0" "$@"
echo "locked with $*"
`), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(script, "a", "b")
	cmd.Env = append(environment("REDLOCK_NODES="+s.Addr()), "TOOL="+os.Args[0])
	out, err := cmd.CombinedOutput()
	if err != nil || string(out) != "locked with a b\n" {
		t.Errorf("output %q, %v", out, err)
	}
}

// The command of an inner run gets what describes the inner lock, and nothing of the outer one.
func TestRunInsideRun(t *testing.T) {
	t.Parallel()
	s := server(t)
	for _, tt := range []struct {
		name         string
		outer, inner []string
		want         string
	}{
		{"only the outer lock has a fencing token", []string{"--fencing"}, nil, "inner \n"},
		{"only the inner lock has a fencing token", nil, []string{"--fencing"}, "inner token\n"},
		{"neither has", nil, nil, "inner \n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := slices.Concat([]string{"run"}, tt.outer, []string{"outer", "--", "env", asTool + "=1", os.Args[0], "run"}, tt.inner,
				[]string{"inner", "--", "sh", "-c", `echo "$REDLOCK_NAME ${REDLOCK_FENCE:+token}"`})
			p := start(t, s.Addr(), args...)
			p.want(0)
			if got := p.stdout.String(); got != tt.want {
				t.Errorf("the inner command has %q, want %q", got, tt.want)
			}
		})
	}
}

// A run inside the command of another one with the same lock would wait for itself.
func TestRunWaitsForItself(t *testing.T) {
	t.Parallel()
	s, other := server(t), server(t)
	tool := asTool + `=1 "` + os.Args[0] + `" run `
	const fails = "this run would wait for itself"
	for _, tt := range []struct {
		name   string
		script string // of the command of a run with the lock job
		code   int
		says   string
	}{
		{"the command itself", `exec env ` + tool + `job -- echo ran`, runUsage, fails},
		{"within a script", tool + `job -- echo ran; exit $?`, runUsage, fails},
		{"for a time", tool + `--wait 60 job -- echo ran; exit $?`, runUsage, fails},
		{"inside another lock", tool + `b -- sh -c '` + tool + `job -- echo ran; exit $?'; exit $?`, runUsage, fails},
		{"written otherwise", tool + `--node redis://` + s.Addr() + `/0 --prefix j ob -- echo ran; exit $?`, runUsage, fails},
		{"without waiting", tool + `--wait 0 job -- echo ran; exit $?`, runTaken, "is taken, by"},
		{"another lock", tool + `b -- echo ran`, 0, ""},
		{"another server", tool + `--node ` + other.Addr() + ` job -- echo ran`, 0, ""},
		{"another database", tool + `--node redis://` + s.Addr() + `/1 job -- echo ran`, 0, ""},
		{"in the background", tool + `job -- echo ran 2>"$LIVES.says" & while ! [ -s "$LIVES.says" ]; do sleep 0.02; done; cat "$LIVES.says"; exit 0`, 0, "if it waits for this one, neither ends"},
		{"of a run that has ended", `(sh -c 'while [ -e $0 ]; do sleep 0.02; done; ` + tool + `job -- echo ran' "$LIVES" &); exit 0`, 0, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lives := filepath.Join(t.TempDir(), "lives")
			if err := os.WriteFile(lives, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			p := startIn(t, environment("REDLOCK_NODES="+s.Addr(), "LIVES="+lives), sh(tt.script)...)
			if err := p.exited(patient); err != nil {
				t.Fatal(err)
			}
			if err := os.Remove(lives); err != nil {
				t.Fatal(err)
			}
			p.want(tt.code)
			said := p.stderr.String() + p.stdout.String()
			if !strings.Contains(said, tt.says) {
				t.Errorf("it said %q, want %q", said, tt.says)
			}
			if ran := strings.Contains("\n"+said, "\nran\n"); ran != (tt.code == 0) {
				t.Errorf("the inner command ran: %v; it said %q", ran, said)
			}
		})
	}
}

// The command does not get a password unless that was asked for, and a run inside it does
// not take other servers instead.
func TestRunWithholdsPasswords(t *testing.T) {
	t.Parallel()
	locked := miniredis.NewMiniRedis()
	locked.RequireAuth("sekrit")
	if err := locked.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locked.Close)
	nodes := "REDLOCK_NODES=redis://:sekrit@" + locked.Addr()
	show := `env; exec env ` + asTool + `=1 "` + os.Args[0] + `" run inner -- echo ran`

	p := startIn(t, environment(nodes), sh(show)...)
	p.want(runUsage)
	if out := p.stdout.String() + p.stderr.String(); strings.Contains(out, "sekrit") || !strings.Contains(out, "has not passed REDLOCK_NODES on") {
		t.Errorf("it said %q", out)
	}
	p = startIn(t, environment(nodes), sh(show, "--pass-nodes")...)
	p.want(0)
	if out := p.stdout.String(); !strings.Contains(out, nodes+"\n") || !strings.HasSuffix(out, "ran\n") {
		t.Errorf("the command said %q", out)
	}
}

// With --fencing each command has a higher token than the one before.
func TestRunFencing(t *testing.T) {
	t.Parallel()
	s := server(t)
	last := 0
	for range 3 {
		p := start(t, s.Addr(), sh(`echo "$REDLOCK_FENCE"`, "--fencing")...)
		p.want(0)
		fence, err := strconv.Atoi(strings.TrimSpace(p.stdout.String()))
		if err != nil || fence <= last {
			t.Errorf("the command was given the token %q after %d", p.stdout.String(), last)
		}
		last = fence
	}
	p := start(t, s.Addr(), sh(`echo "${REDLOCK_FENCE-none}"`)...)
	p.want(0)
	if got := p.stdout.String(); got != "none\n" {
		t.Errorf("without --fencing it was given %q", got)
	}
}

// A broken pipe of its own must not end the tool, which holds a lock.
func TestRunSurvivesABrokenPipe(t *testing.T) {
	long.Test(t)
	s := server(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], sh(`echo ready; exec 2>/dev/null; read x; exit 6`, "--ttl", "6s", "--grace", "100ms")...)
	cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
	cmd.Stderr = w
	stdout := newOutput()
	cmd.Stdout = stdout.follow(t)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	_ = w.Close()
	_ = cmd.Stdout.(*os.File).Close()
	stdout.await(t, "ready")
	_ = r.Close()
	before := s.Commands()
	s.Hang()
	await(t, "an extension that fails, which is complained of", func() bool {
		select {
		case <-stdout.closed:
			t.Fatal("the tool died")
		default:
		}
		return s.Commands() > before || s.Redis().TTL("job") < 3*time.Second
	})
	s.Resume()
	await(t, "an extension", func() bool { return s.Redis().TTL("job") > 5*time.Second })
	if _, err := stdin.Write([]byte("go on\n")); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 6 {
		t.Errorf("exit code %d, want 6", code)
	}
}
