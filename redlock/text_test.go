package redlock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// hostile is a text that would clear the screen, set the window title, begin a new log line and
// reverse the text that follows. hostileShown is its safe form.
const (
	hostile      = "\x1b[2J\x1b]0;title\a\r\nlevel=ERROR \u009b31m\u202e\xff"
	hostileShown = `\x1b[2J\x1b]0;title\a\r\nlevel=ERROR \u009b31m\u202e\xff`
)

// safe checks that text is one printable line of at most most bytes.
func safe(t *testing.T, what, text string, most int) {
	t.Helper()
	if len(text) > most {
		t.Errorf("%s has %d bytes, want at most %d: %.200q", what, len(text), most, text)
	}
	for _, bad := range []string{"\x1b", "\a", "\r", "\n", "\u009b", "\u202e"} {
		if strings.Contains(text, bad) {
			t.Errorf("%s contains %q: %.200q", what, bad, text)
		}
	}
	if !utf8.ValidString(text) {
		t.Errorf("%s is not valid UTF-8: %.200q", what, text)
	}
}

// rawLog is a logger that escapes nothing, as an application may have.
type rawLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *rawLog) Enabled(context.Context, slog.Level) bool { return true }
func (l *rawLog) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *rawLog) WithGroup(string) slog.Handler            { return l }

func (l *rawLog) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value.Any())
		return true
	})
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return nil
}

func (l *rawLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

// Text from a server is escaped and shortened in every text that leaves the package. The original
// is reachable with errors.As.
func TestServersTextIsEscaped(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		var log rawLog
		own := errors.New("NOPERM " + hostile + strings.Repeat("x", 1<<20))
		refuse := faulty.Refuse(backend.MarkReply(own))
		l := r.locker(WithLogger(slog.New(&log)))
		lock := r.lock(l, "k")
		synctest.Wait()
		r.setAll(refuse)

		most := 1000 * len(r.mem)
		_, locking := l.TryLock(t.Context(), "other")
		unlocking := lock.Unlock(t.Context())
		synctest.Wait() // the cleanup is rejected too
		for what, err := range map[string]error{"TryLock": locking, "Unlock": unlocking} {
			var q *QuorumError
			if !errors.As(err, &q) || !strings.Contains(err.Error(), "NOPERM "+hostileShown) {
				t.Fatalf("%s: %.300q", what, err)
			}
			safe(t, what, err.Error(), most)
			failed := 0
			for _, n := range q.Rounds[0] {
				if n.Err == nil {
					continue
				}
				failed++
				safe(t, what+", a node", n.Err.Error(), 600)
				if !errors.Is(n.Err, own) || !errors.Is(n.Err, backend.ErrRefused) || !backend.NotExecuted(n.Err) {
					t.Errorf("%s: the driver's error or its marks cannot be reached", what)
				}
			}
			if failed < r.need() {
				t.Errorf("%s: %d nodes have an error, want at least %d", what, failed, r.need())
			}
		}

		if !r.bare {
			status, err := l.Inspect(t.Context(), "other")
			if err != nil || !strings.Contains(status.String(), "NOPERM "+hostileShown) {
				t.Fatalf("Inspect: %.300q, %v", status, err)
			}
			safe(t, "the status", status.String(), most)
			for _, n := range status.Nodes {
				safe(t, "the status of a node", n.Err.Error(), 600)
				if !errors.Is(n.Err, own) {
					t.Error("Inspect: the driver's error cannot be reached")
				}
			}
			report, err := l.EndQuarantine(t.Context())
			if err == nil || !strings.Contains(err.Error(), "NOPERM "+hostileShown) {
				t.Fatalf("EndQuarantine: %.300q", err)
			}
			safe(t, "EndQuarantine", err.Error(), most)
			for _, n := range report {
				if !errors.Is(n.Err, own) {
					t.Error("EndQuarantine: the driver's error cannot be reached")
				}
			}
		}

		lines := log.all()
		if len(lines) == 0 {
			t.Error("nothing was logged")
		}
		for _, line := range lines {
			safe(t, "a log line", line, 1000)
		}
	})
}

