package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestComplain(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Net: "tcp", Err: err} }
	tests := []struct {
		err          error
		what, remedy string
	}{
		{dial(syscall.ECONNREFUSED), "connection refused", "is Redis running there? is the address in --node"},
		{dial(syscall.ENOENT), "no such socket", "is Redis running there?"},
		{dial(&net.DNSError{Err: "no such host", Name: "h"}), "unknown host", "check the host name"},
		{context.DeadlineExceeded, "no answer within 1.2s", "does the server hang?"},
		{nil, "no answer within 1.2s", "--node-timeout"},
		{errors.New("NOAUTH Authentication required."), "it wants a password", "REDLOCK_NODES"},
		{errors.New("WRONGPASS invalid username-password pair"), "wrong user or password", "%XX"},
		{errors.New("ERR invalid password"), "wrong user or password", "%XX"},
		{errors.New("NOPERM this user has no permissions"), "NOPERM this user has no permissions", "more rights"},
		{errors.New("ERR ACL failure in script: User joe has no permissions to run the 'time' command"), "ERR ACL failure in script: User joe has no permissions to run the 'time' command", "more rights"},
		{errors.New("ERR The user executing the script can't run this command or subcommand"), "ERR The user executing the script can't run this command or subcommand", "more rights"},
		{errors.New("OOM command not allowed when used memory > 'maxmemory'. script: 0123456789abcdef, on @user_script:208."), "its memory is full (OOM)", "maxmemory"},
		{errors.New("READONLY You can't write against a read only replica."), "it is a replica", "name the master"},
		{backend.MarkReply(errors.New("ERR unknown command 'evalsha', with args beginning with: 'x' 'TOKEN'")), "ERR unknown command 'evalsha'", "Sentinel"},
		{errors.New("ERR unknown command 'set'"), "ERR unknown command 'set'", "Sentinel"},
		{errors.New("WRONGTYPE Operation against a key"), "the key is in use", "--prefix"},
		{errors.New("tls: first record does not look like a TLS handshake"), "it does not speak TLS", "redis://"},
		{fmt.Errorf("not sent: %w", backend.MarkReply(errors.New("READONLY You can't write"))), "it is a replica", "name the master"},
		{fmt.Errorf("not sent: %w", os.ErrDeadlineExceeded), "no answer within 1.2s", "--node-timeout"},
		{errors.New("EOF"), "it closed the connection", "rediss://"},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), "it closed the connection", "rediss://"},
		{errors.New("NORUNID this server does not tell"), "it does not tell its run_id", "--quarantine"},
		{errors.New("MOVED 1234 10.0.0.1:6379"), "it belongs to a Cluster", "redis+cluster://"},
		{errors.New("CLUSTERDOWN Hash slot not served"), "CLUSTERDOWN Hash slot not served", "CLUSTER INFO"},
		{errors.New("ERR This instance has cluster support disabled"), "it does not belong to a Cluster", "redis://"},
		{sentinels(redis.Nil, dial(syscall.ECONNREFUSED)), "its sentinels do not know the master", "master_name"},
		{sentinels(dial(syscall.ECONNREFUSED), redis.Nil), "its sentinels do not know the master", "master_name"},
		{sentinels(dial(syscall.ECONNREFUSED)), "no sentinel tells the master: connection refused", "is Redis running there?"},
		{sentinels(errors.New("NOAUTH Authentication required.")), "no sentinel tells the master: it wants a password", "--sentinel-password-file"},
		{sentinels(errors.New("WRONGPASS invalid username-password pair")), "no sentinel tells the master: wrong user or password", "sentinel_password"},
		{sentinels(errors.New("ERR unknown command 'sentinel'")), "no sentinel tells the master: ERR unknown command", "is it a Redis server?"},
		{fmt.Errorf("%w", backend.MarkNotExecuted(sentinels(errors.New("NOAUTH Authentication required.")))), "no sentinel tells the master: it wants", "--sentinel-password-file"},
		{sentinels(), "none of its sentinels answers", "addresses"},
		{errors.New("remote error: tls: handshake failure"), "it ends the TLS handshake: handshake failure", "--tls-cert"},
		{errors.New("ERR DB index is out of range"), "ERR DB index is out of range", ""},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.err), func(t *testing.T) {
			got := complain(tt.err, 1234*time.Millisecond)
			if !strings.HasPrefix(got.what, tt.what) || strings.Contains(got.what, "TOKEN") || !strings.Contains(got.remedy, tt.remedy) || (tt.remedy == "") != (got.remedy == "") {
				t.Errorf("%q, %q", got.what, got.remedy)
			}
		})
	}
}

