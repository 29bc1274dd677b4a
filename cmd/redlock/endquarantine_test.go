package main

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// realServer starts a new server that tells its run_id and can be a replica, which embedded
// ones do and can not, and returns its URL.
func realServer(t *testing.T, options ...string) string {
	t.Helper()
	var path string
	for _, name := range []string{"redis-server", "valkey-server"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
		}
	}
	if path == "" {
		t.Skip("there is no redis-server and no valkey-server in PATH, and embedded servers cannot do what is tested here")
	}
	dir, err := os.MkdirTemp("", "redlock") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, append([]string{"--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--appendonly", "no"}, options...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	await(t, "the server listens", func() bool {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	return "unix://" + socket
}

// A Cluster has no quarantine that could end, so this is wrong usage, and no server is asked.
func TestEndQuarantineOfACluster(t *testing.T) {
	code, stdout, stderr := inProcess("end-quarantine", "--node", "redis+cluster://"+nobody(t))
	if code != exitUsage || stdout != "" {
		t.Errorf("code %d, stdout %q", code, stdout)
	}
	oneLine(t, stderr, "redlock: no quarantine: Cluster of ")
	if !strings.Contains(stderr, "use independent servers") {
		t.Errorf("stderr %q", stderr)
	}
}

func TestEndQuarantine(t *testing.T) {
	url := realServer(t)
	run := []string{"run", "--node", url, "--wait", "0", "--quarantine", "31s", "job", "--", "true"}
	wants := func(want int, says string, args ...string) {
		t.Helper()
		code, stdout, stderr := inProcess(args...)
		if code != want || stdout != "" || !regexp.MustCompile(says).MatchString(stderr) || says == "" && stderr != "" {
			t.Errorf("%q: code %d, stdout %q, stderr %q, want %d and %q", args, code, stdout, stderr, want, says)
		}
	}
	const short, later = `in quarantine for another (2\d|3[01])s`, `in quarantine for another (5m0|4m[45]\d)s` // a busy machine takes some time
	wants(runServers, short+`, because it is new, was started again or lost its data \(that ends by itself\)`, run...)
	t.Setenv("REDLOCK_QUARANTINE", "5m")
	wants(runServers, short, run...)
	wants(runServers, later, "run", "--node", url, "--wait", "0", "job", "--", "true")
	wants(exitOK, "", "end-quarantine", "--node", url)
	wants(exitOK, "", run...)
	wants(exitOK, "", "run", "--node", url, "--wait", "0", "job", "--", "true")
	wants(runServers, "in quarantine", append([]string{"run", "--prefix", "p:"}, run[1:]...)...)
	wants(exitOK, "", "end-quarantine", "--node", url, "--prefix", "p:")
	wants(exitOK, "", append([]string{"run", "--prefix", "p:"}, run[1:]...)...)
	t.Setenv("REDLOCK_QUARANTINE", "soon")
	wants(runUsage, `REDLOCK_QUARANTINE is "soon"`, "run", "--node", url, "--wait", "0", "job", "--", "true")
}

// Of several servers those are named that were not told, in one line.
func TestEndQuarantineFails(t *testing.T) {
	down, old := nobody(t), server(t).Addr()
	args := []string{"end-quarantine", "--node", down, "--node", old}
	code, stdout, stderr := inProcess(args...)
	for _, want := range []string{"redlock: end-quarantine: 2 of 2 servers failed: " + down + ": connection refused", "; " + old + ": it does not tell its run_id"} {
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
		}
	}
	if code, _, stderr := inProcess(append(args, "--quiet")...); code != exitFailed || stderr != "" {
		t.Errorf("quiet: code %d, stderr %q", code, stderr)
	}
}
