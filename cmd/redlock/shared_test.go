//go:build unix

package main

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/redlock"
)

// With --shared any number of commands run at a time, and one without it runs alone.
func TestRunShared(t *testing.T) {
	t.Parallel()
	s := server(t)
	shared := func(owner, script string, flags ...string) *tool {
		return start(t, s.Addr(), sh(script, append([]string{"--shared", "--owner", owner}, flags...)...)...)
	}
	first := shared("first", "echo ready; read x")
	first.stdout.await(t, "ready")
	second := shared("second", "echo ready; read x")
	second.stdout.await(t, "ready")

	taken := start(t, s.Addr(), sh("echo ran", "--wait", "0")...)
	taken.want(runTaken)
	if got := taken.stderr.String(); !strings.Contains(got, `the lock "job" is taken, by "`) || !strings.Contains(got, `"first"`) || !strings.Contains(got, `"second"`) {
		t.Errorf("stderr %q", got)
	}
	writer := start(t, s.Addr(), sh("echo ready; read x", "--owner", "writer")...)
	writer.stderr.await(t, `waiting for the lock "job", which is shared, by "`)
	await(t, "the writer is queued", func() bool { return s.Redis().Exists("job{job}:queue") })
	late := shared("late", "echo ran", "--wait", "0")
	late.want(runTaken) // it does not overtake the writer
	if got := late.stderr.String(); !strings.Contains(got, "and a waiter that does not share it comes first") {
		t.Errorf("stderr %q", got)
	}

	first.tell("x")
	first.want(0)
	second.tell("x")
	second.want(0)
	writer.stdout.await(t, "ready")
	waiter := shared("waiter", "echo ran")
	waiter.stderr.await(t, `waiting for the lock "job", held by "writer"`)
	writer.tell("x")
	writer.want(0)
	waiter.want(0)
	if got := s.Redis().Keys(); len(got) > 0 {
		t.Errorf("keys are left: %q", got)
	}
}

// A command that shares a lock keeps it for longer than its TTL, and is stopped if it loses it.
func TestRunSharedLost(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh("echo ready; exec sleep 60", "--shared", "--ttl", "3s")...)
	p.stdout.await(t, "ready")
	locker := rival(t, s.Addr())
	await(t, "a reader joins and the command's share was extended", func() bool {
		lock, err := locker.TryRLock(t.Context(), "job")
		if err != nil {
			t.Error(err)
			return true
		}
		defer func() { _ = lock.Unlock(context.Background()) }()
		return s.Redis().TTL("job") > 0
	})
	s.Redis().Del("job")
	s.Redis().Del("job{job}:readers")
	p.want(runLost)
	if got := p.stderr.String(); !strings.Contains(got, `lost the lock "job": the server `+s.Addr()+` does not have it any more`) {
		t.Errorf("stderr %q", got)
	}
}

// Flags that contradict --shared are rejected before any I/O.
func TestRunSharedUsage(t *testing.T) {
	for _, flags := range [][]string{{"--permits", "2"}, {"--also", "other"}, {"--fencing"}} {
		args := append(append([]string{"run", "--node", nobody(t), "--shared"}, flags...), "job", "--", "true")
		if code, _, stderr := inProcess(args...); code != exitUsage && code != runUsage || !strings.Contains(stderr, flags[0]) || !strings.Contains(stderr, "--shared") {
			t.Errorf("%v: exit code %d, %q", flags, code, stderr)
		}
	}
}

// status shows who shares a lock, and break ends the share of one of them.
func TestStatusShared(t *testing.T) {
	t.Parallel()
	s := server(t)
	locker := rival(t, s.Addr())
	lock, err := locker.RLock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, s.Addr(), sh("echo ready; read x", "--shared", "--owner", "me")...)
	other.stdout.await(t, "ready")

	code, stdout, _ := inProcess("status", "--node", s.Addr(), "job")
	page := regexp.MustCompile(`(?s)^The lock "job" is shared\.\n  shared by +\S+ #[0-9a-f]{8}\n +\S+ #[0-9a-f]{8}\n  ends in +\d+s, unless it is extended\n  waiting +0\n`)
	if code != statusHeld || !page.MatchString(stdout) {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}
	code, stdout, _ = inProcess("status", "--json", "--node", s.Addr(), "job")
	line := regexp.MustCompile(`"state":"shared","ttl_ms":\d+,"sharing":2,"sharers":\[\{"owner":"\w+","fingerprint":"[0-9a-f]{8}"\},\{"owner":"\w+","fingerprint":"[0-9a-f]{8}"\}\],"waiting":0,`)
	if code != statusHeld || !line.MatchString(stdout) {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}

	status, err := locker.Inspect(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	for _, reader := range status.Readers {
		if reader.Owner != "rival" {
			continue
		}
		if code, stdout, stderr := inProcess("break", "--node", s.Addr(), "--yes", reader.Fingerprint, "job"); code != 0 {
			t.Errorf("break: exit code %d, %s%s", code, stdout, stderr)
		}
		if code, _, stderr := inProcess("break", "--node", s.Addr(), "--yes", reader.Fingerprint, "job"); code != breakNotHeld || !strings.Contains(stderr, `it is shared, by "me"`) {
			t.Errorf("break again: exit code %d, %s", code, stderr)
		}
	}
	if err := lock.Unlock(t.Context()); !errors.Is(err, redlock.ErrNotHeld) {
		t.Errorf("Unlock of a share that is broken: %v", err)
	}
	other.tell("x")
	other.want(0)
}