// A hook gets the same texts as the caller.
func TestServersTextIsEscapedInHooks(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		events := 0
		l := r.locker(WithHooks(Hooks{Locked: func(_ context.Context, e Event) {
			events++
			for _, n := range e.Report {
				if n.Err != nil {
					safe(t, "a report", n.Err.Error(), 600)
				}
			}
			safe(t, "the report", e.Report.String(), 3000)
		}}))
		r.setAll(faulty.Refuse(errors.New(hostile)))
		if _, err := l.TryLock(t.Context(), "k"); err == nil || events != 1 {
			t.Errorf("error %v, %d events", err, events)
		}
	})
}

// A key, an owner and a node name can contain anything.
func TestLongNamesAreShortened(t *testing.T) {
	long := hostile + strings.Repeat("k", 1<<20)
	synctest.Test(t, func(t *testing.T) {
		var log rawLog
		var faults []*faulty.FaultNode
		var nodes []backend.Node
		for i := range 3 {
			f := faulty.NewFaultNode(memory.New(memory.WithName(fmt.Sprint(i) + long)))
			faults, nodes = append(faults, f), append(nodes, f)
		}
		holder, err := New(nodes, WithOwner(long))
		if err != nil {
			t.Fatal(err)
		}
		l, err := New(nodes, WithLogger(slog.New(&log)), WithAutoExtend(), WithTTL(10*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := holder.Lock(t.Context(), long); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		const most = 3000
		_, err = l.TryLock(t.Context(), long)
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "1048") {
			t.Errorf("TryLock: %.300q", err)
		}
		safe(t, "TryLock", err.Error(), most)
		status, err := l.Inspect(t.Context(), long)
		if err != nil || status.Owner != long || status.Key != long {
			t.Errorf("Inspect: the owner has %d bytes and the key %d, error %v", len(status.Owner), len(status.Key), err)
		}
		safe(t, "the status", status.String(), 2*most)

		lock, err := l.Lock(t.Context(), "2"+long)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range faults {
			f.Set(faulty.Hang())
		}
		time.Sleep(time.Minute) // the lock cannot be extended, which is logged, and is lost
		if !errors.Is(lock.Err(), ErrNotHeld) {
			t.Fatalf("the lock is still held: %v", lock.Err())
		}
		safe(t, "Err", lock.Err().Error(), 2*most)
		for _, f := range faults {
			f.Clear()
		}
		_ = lock.Unlock(t.Context())
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		refused := func(ctx context.Context, key string, opts ...LockOption) error {
			_, err := l.TryLock(ctx, key, opts...)
			return err
		}
		for what, err := range map[string]error{
			"ended ctx":      refused(ended, long),
			"option":         refused(t.Context(), long, WithTTL(-1)),
			"marker":         refused(t.Context(), proto.MarkerKey(long)),
			"key of another": refused(t.Context(), long+"{"+long+"}:queue"),
			"empty token":    l.Release(t.Context(), NewHandover(long, "", 0)),
			"reservation":    l.Release(t.Context(), NewHandover(long, "~"+long, 0)),
			"Extend":         lock.Extend(t.Context(), time.Minute),
			"Do":             l.Do(t.Context(), long, nil),
			"label":          func() error { _, err := New(nodes, WithOwner("~"+long)); return err }(),
			"Mutex":          l.Mutex(long).Unlock(t.Context()),
		} {
			if err == nil {
				t.Errorf("%s: no error", what)
				continue
			}
			safe(t, what, err.Error(), most)
		}
		extensions := 0
		for _, line := range log.all() {
			safe(t, "a log line", line, 2*most)
			if strings.Contains(line, "not extended") {
				extensions++
			}
		}
		if extensions == 0 {
			t.Error("the log does not say that the lock was not extended")
		}
		_ = l.Close(t.Context())
		_ = holder.Close(t.Context())
	})
}

// The same holds for a foreign adapter that does not hide passwords.
func TestPasswordsOfOtherAdaptersAreHidden(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		_, own := url.Parse(strings.Join([]string{"redis://user:", secret}, ""))
		r.setAll(faulty.Refuse(own))
		_, err := r.locker().TryLock(t.Context(), "k")
		var q *QuorumError
		if !errors.As(err, &q) || !strings.Contains(own.Error(), secret) || strings.Contains(err.Error(), secret) || !strings.Contains(err.Error(), "%40") {
			t.Fatalf("error %v", err)
		}
		if !errors.Is(q.Rounds[0][0].Err, own) && !errors.Is(q.Rounds[0][1].Err, own) {
			t.Error("the adapter's error cannot be reached")
		}
	})
}