// sentinels returns what the driver says when no sentinel has told it the master.
func sentinels(errs ...error) error {
	return fmt.Errorf("redis: all sentinels specified in configuration are unreachable: %w", errors.Join(append(errs, nil)...))
}

// What drivers really say of TLS that is missing or too much.
func TestComplainOfTLS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	web.Config.ErrorLog = log.New(io.Discard, "", 0)
	web.StartTLS()
	t.Cleanup(web.Close)
	addr := web.Listener.Addr().String()
	for url, want := range map[string]string{
		"redis://" + addr:  "if it speaks TLS, write rediss://",
		"rediss://" + addr: "signed by an authority that is not trusted here (is it the right server? then name a file",
	} {
		t.Run(url, func(t *testing.T) {
			code, _, stderr := inProcess("run", "--ttl", "10m", "--node-timeout", "20s", "--wait", "0", "--node", url, "job", "--", "true")
			if code != runServers || !strings.Contains(stderr, want) {
				t.Errorf("code %d, stderr %q", code, stderr)
			}
		})
	}
}

// A server that has not answered when the waiting is over does not answer, and what
// it said in earlier tries is not forgotten.
func TestComplainOfTheLastTry(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	code, _, stderr := inProcess("run", "--wait", "200ms", "--node", silent.Addr().String(), "job", "--", "true")
	if want := silent.Addr().String() + ": no answer within "; code != runServers || !strings.Contains(stderr, want) {
		t.Errorf("code %d, stderr %q, want %q", code, stderr, want)
	}

	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for range 5 { // the last try may be cut off at any point
		code, _, stderr = inProcess("run", "--wait", "100ms", "--node", closed.Addr().String(), "job", "--", "true")
		if want := closed.Addr().String() + ": connection refused (is Redis"; code != runServers || !strings.Contains(stderr, want) {
			t.Errorf("code %d, stderr %q, want %q", code, stderr, want)
		}
	}
}

