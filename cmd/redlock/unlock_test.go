package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// The handover comes from the argument, from stdin or from the environment, in this order.
func TestUnlockReadsTheHandover(t *testing.T) {
	t.Parallel()
	s := server(t)
	other := redlock.NewHandover("job", "of another", 0)
	text, err := other.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		args []string // HANDOVER stands for it
		env  string
		line string
	}{
		{"argument", []string{"HANDOVER"}, "", ""},
		{"argument before the environment", []string{"HANDOVER"}, string(text), ""},
		{"stdin", []string{"-"}, string(text), "HANDOVER"},
		{"stdin with the line ends of Windows", []string{"-"}, "", "HANDOVER\r"},
		{"environment", nil, "HANDOVER", ""},
		{"environment with spaces", nil, " HANDOVER\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			put := strings.NewReplacer("HANDOVER", taken(t, s.Addr())).Replace
			args := []string{"unlock"}
			for _, a := range tt.args {
				args = append(args, put(a))
			}
			p := startIn(t, environment("REDLOCK_NODES="+s.Addr(), tokenVariable+"="+put(tt.env)), args...)
			if tt.line != "" {
				p.tell(put(tt.line))
			}
			p.want(exitOK)
			if out := p.stdout.String() + p.stderr.String(); out != "" {
				t.Errorf("it said %q", out)
			}
			if s.Redis().Exists("job") {
				t.Error("the lock was not released")
			}
		})
	}
}

// A lock that is not held any more is told, and another holder's is left alone.
func TestUnlockOfALostLock(t *testing.T) {
	t.Parallel()
	a, b, c := server(t), server(t), server(t)
	for _, nodes := range []string{a.Addr(), a.Addr() + "," + b.Addr() + "," + c.Addr()} {
		handover := taken(t, nodes)
		if code, _, stderr := inProcess("unlock", "--node", nodes, handover); code != exitOK {
			t.Fatal(stderr)
		}
		mine, err := rival(t, strings.Split(nodes, ",")...).TryLock(t.Context(), "job", redlock.WithTTL(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range [][]string{{"unlock", handover}, {"extend", handover, "--ttl", "60s"}} {
			code, stdout, stderr := inProcess(append(command, "--node", nodes)...)
			if code != exitFailed || stdout != "" {
				t.Errorf("code %d, stdout %q", code, stdout)
			}
			oneLine(t, stderr, `the lock "job" is not held with this key: `)
			if code, _, stderr := inProcess(append(command, "--node", nodes, "--quiet")...); code != exitFailed || stderr != "" {
				t.Errorf("quiet: code %d, stderr %q", code, stderr)
			}
		}
		if err := mine.Unlock(t.Context()); err != nil {
			t.Errorf("the next holder's lock was touched: %v", err)
		}
	}
}

// A server that hangs does not keep the tool from ending, and is named.
func TestUnlockOneHung(t *testing.T) {
	a, b, hung := server(t), server(t), server(t)
	nodes := a.Addr() + "," + b.Addr() + "," + hung.Addr()
	handover := taken(t, nodes)
	hung.Hang()
	code, stdout, stderr := inProcess("unlock", "--node", nodes, handover)
	want := "redlock: no answer yet from " + hung.Addr() + `, where what is left of the lock "job" ends by itself when its TTL is over` + "\n"
	if code != exitOK || stdout != "" || stderr != want {
		t.Errorf("code %d, stdout %q, stderr %q, want %q", code, stdout, stderr, want)
	}
	if a.Redis().Exists("job") || b.Redis().Exists("job") {
		t.Error("the lock was not released")
	}
}

func TestExtend(t *testing.T) {
	a, b, c := server(t), server(t), server(t)
	nodes := a.Addr() + "," + b.Addr() + "," + c.Addr()
	for _, flags := range [][]string{nil, {"--fencing", "--prefix", "jobs:"}} {
		handover := taken(t, nodes, flags...)
		key := handoverIn(t, handover+"\n").Key()
		for _, ttl := range []string{"600s", "1s"} { // the second one is shorter than what is left
			p := startIn(t, environment("REDLOCK_NODES="+nodes, tokenVariable+"="+handover), "extend", "--ttl", ttl)
			p.want(exitOK)
			if out := p.stdout.String() + p.stderr.String(); out != "" {
				t.Errorf("it said %q", out)
			}
			if left := a.Redis().TTL(key); left < 500*time.Second || left > 600*time.Second {
				t.Errorf("after --ttl %s the lock lives for %v", ttl, left)
			}
		}
		if _, err := rival(t, a.Addr(), b.Addr(), c.Addr()).TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("TryLock: %v, want ErrTaken", err)
		}
		if code, _, stderr := inProcess("unlock", "--node", nodes, handover); code != exitOK || stderr != "" {
			t.Errorf("unlock: code %d, stderr %q", code, stderr)
		}
	}
}
