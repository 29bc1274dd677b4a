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

// replyError stands for a driver's type for the error replies of a server.
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

		// Replies of real servers to a failed command in a script, once with redis.call and once
		// with redis.pcall.

		// Redis 6.0.16. Versions up to 6.2 and KeyDB use the same form.
		{"ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.  ", notNow},
		{"@user_script: 1: -OOM command not allowed when used memory > 'maxmemory'.  ", notNow},
		{"ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): @user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. ", notNow},
		{"ERR Error running script (call to f_c1137d6156be33ee6400501f15fbe6b58823785c): @user_script:1: WRONGTYPE Operation against a key holding the wrong kind of value ", refused},
		{"ERR Error running script (call to f_8f18fe90be97286fead79ae459e2f17b459c320d): @user_script:1: @user_script: 1: The user executing the script can't run this command or subcommand ", refused},
		{"@user_script: 1: The user executing the script can't run this command or subcommand", refused},
		{"ERR Error running script (call to f_6f36444f800cf1d6c3e02f3417f56faf6f038e4a): @user_script:1: @user_script: 1: The user executing the script can't access at least one of the keys mentioned in the command arguments ", refused},
		{"ERR Error running script (call to f_79b76801837b5b74511e1d7b14165b3be2766369): @user_script:1: @user_script: 1: Unknown Redis command called from Lua script ", refused},
		{"@user_script: 1: Unknown Redis command called from Lua script", refused},
		{"ERR Error running script (call to f_0ed5a039001c51d472a43bd74e7bf5f4e3a614d0): @user_script:1: @user_script: 1: This Redis command is not allowed from scripts ", refused},
		{"ERR Error running script (call to f_b6de017ad219f1a815722491f21b083101c0e32d): @enable_strict_lua:15: user_script:1: Script attempted to access unexisting global variable 'argv' ", unknown},
		{"ERR Error running script (call to f_b6de017ad219f1a815722491f21b083101c0e32d): @user_script:1: user_script:1: it mentions READONLY ", unknown},

		// Redis 7.0.15.
		{"OOM command not allowed when used memory > 'maxmemory'. script: 131b5f2ed4a6e4f431cc21897ae043d687859f08, on @user_script:1.", notNow},
		{"READONLY You can't write against a read only replica. script: 131b5f2ed4a6e4f431cc21897ae043d687859f08, on @user_script:1.", notNow},
		{"ERR The user executing the script can't run this command or subcommand script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"ERR The user executing the script can't run this command or subcommand", refused},
		{"ERR The user executing the script can't access at least one of the keys mentioned in the command arguments script: 6f36444f800cf1d6c3e02f3417f56faf6f038e4a, on @user_script:1.", refused},
		{"ERR The user executing the script can't publish to the channel mentioned in the command script: 06e4f7893cb1a3bcd1dabdffc916918657e6103d, on @user_script:1.", refused},
		{"ERR Unknown Redis command called from script script: 79b76801837b5b74511e1d7b14165b3be2766369, on @user_script:1.", refused},
		{"ERR This Redis command is not allowed from script script: 0ed5a039001c51d472a43bd74e7bf5f4e3a614d0, on @user_script:1.", refused},

		// Redis 8.0.2 and Valkey 8.1.1. Redis 7.2 uses the same form.
		{"ERR ACL failure in script: User u has no permissions to run the 'get' command script: 8f18fe90be97286fead79ae459e2f17b459c320d, on @user_script:1.", refused},
		{"ERR ACL failure in script: User u has no permissions to run the 'get' command", refused},
		{"ERR ACL failure in script: No permissions to access a key script: 6f36444f800cf1d6c3e02f3417f56faf6f038e4a, on @user_script:1.", refused},
		{"ERR ACL failure in script: No permissions to access a channel script: 06e4f7893cb1a3bcd1dabdffc916918657e6103d, on @user_script:1.", refused},
		{"ERR Unknown command called from script script: 79b76801837b5b74511e1d7b14165b3be2766369, on @user_script:1.", refused},

		{"ERR value is not an integer or out of range", unknown},
		{"ERR Error running script (call to f_1", unknown},
		{"@user_script: OOM", unknown},
		{"The user executing the script can't, which no server says like this", unknown},
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
		if got := errors.Is(err, backend.ErrNotMaster); got != (tc.want == notNow && (strings.Contains(tc.text, "READONLY") || strings.Contains(tc.text, "MASTERDOWN"))) {
			t.Errorf("%q: no master: %v", tc.text, got)
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

// What Redis 4 and older cannot do is marked as refused, and the error names the server version
// that is needed.
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

// The reply is found through what the library and the driver put around it.
func TestServerReply(t *testing.T) {
	for text, want := range map[string]string{
		"NOAUTH Authentication required.":                                  "NOAUTH Authentication required.",
		"-OOM command not allowed":                                         "OOM command not allowed",
		"@user_script: 1: -OOM command not allowed":                        "OOM command not allowed",
		"ERR Error running script (call to f_1): @user_script:1: DENIED x": "DENIED x",
		"SOMETHING new": "SOMETHING new",
	} {
		err := fmt.Errorf("not sent: %w", backend.MarkNotExecuted(backend.MarkReply(errors.New(text))))
		if got, ok := backend.ServerReply(err); !ok || got != want {
			t.Errorf("%q: got %q, %v, want %q", text, got, ok, want)
		}
	}
	for _, err := range []error{nil, errors.New("NOAUTH is not from a server"), backend.MarkNotExecuted(errors.New("no connection"))} {
		if got, ok := backend.ServerReply(err); ok || got != "" {
			t.Errorf("%v: got %q, %v, want no reply", err, got, ok)
		}
	}
}

func TestMarkNotExecuted(t *testing.T) {
	exhausted := errors.New("pool exhausted")
	err := backend.MarkNotExecuted(exhausted)
	if !backend.NotExecuted(err) || !errors.Is(err, exhausted) || err.Error() != exhausted.Error() {
		t.Errorf("got %#v", err)
	}
	if errors.Is(err, backend.ErrRefused) {
		t.Error("an operation that was not executed counts as refused")
	}
	if again := backend.MarkNotExecuted(err); again != err {
		t.Errorf("marked twice: %#v", again)
	}
	if err := backend.MarkNotExecuted(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	// The mark survives wrapping, and other matches still hold.
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

// A real refused connection, as every driver reports it.
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
			t.Errorf("%s: was changed: %#v", tc.name, err)
		}
	}
	if err := backend.MarkTimeout(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	// A dial that timed out matches both.
	err := backend.MarkTimeout(&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded})
	if !errors.Is(err, context.DeadlineExceeded) || !backend.NotExecuted(err) {
		t.Errorf("a dial that timed out: %#v", err)
	}
}
