//go:build unix

package main

import (
	"strings"
	"syscall"
	"testing"

	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/internal/long"
)

// A command that waits names servers that answer but grant nothing, and goes on when they do.
func TestWaitBesideReplicas(t *testing.T) {
	long.Test(t)
	const replica = "it is a replica, which cannot keep locks (name the master)"
	for name, tt := range map[string]struct{ args, says, ran string }{
		"run":      {"run job -- echo ran", `cannot get the lock "job", trying for up to 30s: `, "ran\n"},
		"also":     {"run --also other job -- echo ran", `cannot get the lock "job", trying for up to 30s: `, "ran\n"},
		"shared":   {"run --shared job -- echo ran", `cannot get the lock "job", trying for up to 30s: `, "ran\n"},
		"permits":  {"run --permits 2 job -- echo ran", `cannot get the permit of "job", trying for up to 30s: `, "ran\n"},
		"campaign": {"campaign job -- echo ran", `cannot lead "job" yet, waiting: `, "ran\n"},
		"lock":     {"lock --ttl 30s job", `cannot get the lock "job", trying for up to 30s: `, "redlock1."},
		"polling":  {"lock --retry-count=-1 job 30000", `error `, ""},
	} {
		t.Run(name, func(t *testing.T) {
			addr := realServer(t)
			client, err := goredis.NewClient(addr)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = client.Close() })
			if err := client.ReplicaOf(t.Context(), "127.0.0.1", "1").Err(); err != nil {
				t.Fatal(err)
			}
			given := start(t, addr, strings.Fields(tt.args)...)
			goesOn := start(t, addr, strings.Fields(tt.args)...)
			for _, p := range []*tool{given, goesOn} {
				p.stderr.await(t, replica)
				if got := p.stderr.String(); !strings.Contains(got, tt.says) {
					t.Errorf("stderr %q, want %q", got, tt.says)
				}
			}
			given.signal(syscall.SIGTERM)
			given.want(128 + int(syscall.SIGTERM))
			if err := client.ReplicaOf(t.Context(), "NO", "ONE").Err(); err != nil {
				t.Fatal(err)
			}
			goesOn.want(exitOK)
			if got := goesOn.stdout.String(); !strings.HasPrefix(got, tt.ran) {
				t.Errorf("stdout %q, want %q", got, tt.ran)
			}
		})
	}
}
