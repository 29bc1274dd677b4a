//go:build unix

package main

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/redlock"
)

// Each command names the server that does not work, and what to do, and shows no secret.
func TestLockTellsOfServersThatDoNotWork(t *testing.T) {
	long.Test(t)
	dead, works := nobody(t), server(t).Addr()
	hung := server(t)
	hung.Hang()
	locked := miniredis.NewMiniRedis()
	locked.RequireAuth("right")
	if err := locked.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(locked.Close)
	replica := realServer(t)
	client, err := goredis.NewClient(replica)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if err := errors.Join(client.Set(t.Context(), "job", "SEKRITKEY", 25*time.Second).Err(), client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err()); err != nil {
		t.Fatal(err)
	}

	h := redlock.NewHandover("job", "SEKRITKEY", 0)
	handover, err := h.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	commands := []struct {
		args   []string
		begins string
	}{
		{[]string{"lock", "--wait", "0", "--ttl", "30s", "free"}, `redlock: no lock "free": `},
		{[]string{"unlock", string(handover)}, `redlock: could not unlock "job", which then ends by itself when its TTL is over: `},
		{[]string{"extend", "--ttl", "30s", string(handover)}, `redlock: could not extend the lock "job", which ends when its TTL is over unless another attempt succeeds: `},
		{[]string{"lock", "--retry-count", "0", "free", "30000"}, "error "},
		{[]string{"unlock", "job", "SEKRITKEY"}, `Error: could not unlock "job", `},
	}
	for _, tt := range []struct{ name, nodes, says string }{
		{"replica", replica, "it is a replica, which cannot keep locks (name the master)"},
		{"down", dead, dead + ": connection refused (is Redis running there?"},
		{"hung", hung.Addr(), hung.Addr() + ": no answer within 2"},
		{"unknown host", "redis.invalid", "redis.invalid:6379: unknown host"},
		{"no password", locked.Addr(), locked.Addr() + ": it wants a password (put it into the URL"},
		{"wrong password", "redis://:sekrit@" + locked.Addr(), locked.Addr() + ": wrong user or password"},
		{"majority down", dead + "," + works + "," + hung.Addr(), "2 of 3 servers failed, and 2 must work: "},
	} {
		for _, c := range commands {
			t.Run(tt.name+"/"+c.args[0], func(t *testing.T) {
				says := []string{tt.says}
				if tt.name == "majority down" && c.args[0] != "lock" {
					// The server that works has no lock to release or to extend.
					says = []string{"3 of 3 servers failed, and 2 must work: ", works + ": it does not have the lock ("}
				}
				timeout := "3s" // a busy machine may take long to look up a host
				if strings.Contains(tt.nodes, hung.Addr()) {
					timeout = "2s"
				}
				args := slices.Concat(c.args, []string{"--node", tt.nodes, "--node-timeout", timeout})
				code, stdout, stderr := inProcess(args...)
				if code != exitServers || stdout != "" {
					t.Errorf("code %d, stdout %q", code, stdout)
				}
				lacks := func(s string) bool { return !strings.Contains(stderr, s) }
				if !strings.HasPrefix(stderr, c.begins) || slices.ContainsFunc(says, lacks) || strings.Count(stderr, "\n") != 1 {
					t.Errorf("stderr %q, want one line with %q and %q", stderr, c.begins, says)
				}
				if strings.Contains(strings.ToLower(stderr), "sekrit") {
					t.Errorf("a secret was printed: %q", stderr)
				}
				if code, _, stderr := inProcess(append(args, "--quiet")...); code != exitServers || stderr != "" {
					t.Errorf("quiet: code %d, stderr %q", code, stderr)
				}
			})
		}
	}
}

