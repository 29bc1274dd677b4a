package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/redlock"
)

// have counts the servers that have a key.
func (s *serverSet) have(key string) int {
	s.t.Helper()
	n := 0
	for _, c := range s.clients {
		found, err := c.Exists(s.t.Context(), key).Result()
		if err != nil {
			s.t.Fatal(err)
		}
		n += int(found)
	}
	return n
}

// In scripts, --yes names the holder, and no other holder is hit.
func TestBreakYes(t *testing.T) {
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			s := startSeveral(t, n)
			wants := func(want int, says string, args ...string) {
				t.Helper()
				code, stdout, stderr := inProcess(append([]string{"break"}, args...)...)
				if code != want || stdout != "" {
					t.Errorf("%q: code %d, want %d; stdout %q", args, code, want, stdout)
				}
				if says == "" && stderr != "" {
					t.Errorf("%q: stderr %q", args, stderr)
				} else if says != "" {
					oneLine(t, stderr, says)
				}
			}
			wants(breakNotHeld, `the lock "job" is not released: the holder #0123abcd does not have it, and nobody does`, "--yes", "0123abcd", "job")
			_, old := s.hold("job", redlock.WithOwner(hostile))
			wants(breakNotHeld, `the holder #0123abcd does not have it, but `+hostileShown+` #`+old, "--yes", "0123abcd", "job")
			wants(exitOK, fmt.Sprintf(`released the lock "job" of %s #%s on %d of %d servers`, hostileShown, old, n, n), "job", "--yes", old)
			if s.have("job") != 0 {
				t.Fatal("it is still there")
			}
			_, newer := s.hold("job")
			wants(breakNotHeld, `the holder #`+old+` does not have it, but rival #`+newer, "--yes", "#"+old, "job")
			wants(breakNotHeld, "", "--yes", old, "--quiet", "job")
			if s.have("job") != n {
				t.Fatal("the lock of the newer holder is gone")
			}
			wants(exitOK, "", "--quiet", "--yes", "#"+newer, "job")
			for i := range n {
				s.set(i, "job", reservation)
			}
			wants(breakNotHeld, `the holder #0123abcd does not have it; it is reserved for the waiter waiter #`, "--yes", "0123abcd", "job")
		})
	}
}

// A key of another type is shown as held, because nobody gets the lock. It is not deleted.
func TestBreakAnotherType(t *testing.T) {
	s := startSeveral(t, 3)
	for _, c := range s.clients {
		if err := c.HSet(t.Context(), "app:job", "field", "value").Err(); err != nil {
			t.Fatal(err)
		}
	}
	shown := statusJSON(t, statusHeld, "--prefix", "app:", "job").Locks[0].Fingerprint
	code, _, stderr := inProcess("break", "--prefix", "app:", "--yes", shown, "job")
	if code != breakNotHeld || s.have("app:job") != 3 {
		t.Errorf("code %d, %d servers have the key", code, s.have("app:job"))
	}
	oneLine(t, stderr, `the lock "job" is not released: its key "app:job" is not a lock but data of another program`)
}

// Remains on some servers are removed, and servers that are down are named.
func TestBreakRemainsAndOutages(t *testing.T) {
	s := startSeveral(t, 3)
	down, dead, key := nobody(t), nobody(t), "app:job"
	s.set(0, key, "one") // 7692c3ad
	s.set(1, key, "two")
	code, _, stderr := inProcess("break", "--prefix", "app:", "--yes", "7692c3ad", "job")
	if code != exitOK || s.have(key) != 1 {
		t.Errorf("code %d, %d servers have it", code, s.have(key))
	}
	oneLine(t, stderr, `released the lock "job" of #7692c3ad on 1 of 3 servers`)

	s.set(0, key, "one")
	s.set(1, key, "one")
	code, _, stderr = inProcess("break", "--node", s.addrs[0], "--node", down, "--node", dead, "--prefix", "app:", "--yes", "7692c3ad", "job")
	if code != exitFailed || s.have(key) != 2 {
		t.Errorf("two servers down: code %d, %d servers have it", code, s.have(key))
	}
	oneLine(t, stderr, `the lock "job" is not released, because it is unknown who has it: 2 of 3 servers failed, and 2 must work: `+down+`: connection refused`)
	code, _, stderr = inProcess("break", "--node", s.addrs[0], "--node", s.addrs[1], "--node", down, "--prefix", "app:", "--yes", "7692c3ad", "job")
	if code != exitOK || s.have(key) != 0 {
		t.Errorf("one server down: code %d, %d servers have it", code, s.have(key))
	}
	oneLine(t, stderr, `released the lock "job" of #7692c3ad on 2 of 3 servers; `+down+`: connection refused; what is left there ends by itself`)
}

// Without a terminal and without --yes nothing is asked and nothing is deleted. That the lock is free,
// or that it is unknown who has it, comes first.
func TestBreakNeedsATerminal(t *testing.T) {
	s := startSeveral(t, 1)
	code, stdout, stderr := inProcess("break", "job")
	if code != breakNotHeld || stdout != "" {
		t.Errorf("code %d, stdout %q", code, stdout)
	}
	oneLine(t, stderr, `the lock "job" is not released: no holder has it`)
	code, _, stderr = inProcess("break", "--node", nobody(t), "job")
	if code != exitFailed {
		t.Errorf("code %d", code)
	}
	oneLine(t, stderr, `the lock "job" is not released, because it is unknown who has it: `)
	_, print := s.hold("job")
	tool := start(t, s.nodes, "break", "job")
	tool.tell(print)
	tool.want(exitUsage)
	if s.have("job") != 1 || tool.stdout.String() != "" || !strings.Contains(tool.stderr.String(), "there is no terminal to ask on, so --yes must name the fingerprint of the holder") {
		t.Errorf("stdout %q, stderr %q", tool.stdout, tool.stderr)
	}
}
