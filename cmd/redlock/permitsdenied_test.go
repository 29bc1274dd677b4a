//go:build unix

package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// If too few servers tell which permits are in use, status says which servers, why, and what
// to do, and still shows the lock.
func TestStatusPermitsDenied(t *testing.T) {
	t.Parallel()
	var urls, flags []string
	for range 3 {
		socket := strings.TrimPrefix(realServer(t), "unix://")
		client := redis.NewClient(&redis.Options{Network: "unix", Addr: socket})
		t.Cleanup(func() { _ = client.Close() })
		if err := client.Do(t.Context(), "ACL", "SETUSER", "locks", "on", ">secret", "~job", "+@all").Err(); err != nil {
			if strings.Contains(err.Error(), "unknown command") { // before Redis 6
				t.Skip("the server has no access rules: ", err)
			}
			t.Fatal(err)
		}
		urls = append(urls, "unix://"+socket)
		flags = append(flags, "--node", "unix://locks:secret@"+socket)
	}
	holder := start(t, strings.Join(urls, ","), sh("echo ready; read x", "--permits", "2")...)
	holder.stdout.await(t, "ready")

	code, stdout, stderr := inProcess(append([]string{"status", "job"}, flags...)...)
	if code != statusFree || stderr != "" {
		t.Errorf("exit code %d, stderr %q; want that of a free lock", code, stderr)
	}
	if !strings.HasPrefix(stdout, `The lock "job" is free.`) {
		t.Errorf("stdout %q", stdout)
	}
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	said := lines[len(lines)-1]
	if !strings.HasPrefix(said, "It is unknown which permits are in use: 3 of 3 servers failed, and 2 must work: ") ||
		!strings.HasSuffix(said, `(if permits are used, the user needs the right to their keys, which begin with "job{job}:permits:")`) {
		t.Errorf("the last line is %q", said)
	}
	j := statusJSON(t, statusFree, append([]string{"job"}, flags...)...)
	if lock := j.Locks[0]; lock.State != "free" || len(lock.Permits) != 0 || len(lock.PermitsFailed) != 3 {
		t.Fatalf("%+v", lock)
	}
	for i, url := range urls {
		server := strings.TrimPrefix(url, "unix://")
		if !strings.Contains(said, server+": NOPERM ") {
			t.Errorf("%q does not say why %s fails", said, server)
		}
		if f := j.Locks[0].PermitsFailed[i]; f.Server != server || !strings.HasPrefix(f.Error, "NOPERM ") || !strings.HasPrefix(f.Remedy, "if permits are used, ") {
			t.Errorf("server %d: %+v", i, f)
		}
	}

	// One server that does not tell hides no permit.
	code, stdout, _ = inProcess("status", "job", "--node", urls[0], "--node", urls[1], flags[4], flags[5])
	if code != statusFree || !strings.Contains(stdout, "1 permit is in use.") || strings.Contains(stdout, "unknown which") {
		t.Errorf("exit code %d, stdout\n%s", code, stdout)
	}
	if j := statusJSON(t, statusFree, "job", "--node", urls[0], "--node", urls[1], flags[4], flags[5]); len(j.Locks[0].Permits) != 1 || len(j.Locks[0].PermitsFailed) != 0 {
		t.Errorf("%+v", j.Locks[0])
	}
	holder.tell("x")
	holder.want(0)
}
