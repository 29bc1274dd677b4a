package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/redlock"
)

func TestDemo(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := Run(t.Context(), Config{Out: &out, Duration: 4 * time.Second, Workers: 4}); err != nil {
		t.Errorf("%v\n%s", err, out.String())
	}
	for _, want := range []string{
		`the counter says \d+: [1-9]\d* updates are lost`,
		`Server B is KILLED`, `Server B is BACK`, `Server C HANGS`, `Server C ANSWERS`,
		`worker \d waited .* had the lock from`,
		`wait p50  wait p99  longest stall`,
		`all three servers up +[1-9]`, `B dead +[1-9]`, `B back, all up +[1-9]`, `C hangs +[1-9]`, `C answers, all up +[1-9]`,
		`server A, go-redis +[1-9]`, `server B, redigo +[1-9]`, `server C, go-redis +[1-9]`,
		`additions made +[1-9]`, `LOST UPDATES +0\n`,
	} {
		if !regexp.MustCompile(want).MatchString(out.String()) {
			t.Errorf("the output lacks %q", want)
		}
	}
	away := regexp.MustCompile(`away for ([0-9.]+) s`).FindStringSubmatch(out.String())
	ttl := regexp.MustCompile(`ends by itself after (\S+) unless`).FindStringSubmatch(out.String())
	if away == nil || ttl == nil {
		t.Fatalf("the output does not tell the TTL and how long B was away:\n%s", out.String())
	}
	gone, err1 := strconv.ParseFloat(away[1], 64)
	lives, err2 := time.ParseDuration(ttl[1])
	if err := errors.Join(err1, err2); err != nil || gone <= lives.Seconds() {
		t.Errorf("B was away for %v s, and locks live for %v: %v", gone, lives, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
	for line := range strings.Lines(out.String()) {
		if strings.TrimRight(line, " \n") != strings.TrimSuffix(line, "\n") {
			t.Errorf("blanks at the end of %q", line)
		}
		if len(line) > 101 {
			t.Errorf("a line of %d characters: %q", len(line), line)
		}
	}
}

// pausing is an output that nobody reads for a while after a worker has had the lock.
type pausing struct {
	text   bytes.Buffer
	paused bool
}

func (p *pausing) Write(b []byte) (int, error) {
	if !p.paused && bytes.Contains(b, []byte("made the counter")) {
		p.paused = true
		time.Sleep(2 * time.Second)
	}
	return p.text.Write(b)
}

// A worker does not keep the lock while nobody reads what it says.
func TestDemoWithAPausedReader(t *testing.T) {
	t.Parallel()
	var out pausing
	if err := Run(t.Context(), Config{Out: &out, Duration: 6 * time.Second, Workers: 3}); err != nil || !out.paused {
		t.Errorf("%v\n%s", err, out.text.String())
	}
}

// The demo must be able to fail: here each worker has its lock for itself.
func TestDemoNoticesLostUpdates(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := newDemo(Config{Out: &out, Duration: MinDuration, Workers: 4})
	defer d.stop()
	if err := d.start(); err != nil {
		t.Fatal(err)
	}
	for _, w := range d.workers {
		locker, err := redlock.New([]backend.Node{memory.New()})
		if err != nil {
			t.Fatal(err)
		}
		w.locker = locker
	}
	if err := d.with(t.Context()); !errors.Is(err, ErrLost) {
		t.Errorf("error %v, want ErrLost\n%s", err, out.String())
	}
	if regexp.MustCompile(`LOST UPDATES +0\n`).MatchString(out.String()) {
		t.Errorf("the table has no lost updates:\n%s", out.String())
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	out := &triggered{text: "KILLED", trigger: cancel}
	if err := Run(ctx, Config{Out: out, Duration: 10 * time.Second, Workers: 2}); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"Interrupted.", "B dead", "LOST UPDATES"} {
		if !strings.Contains(out.buf.String(), want) {
			t.Errorf("the output lacks %q:\n%s", want, out.buf.String())
		}
	}
}

func TestDemoTellsThatItCannotWrite(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	r, w := io.Pipe()
	_ = r.CloseWithError(full)
	if err := Run(t.Context(), Config{Out: w, Duration: MinDuration, Workers: 2}); !errors.Is(err, full) {
		t.Errorf("error %v, want %v", err, full)
	}
}

// triggered is a buffer that calls a function when a text is written.
type triggered struct {
	buf     bytes.Buffer
	text    string
	trigger func()
}

func (b *triggered) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(b.text)) {
		b.trigger()
	}
	return b.buf.Write(p)
}

func TestPhaseWait(t *testing.T) {
	p := &phase{}
	if got := p.wait(0.5); got != 0 {
		t.Errorf("median of nothing is %v", got)
	}
	for i := 100; i >= 0; i-- {
		p.waits = append(p.waits, time.Duration(i))
	}
	for share, want := range map[float64]time.Duration{0: 0, 0.5: 50, 0.99: 99, 1: 100} {
		if got := p.wait(share); got != want {
			t.Errorf("wait(%v) = %d, want %d", share, got, want)
		}
	}
}

func TestTallyStall(t *testing.T) {
	tally := newTally(0)
	tally.begin("first")
	tally.taken(time.Millisecond)
	// Half of the second phase passed when the lock was taken, and all of the
	// third without that.
	tally.begin("second")
	tally.last = time.Now().Add(-time.Hour)
	tally.taken(time.Millisecond)
	tally.begin("third")
	tally.last = time.Now().Add(-2 * time.Hour)
	tally.end()
	var stalls []string
	for _, p := range append(tally.phases, tally.total()) {
		stalls = append(stalls, fmt.Sprintf("%s %v", p.title, p.stall.Round(time.Minute)))
	}
	if got := strings.Join(stalls, ", "); got != "first 0s, second 1h0m0s, third 2h0m0s, total 2h0m0s" {
		t.Error(got)
	}
	if n := len(tally.total().waits); n != 2 {
		t.Errorf("%d acquisitions in all, want 2", n)
	}
}
