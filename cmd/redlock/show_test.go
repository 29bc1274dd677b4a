package main

import (
	"bufio"
	"context"
	"net"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

const (
	hostile      = "\x1b[2J\x1b]0;title\a\u009b31m\u202e\xff"
	hostileShown = `\x1b[2J\x1b]0;title\a\u009b31m\u202e\xff`
)

// oneLine checks that the tool has printed one line that cannot control a terminal.
func oneLine(t *testing.T, stderr, says string) {
	t.Helper()
	if !strings.HasPrefix(stderr, "redlock: ") || strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, says) {
		t.Errorf("stderr %.500q, want one line with %q", stderr, says)
	}
	if strings.ContainsAny(stderr, "\x1b\a\r\u009b\u202e") || !utf8.ValidString(stderr) {
		t.Errorf("stderr can control a terminal: %.500q", stderr)
	}
	if len(stderr) > 2000 {
		t.Errorf("stderr has %d bytes: %.100q", len(stderr), stderr)
	}
}

// refusing starts a server that answers everything with the error reply, and
// returns its address.
func refusing(t *testing.T, reply string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					if !strings.HasPrefix(lines.Text(), "*") { // it begins a command
						continue
					}
					if _, err := conn.Write([]byte("-" + reply + "\r\n")); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestServersTextIsEscaped(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"ERR", "NOPERM", "ERR unknown command"} {
		addr := refusing(t, code+" "+hostile+strings.Repeat("x", 20_000))
		for _, args := range [][]string{
			{"run", "--wait", "0", "--ttl", "5m", "--node-timeout", "20s", "--node", addr, "job", "--", "true"},
			{"run", "--wait", "0", "--ttl", "5m", "--node-timeout", "20s", "--fencing", "--node", addr, "job", "--", "true"},
			{"run", "--wait", "0", "--ttl", "5m", "--node-timeout", "20s", "--quarantine", "10m", "--node", addr, "job", "--", "true"},
			{"end-quarantine", "--node", addr},
			{"break", "--yes", "0123abcd", "--node", addr, "job"},
		} {
			exit, stdout, stderr := inProcess(args...)
			if exit == 0 || stdout != "" {
				t.Errorf("%q: code %d, stdout %q", args, exit, stdout)
			}
			oneLine(t, stderr, code+" "+hostileShown)
		}
	}
}

// The label of a holder comes from another process.
func TestOwnerIsEscaped(t *testing.T) {
	t.Parallel()
	s := server(t)
	client, err := goredis.NewClient("redis://" + s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	locker, err := redlock.New([]backend.Node{goredis.New(client)}, redlock.WithOwner(hostile+strings.Repeat("x", 1<<20)), redlock.WithNodeTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	lock, err := locker.TryLock(t.Context(), "job")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Unlock(context.Background()) })
	code, _, stderr := inProcess("run", "--wait", "0", "--node", s.Addr(), "job", "--", "true")
	if code != runTaken {
		t.Errorf("code %d, want %d", code, runTaken)
	}
	oneLine(t, stderr, `the lock "job" is taken, by "`+hostileShown)
}

// Arguments may come from a script that read them somewhere.
func TestArgumentsAreEscaped(t *testing.T) {
	long := hostile + strings.Repeat("x", 1<<20)
	nobody := nobody(t)
	for _, args := range [][]string{
		{long},
		{"help", long},
		{"end-quarantine", long},
		{"completion", "bash", long},
		{"run", "a", long, "--", "true"},
		{"run", long, long},
		{"run", "--" + long, "job", "--", "true"},
		{"run", "-" + long, "job", "--", "true"},
		{"run", "--wait", long, "job", "--", "true"},
		{"run", "--ttl", long, "job", "--", "true"},
		{"run", "--owner", "~" + long, "job", "--", "true"},
		{"run", "--wait", "0", "--node", nobody, long, "--", "true"},
		{"run", "--wait", "0", "--node", nobody, "job", "--", long},
		{"run", "--wait", "0", "--node", nobody, "job", "--", "./" + long},
		{"run", "--wait", "0", "--node", nobody, long, "--", "a b"},
		{"status", "--interval", long, "job"},
		{"status", "redis://" + long},
		{"break", "--yes", long, "job"},
		{"break", "job", long},
		{"break", "--yes", "0123abcd", "--node", nobody, long},
	} {
		t.Run(text.Quote(strings.Join(args, " "))[:20], func(t *testing.T) {
			code, stdout, stderr := inProcess(args...)
			if code == 0 || stdout != "" {
				t.Errorf("code %d, stdout %.100q", code, stdout)
			}
			oneLine(t, stderr, "")
		})
	}
}
