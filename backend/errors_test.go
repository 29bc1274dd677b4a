package backend_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// replyError is how drivers keep an error that the server answered.
type replyError string

func (e replyError) Error() string { return string(e) }

func TestMarkReply(t *testing.T) {
	const (
		unknown = iota
		notNow
		refused
	)
	for _, tc := range []struct {
		text string
		want int
	}{
		{"NOAUTH Authentication required.", refused},
		{"-NOAUTH Authentication required.", refused},
		{"WRONGPASS invalid username-password pair or user is disabled.", refused},
		{"NOPERM this user has no permissions to run the 'set' command", refused},
		{"READONLY You can't write against a read only replica.", notNow},
		{"WRONGTYPE Operation against a key holding the wrong kind of value", refused},
		{"CROSSSLOT Keys in request don't hash to the same slot", refused},
		{"DENIED Redis is running in protected mode because protected mode is enabled", refused},
		{"ERR unknown command 'EVALSHA', with args beginning with: ", refused},
		{"ERR unknown command `EVALSHA`, with args beginning with: ", refused},
		{"ERR invalid password", refused},
		{"ERR Client sent AUTH, but no password is set", refused},
		{"ERR AUTH <password> called without any password configured for the default user.", refused},
		{"ERR operation not permitted", refused},
		{"ERR DB index is out of range", refused},
		{"ERR invalid DB index", refused},
		{"ERR SELECT is not allowed in cluster mode", refused},

		{`FENCE the counter "k{k}:fence" holds no number of at most 16 digits`, refused},

		{"NORUNID this server does not tell its run_id", refused},

		{"QUARANTINE for another 4711 ms", notNow},
		{"LOADING Redis is loading the dataset in memory", notNow},
		{"MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", notNow},
		{"CLUSTERDOWN The cluster is down", notNow},
		{"TRYAGAIN Multiple keys request during rehashing of slot", notNow},
		{"OOM command not allowed when used memory > 'maxmemory'.", notNow},
		{"MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", notNow},
		{"NOREPLICAS Not enough good replicas to write.", notNow},
		{"BUSY Redis is busy running a script.", notNow},
		{"MOVED 3999 127.0.0.1:6381", notNow},
		{"ASK 3999 127.0.0.1:6381", notNow},
		{"NOSCRIPT No matching script. Please use EVAL.", notNow},
		{"ERR max number of clients reached", notNow},

		{"ERR value is not an integer or out of range", unknown},
		{"ERR Error running script", unknown},
		{"ERR user_script:12: an unknown command", unknown},
		{"NOAUTHORITY this only begins like one", unknown},
		{"UNKILLABLE Sorry the script already executed write commands", unknown},
		{"", unknown},
		{"-", unknown},
	} {
		driver := replyError(tc.text)
		err := backend.MarkReply(driver)
		if got := errors.Is(err, backend.ErrRefused); got != (tc.want == refused) {
			t.Errorf("%q: refused: %v", tc.text, got)
		}
		if got := backend.NotExecuted(err); got != (tc.want != unknown) {
			t.Errorf("%q: not executed: %v", tc.text, got)
		}
		if got := errors.Is(err, backend.ErrQuarantined); got != strings.HasPrefix(tc.text, "QUARANTINE ") {
			t.Errorf("%q: in quarantine: %v", tc.text, got)
		}
		if err.Error() != tc.text {
			t.Errorf("%q: the text became %q", tc.text, err)
		}
		var e replyError
		if !errors.Is(err, driver) || !errors.As(err, &e) || e != driver {
			t.Errorf("%q: the driver's own error is lost", tc.text)
		}
	}
	if err := backend.MarkReply(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
}

// What Redis 4 and older do not do is refused for good, and the error says which server it takes.
func TestMarkReplyOfAnOldServer(t *testing.T) {
	const text = "ERR Error running script (call to f_0123456789abcdef0123456789abcdef01234567): @user_script:12: @user_script: 12: " +
		"Write commands not allowed after non deterministic commands. Call redis.replicate_commands() at the start of your script in order " +
		"to switch to single commands replication mode. "
	driver := replyError(text)
	err := backend.MarkReply(driver)
	if !errors.Is(err, backend.ErrRefused) || !errors.Is(err, driver) || !strings.HasPrefix(err.Error(), text) || !strings.Contains(err.Error(), "older than Redis 5") {
		t.Errorf("got %v", err)
	}
}

func TestMarkNotExecuted(t *testing.T) {
	exhausted := errors.New("pool exhausted")
	err := backend.MarkNotExecuted(exhausted)
	if !backend.NotExecuted(err) || !errors.Is(err, exhausted) || err.Error() != exhausted.Error() {
		t.Errorf("got %#v", err)
	}
	if errors.Is(err, backend.ErrRefused) {
		t.Error("what was not executed counts as refused")
	}
	if again := backend.MarkNotExecuted(err); again != err {
		t.Errorf("marked twice: %#v", again)
	}
	if err := backend.MarkNotExecuted(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	// The mark survives wrapping, and other matches stay.
	wrapped := fmt.Errorf("node 2: %w", backend.MarkNotExecuted(context.Canceled))
	if !backend.NotExecuted(wrapped) || !errors.Is(wrapped, context.Canceled) {
		t.Errorf("got %#v", wrapped)
	}
}

func TestNotExecuted(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want bool
	}{
		{"none", nil, false},
		{"end of file", io.EOF, false},
		{"deadline", context.DeadlineExceeded, false},
		{"cancelled", context.Canceled, false},
		{"a dial", &net.OpError{Op: "dial", Err: errors.New("connection refused")}, true},
		{"a wrapped dial", fmt.Errorf("node 2: %w", &net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}), true},
		{"a read", &net.OpError{Op: "read", Err: errors.New("connection reset")}, false},
		{"a write", &net.OpError{Op: "write", Err: errors.New("broken pipe")}, false},
		{"refused", fmt.Errorf("node 2: %w", backend.ErrRefused), true},
		{"not executed", fmt.Errorf("node 2: %w", backend.ErrNotExecuted), true},
		{"unsupported", errors.ErrUnsupported, true},
	} {
		if got := backend.NotExecuted(tc.err); got != tc.want {
			t.Errorf("%s: %v", tc.name, got)
		}
	}
}