// So it is where the last try had heard of some of the failures only.
func TestComplainOfSeveral(t *testing.T) {
	node := func(name string, o redlock.Outcome, err error) redlock.NodeReport {
		return redlock.NodeReport{Node: name, Outcome: o, Err: err}
	}
	down, wrong := syscall.ECONNREFUSED, errors.New("WRONGPASS invalid username-password pair")
	err := fmt.Errorf("%w: %w", &redlock.QuorumError{Need: 2, Rounds: []redlock.Report{
		{node("a", redlock.Granted, nil), node("b", redlock.Failed, down), node("c", redlock.Failed, wrong)},
		{node("a", redlock.Granted, nil), node("b", redlock.Failed, down), {Node: "c", Outcome: redlock.Pending, Latency: time.Millisecond}},
	}}, context.DeadlineExceeded)
	if got, want := reason(err), "c: wrong user or password"; !strings.Contains(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// A Sentinel set or a Cluster says which of its servers is meant, and a single server, whose
// name is its address, does not.
func TestComplainOfOneOfSeveral(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 6379}, Err: syscall.ECONNREFUSED}
	for node, want := range map[string]string{
		"Cluster of a:1,b:2": "Cluster of a:1,b:2: connection refused at 10.0.0.2:6379 (",
		"m of a:1":           "m of a:1: connection refused at 10.0.0.2:6379 (",
		"b:6379":             "b:6379: connection refused (",
	} {
		err := &redlock.QuorumError{Need: 1, Rounds: []redlock.Report{{{Node: node, Outcome: redlock.Failed, Err: refused}}}}
		if got := reason(err); !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A server in quarantine says for how long, if it does.
func TestComplainOfQuarantine(t *testing.T) {
	for left, want := range map[time.Duration]string{
		12345 * time.Millisecond: "it is in quarantine for another 12s, because it is new",
		0:                        "it is in quarantine, because it is new",
	} {
		err := &redlock.QuorumError{Need: 1, Rounds: []redlock.Report{{{Node: "a", Outcome: redlock.Quarantined, Quarantine: left, Err: errors.New("x")}}}}
		if got := reason(err); !strings.HasPrefix(got, "a: "+want) || !strings.HasSuffix(got, "(that ends by itself)") {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A server without which a round was decided has not failed, also if the caller's ctx ends
// in or after that round.
func TestComplainOfThoseThatFailedOnly(t *testing.T) {
	for _, latency := range []time.Duration{0, 9 * time.Millisecond} {
		err := fmt.Errorf("%w: %w", &redlock.QuorumError{Need: 2, Rounds: []redlock.Report{{
			{Node: "a", Outcome: redlock.Pending, Latency: latency},
			{Node: "b", Outcome: redlock.Failed, Err: syscall.ECONNREFUSED},
			{Node: "c", Outcome: redlock.Failed, Err: syscall.ECONNREFUSED},
		}}}, context.DeadlineExceeded)
		got, want := failures(err, 0).String(), "2 of 3 servers failed, and 2 must work: b: connection refused; c: connection refused (is Redis"
		if !strings.HasPrefix(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// Each remedy is there once, after the last server that needs it.
func TestComplainWithEachRemedy(t *testing.T) {
	down := complaint{"connection refused", "is it running?"}
	wrong := complaint{"wrong password", "check it"}
	odd := complaint{what: "ERR odd"}
	for _, tc := range []struct {
		complaints []complaint
		want       string
	}{
		{[]complaint{down}, "s0: connection refused (is it running?)"},
		{[]complaint{down, down}, "s0: connection refused; s1: connection refused (is it running?)"},
		{[]complaint{down, wrong}, "s0: connection refused (is it running?); s1: wrong password (check it)"},
		{[]complaint{down, wrong, down}, "s0: connection refused; s1: wrong password (check it); s2: connection refused (is it running?)"},
		{[]complaint{down, odd}, "s0: connection refused (is it running?); s1: ERR odd"},
	} {
		list := trouble{size: 1}
		for i, c := range tc.complaints {
			list.add(fmt.Sprint("s", i), c)
		}
		if got := list.String(); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

// A server that does not have the lock keeps it from being extended just as one that is down.
func TestFailuresNameServersWithoutTheLock(t *testing.T) {
	report := redlock.Report{
		{Node: "a", Outcome: redlock.NotHeld},
		{Node: "b", Outcome: redlock.Failed, Err: syscall.ECONNREFUSED},
		{Node: "c", Outcome: redlock.Granted},
	}
	err := fmt.Errorf("extend: %w", &redlock.QuorumError{Need: 2, Rounds: []redlock.Report{report}})
	got := failures(err, time.Second).String()
	for _, want := range []string{"2 of 3 servers failed, and 2 must work: b: connection refused (", `; a: it does not have the lock (did it restart`} {
		if !strings.Contains(got, want) {
			t.Errorf("%q, want %q in it", got, want)
		}
	}
	report[1].Outcome = redlock.Granted
	if got := failures(err, time.Second); len(got.servers) > 0 {
		t.Errorf("%q, although no server has failed", got)
	}
}

// A lock is lost because of all servers without it, also those that have not granted it. They
// are named, and there is advice.
func TestLossReason(t *testing.T) {
	node := func(name string, o redlock.Outcome) redlock.NodeReport {
		return redlock.NodeReport{Node: name, Outcome: o}
	}
	for want, report := range map[string]redlock.Report{
		"the server a:1 does not have it any more: it was":      {node("a:1", redlock.NotHeld)},
		"2 of 3 servers do not have it any more (a, c): it was": {node("a", redlock.NotHeld), node("b", redlock.Granted), node("c", redlock.NotHeld)},
		"2 of 3 servers do not have it (b, a): it was":          {node("a", redlock.Skipped), node("b", redlock.NotHeld), node("c", redlock.Granted)},
	} {
		err := fmt.Errorf("lost: %w", &redlock.QuorumError{Need: len(report)/2 + 1, Rounds: []redlock.Report{report}})
		if got := lossReason(err); !strings.HasPrefix(got, want) || !strings.Contains(got, `"redlock doctor"`) {
			t.Errorf("%q, want %q and what to check", got, want)
		}
	}
}

func TestRound(t *testing.T) {
	for d, want := range map[time.Duration]string{
		1234567 * time.Nanosecond:    "1ms",
		203 * time.Millisecond:       "200ms",
		1249 * time.Millisecond:      "1.2s",
		29999 * time.Millisecond:     "30s",
		90*time.Second + time.Second: "1m31s",
	} {
		if got := round(d); got != want {
			t.Errorf("round(%v) = %s, want %s", d, got, want)
		}
	}
}
