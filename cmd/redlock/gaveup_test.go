//go:build unix

package main

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/redlock"
)

// A signal that comes together with the lock ends the tool, and nothing has run. So the lock
// is free at once, also with --min-hold.
func TestSignalTogetherWithTheLock(t *testing.T) {
	const hold = "1h"
	command := []string{"job", "--", "sh", "-c", "echo ran; exec sleep 60"}
	for name, args := range map[string][]string{
		"run":      append([]string{"run", "--min-hold", hold}, command...),
		"also":     append([]string{"run", "--min-hold", hold, "--also", "other"}, command...),
		"permits":  append([]string{"run", "--min-hold", hold, "--permits", "1"}, command...),
		"shared":   append([]string{"run", "--min-hold", hold, "--shared"}, command...),
		"lock":     {"lock", "job", "--ttl", hold},
		"campaign": append([]string{"campaign"}, command...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				if signalTogetherWithTheLock(t, slices.Insert(args, 1, "--node-timeout", "3s")) {
					return
				}
			}
			t.Fatal("the signal never came together with the lock, because this machine is too slow")
		})
	}
}

// A signal that comes while the tool asks the servers for whom it waits ends it at once, also if
// one of the servers hangs. So the tool does not get to say for whom.
func TestSignalWhileAsking(t *testing.T) {
	t.Parallel()
	command := []string{"job", "--", "sleep", "60"}
	for name, args := range map[string][]string{
		"run":      append([]string{"run", "--ttl", "5m"}, command...),
		"permits":  append([]string{"run", "--ttl", "5m", "--permits", "1"}, command...),
		"lock":     {"lock", "job", "--ttl", "5m"},
		"campaign": append([]string{"campaign", "--ttl", "5m"}, command...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 5 {
				if signalWhileAsking(t, slices.Insert(args, 1, "--node-timeout", "30s")) {
					return
				}
			}
			t.Fatal("the signal never came while the tool asked, because this machine is too slow")
		})
	}
}

// signalWhileAsking sends the signal to the tool while it waits for the answer of a server that
// hangs. It reports whether that was so.
func signalWhileAsking(t *testing.T, args []string) bool {
	t.Helper()
	servers := []*embedded.Server{server(t), server(t), server(t)}
	addrs := []string{servers[0].Addr(), servers[1].Addr(), servers[2].Addr()}
	other := rival(t, addrs...)
	var err error
	if slices.Contains(args, "--permits") {
		_, err = other.Semaphore("job", 1).Acquire(t.Context())
	} else {
		_, err = other.Lock(t.Context(), "job")
	}
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, strings.Join(addrs, ","), args...)
	await(t, "it waits", func() bool { return queued(servers) })
	servers[2].Hang()
	time.Sleep(quietWait + 300*time.Millisecond) // until the tool asks for whom it waits
	if p.stderr.String() != "" {
		return false // it has looked already
	}
	p.signal(syscall.SIGTERM)
	p.want(128 + int(syscall.SIGTERM))
	if got := p.stderr.String(); !strings.HasPrefix(got, "redlock: terminated: gave up waiting for the ") {
		t.Errorf("stderr %q", got)
	}
	return true
}

// signalTogetherWithTheLock sends the signal to the tool while it looks for whom it waits, and
// waits for a server that hangs, but the other servers have granted the lock. It reports whether
// that was so.
func signalTogetherWithTheLock(t *testing.T, args []string) bool {
	t.Helper()
	servers := []*embedded.Server{server(t), server(t), server(t)}
	addrs := []string{servers[0].Addr(), servers[1].Addr(), servers[2].Addr()}
	answering, hung := servers[:2], servers[2]
	other := rival(t, addrs...)
	keys, take := []string{"job"}, func(ctx context.Context) (*redlock.Lock, error) { return other.Lock(ctx, "job") }
	switch {
	case slices.Contains(args, "--permits"):
		keys, take = []string{"job{job}:permits:1"}, other.Semaphore("job", 1).Acquire
	case slices.Contains(args, "--also"):
		keys = append(keys, "other")
	}
	before, err := take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, strings.Join(addrs, ","), args...)
	await(t, "it waits", func() bool { return queued(servers) })
	hung.Hang()
	time.Sleep(quietWait + 300*time.Millisecond) // until the tool asks for whom it waits
	if err := before.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	await(t, "it has the lock", func() bool { return haveOthers(answering, keys) })
	time.Sleep(300 * time.Millisecond) // for a round after that
	if p.stderr.String() != "" {
		return false // it has looked already
	}
	p.signal(syscall.SIGTERM)
	p.want(128 + int(syscall.SIGTERM))
	if got := p.stdout.String(); got != "" {
		t.Errorf("stdout %q", got)
	}
	want := "terminated: gave up waiting for the "
	if strings.Contains(p.stderr.String(), "got the ") {
		want = "terminated: unlocked the "
	}
	if got := p.stderr.String(); !strings.Contains(got, want) {
		t.Errorf("stderr %q", got)
	}
	for _, s := range answering {
		for _, key := range s.Redis().Keys() {
			if !strings.HasSuffix(key, ":fence") {
				t.Errorf("%s is left", key)
			}
		}
	}
	return true
}

// queued reports whether somebody waits on each of the servers.
func queued(servers []*embedded.Server) bool {
	for _, s := range servers {
		if !slices.ContainsFunc(s.Redis().Keys(), func(key string) bool { return strings.HasSuffix(key, ":queue") }) {
			return false
		}
	}
	return true
}

// haveOthers reports whether somebody else than the rival has the keys on each of the servers.
func haveOthers(servers []*embedded.Server, keys []string) bool {
	for _, s := range servers {
		for _, key := range keys {
			value, err := s.Redis().Get(key)
			if _, reserved := proto.Reserved(value); err != nil || strings.Contains(value, "rival") || reserved && value != proto.SharedValue {
				return false
			}
		}
	}
	return true
}
