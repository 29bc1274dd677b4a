//go:build unix

package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// With --also the command runs under several locks, which all end with it.
func TestRunAlso(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh("read x; echo $REDLOCK_NAME", "--also", "b", "--also", "a", "--also", "job")...)
	waitFor(t, func() bool { return s.Redis().Exists("a") && s.Redis().Exists("b") && s.Redis().Exists("job") })

	other := start(t, s.Addr(), sh("echo ran", "--also", "c", "--also", "b", "--wait", "0")...)
	other.want(runTaken)
	if got := other.stderr.String(); !strings.Contains(got, `the lock "b" is taken, by `) {
		t.Errorf("stderr %q, want the name of the lock that is taken", got)
	}
	if s.Redis().Exists("c") {
		t.Error("a run that did not get all locks has left one")
	}

	waiter := start(t, s.Addr(), "run", "--also", "c", "b", "--", "echo", "ran")
	waiter.stderr.await(t, `waiting for the lock "b", held by `)
	p.tell("x")
	p.want(0)
	if got := p.stdout.String(); got != "job\n" {
		t.Errorf("stdout %q", got)
	}
	waiter.want(0)
	if got := waiter.stderr.String(); !strings.Contains(got, `got the locks "b", "c" after `) {
		t.Errorf("stderr %q", got)
	}
	for _, key := range []string{"a", "b", "c", "job"} {
		if s.Redis().Exists(key) {
			t.Errorf("the lock %s was not released", key)
		}
	}
}

// If one of the locks is lost, the command stops, and the message names that lock.
func TestRunAlsoLost(t *testing.T) {
	t.Parallel()
	s := server(t)
	p := start(t, s.Addr(), sh("echo ready; exec sleep 60", "--also", "a", "--ttl", "6s")...)
	p.stdout.await(t, "ready") // before that, the keys may be those of an attempt that is too late, and is made again
	s.Redis().Del("a")
	p.want(runLost)
	if got := p.stderr.String(); !strings.Contains(got, `lost the lock "a": the server `+s.Addr()+` does not have it any more`) {
		t.Errorf("stderr %q", got)
	}
	if s.Redis().Exists("job") {
		t.Error("the other lock was not released")
	}
}

// A run inside the command of another one must not wait for any of its locks.
func TestRunAlsoInsideItself(t *testing.T) {
	s := server(t)
	p := start(t, s.Addr(), sh(asTool+`=1 "`+os.Args[0]+`" run --also z --also a other -- true; exit $?`, "--also", "a")...)
	p.want(runUsage)
	if got := p.stderr.String(); !strings.Contains(got, `this run would wait for itself: the lock "a" is held`) {
		t.Errorf("stderr %q", got)
	}
}

func TestRunAlsoWrongUsage(t *testing.T) {
	s := server(t)
	for want, flags := range map[string][]string{
		"--also each lock has its own": {"--also", "a", "--fencing"},
		"empty":                        {"--also", ""},
	} {
		p := start(t, s.Addr(), sh("true", flags...)...)
		p.want(runUsage)
		if got := p.stderr.String(); !strings.Contains(got, want) {
			t.Errorf("stderr %q, want %q", got, want)
		}
	}
	if n := s.Commands(); n != 0 {
		t.Errorf("%d commands, want none", n)
	}
}

// waitFor waits until ok is true.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it takes too long")
		}
	}
}