// A real refused connection, as every driver that dials gives it.
func TestNotExecutedOfARefusedConnection(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	if _, err := net.DialTimeout("tcp", addr, 5*time.Second); !backend.NotExecuted(err) {
		t.Errorf("not executed: false for %v", err)
	}
}

func TestMarkTimeout(t *testing.T) {
	ioTimeout := &net.OpError{Op: "read", Err: os.ErrDeadlineExceeded}
	for _, tc := range []struct {
		name string
		err  error
		want bool // matches context.DeadlineExceeded
	}{
		{"i/o timeout", ioTimeout, true},
		{"wrapped i/o timeout", fmt.Errorf("node 2: %w", ioTimeout), true},
		{"the deadline itself", context.DeadlineExceeded, true},
		{"cancelled", context.Canceled, false},
		{"end of file", io.EOF, false},
		{"reset", &net.OpError{Op: "read", Err: errors.New("connection reset")}, false},
	} {
		err := backend.MarkTimeout(tc.err)
		if got := errors.Is(err, context.DeadlineExceeded); got != tc.want {
			t.Errorf("%s: matches the deadline: %v", tc.name, got)
		}
		if !errors.Is(err, tc.err) || err.Error() != tc.err.Error() {
			t.Errorf("%s: became %v", tc.name, err)
		}
		if backend.NotExecuted(err) {
			t.Errorf("%s: a time-out counts as not executed", tc.name)
		}
		if !tc.want && err != tc.err {
			t.Errorf("%s: was touched: %#v", tc.name, err)
		}
	}
	if err := backend.MarkTimeout(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	// A dial that timed out is both.
	err := backend.MarkTimeout(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
		t.Errorf("a dial that timed out: %#v", err)
	}
}