func TestLockTaken(t *testing.T) {
	long.Test(t)
	s := server(t)
	lock, err := rival(t, s.Addr()).Lock(t.Context(), "job", redlock.WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Run("not waiting", func(t *testing.T) {
		code, stdout, stderr := inProcess("lock", "--node", s.Addr(), "--wait", "0", "job", "--ttl", "5s")
		if code != exitFailed || stdout != "" || stderr != "redlock: the lock \"job\" is taken, by \"rival\"\n" {
			t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	t.Run("waiting for a time", func(t *testing.T) {
		code, stdout, stderr := inProcess("lock", "--node", s.Addr(), "--wait", "2s", "--quiet", "job", "--ttl", "5s")
		if code != exitFailed || stdout != "" || stderr != "" {
			t.Errorf("code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			p := start(t, s.Addr(), "lock", "job", "--ttl", "5s")
			p.stderr.await(t, `waiting for the lock "job", held by "rival"`)
			p.signal(sig)
			p.want(128 + int(sig))
			if got := p.stdout.String(); got != "" {
				t.Errorf("stdout %q", got)
			}
			p.stderr.await(t, "gave up waiting for the lock")
		})
		t.Run(sig.String()+" with redlock-py", func(t *testing.T) {
			p := start(t, s.Addr(), "lock", "--retry-count", "-1", "--retry-delay", "20", "job", "5000")
			p.stderr.await(t, "failed\nfailed\n")
			p.signal(sig)
			p.want(128 + int(sig))
			if got := p.stdout.String(); got != "" {
				t.Errorf("stdout %q", got)
			}
		})
	}
	t.Run("until it is free", func(t *testing.T) {
		p := start(t, s.Addr(), "lock", "job", "--ttl", "5s")
		p.stderr.await(t, `waiting for the lock "job"`)
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		p.want(exitOK)
		handoverIn(t, p.stdout.String())
	})
}

// A minority of the servers that does not work is no trouble.
func TestLockMinority(t *testing.T) {
	t.Parallel()
	a, b := server(t), server(t)
	hung := server(t)
	hung.Hang()
	for name, third := range map[string]string{"down": nobody(t), "hung": hung.Addr()} {
		t.Run(name, func(t *testing.T) {
			nodes := a.Addr() + "," + third + "," + b.Addr()
			code, stdout, stderr := inProcess("lock", "--node", nodes, "job", "--ttl", "60s")
			if code != exitOK || stderr != "" {
				t.Fatalf("code %d, stderr %q", code, stderr)
			}
			h := handoverIn(t, stdout)
			text := strings.TrimSuffix(stdout, "\n")
			if code, _, stderr := inProcess("extend", "--node", nodes, text, "--ttl", "600s"); code != exitOK || stderr != "" {
				t.Errorf("extend: code %d, stderr %q", code, stderr)
			}
			if left := b.Redis().TTL(h.Key()); left < 500*time.Second {
				t.Errorf("the lock lives for %v", left)
			}
			if code, _, _ := inProcess("unlock", "--node", nodes, text); code != exitOK {
				t.Errorf("unlock: code %d", code)
			}
			if a.Redis().Exists("job") || b.Redis().Exists("job") {
				t.Error("the lock was not released")
			}
		})
	}
}

// A reader that has gone away does not kill the tool while it has a lock that nobody could
// release.
func TestLockIntoABrokenPipe(t *testing.T) {
	s := server(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close()
	cmd := exec.Command(os.Args[0], "lock", "job", "--ttl", "60s")
	cmd.Env = environment("REDLOCK_NODES=" + s.Addr())
	cmd.Stdout = w
	out := newOutput()
	cmd.Stderr = out.follow(t)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	_ = cmd.Stderr.(*os.File).Close()
	_ = cmd.Wait()
	out.end(t) // all that it has written has been read
	if code := cmd.ProcessState.ExitCode(); code != exitServers || !strings.Contains(out.String(), "was released") {
		t.Errorf("code %d, stderr %q", code, out)
	}
	if s.Redis().Exists("job") {
		t.Error("the lock was not released")
	}
}

// What a server says cannot control the terminal, nor look like a second line.
func TestLockEscapesTheServersText(t *testing.T) {
	addr := refusing(t, "ERR "+hostile)
	t.Setenv(tokenVariable, "redlock1.b3JkZXJzLzQy.dG9rZW4.17.7a4b1e90")
	for _, args := range [][]string{
		{"lock", "--wait", "0", "job", "--ttl", "5m"}, {"unlock"}, {"extend", "--ttl", "5m"},
		{"lock", "--retry-count", "0", "job", "300000"}, {"unlock", "job", "KEY"},
	} {
		code, stdout, stderr := inProcess(append(args, "--node", addr, "--node-timeout", "20s")...)
		if code != exitServers || stdout != "" || !strings.Contains(stderr, hostileShown) || strings.Count(stderr, "\n") != 1 ||
			strings.ContainsAny(stderr, "\x1b\a\r\u009b\u202e") {
			t.Errorf("%q: code %d, stdout %q, stderr %q", args, code, stdout, stderr)
		}
	}
}
