package servers

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// WithClock gives the servers wall clocks that the test can set, with [Server.StepClock] and
// [Server.ClockRate]. It needs Linux and a C compiler, because the clock is a library that is
// loaded before the server's own libraries. The servers' monotonic clocks do not change.
func WithClock() Option { return func(s *spec) { s.clock = true } }

//go:embed shim/clock.c
var clockSource []byte

// clockLibrary is the library's name in a server's working folder.
const clockLibrary = "clock.so"

// buildClock returns the library. It is compiled at the first call.
var buildClock = sync.OnceValues(compileClock)

// compileClock compiles the library. Its error names what this machine lacks.
func compileClock() ([]byte, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("a Linux system to set a server's clock, and this is %s", runtime.GOOS)
	}
	compiler, err := exec.LookPath("cc")
	if err != nil {
		return nil, fmt.Errorf("a C compiler to set a server's clock: %w", err)
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", folders, os.Getpid()))
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	source, library := filepath.Join(dir, "clock.c"), filepath.Join(dir, clockLibrary)
	if err := os.WriteFile(source, clockSource, 0o600); err != nil {
		return nil, err
	}
	out, err := exec.Command(compiler, "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library, source).CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("a C compiler that works: %s: %w: %s", compiler, err, out)
	}
	return os.ReadFile(library)
}

// A clock is a server's wall clock: a file that the server has mapped.
type clock struct {
	file *os.File

	mu       sync.Mutex
	sequence int64
	offset   time.Duration // at since
	since    time.Time
	rate     float64 // how much faster than the system's clock: 0.1 gains 6 s a minute
}

// newClock returns a clock that shows the right time.
func newClock() (*clock, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", folders, os.Getpid()))
	if err != nil {
		return nil, err
	}
	c := &clock{since: time.Now()}
	c.file, err = os.Create(filepath.Join(dir, clockFile))
	if err == nil {
		err = errors.Join(
			os.Chmod(dir, 0o755), // because official images run as another user
			c.file.Chmod(0o666),
			c.file.Truncate(5*8),
			c.write())
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return c, nil
}

// clockFile is the name of a clock's file, in its own folder.
const clockFile = "clock"

func (c *clock) dir() string { return filepath.Dir(c.file.Name()) }

// found returns an error unless a process uses the clock. Without a clock it returns nil.
func (c *clock) found() error {
	if c == nil {
		return nil
	}
	var users [8]byte
	if _, err := c.file.ReadAt(users[:], 4*8); err != nil {
		return err
	}
	if binary.NativeEndian.Uint64(users[:]) == 0 {
		return errors.New("the server does not use the clock that it was given")
	}
	return nil
}

// set moves the clock by step, and sets its rate.
func (c *clock) set(step time.Duration, rate func(float64) float64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Round(0) // the wall clock
	c.offset += step + time.Duration(float64(now.Sub(c.since))*c.rate)
	c.since, c.rate = now, rate(c.rate)
	return c.write()
}

// write writes the file. Meanwhile, the number at its start is odd.
func (c *clock) write() error {
	values := []int64{c.sequence + 1, c.offset.Microseconds(), c.since.UnixMicro(), int64(c.rate * 1e6), c.sequence + 2}
	for i, v := range values {
		at := int64(8 * i % (8 * 4)) // the last one is the start again
		if _, err := c.file.WriteAt(binary.NativeEndian.AppendUint64(nil, uint64(v)), at); err != nil {
			return err
		}
	}
	c.sequence += 2
	return nil
}

func (c *clock) remove() error {
	if c == nil {
		return nil
	}
	return errors.Join(c.file.Close(), os.RemoveAll(c.dir()))
}

// StepClock moves the wall clock of a server that was started [WithClock] by d, ahead or back, at
// once. The server may be paused or down, and keeps the clock over restarts.
func (s *Server) StepClock(t testing.TB, d time.Duration) {
	t.Helper()
	s.setClock(t, d, func(rate float64) float64 { return rate })
}

// ClockRate makes the wall clock of a server that was started [WithClock] gain that share of the
// passing time from now on. With a negative share it loses time.
func (s *Server) ClockRate(t testing.TB, share float64) {
	t.Helper()
	s.setClock(t, 0, func(float64) float64 { return share })
}

func (s *Server) setClock(t testing.TB, step time.Duration, rate func(float64) float64) {
	t.Helper()
	if s.spec.dial == nil {
		t.Fatalf("servers: %s was not started WithClock", s)
	}
	if err := s.spec.dial.set(step, rate); err != nil {
		t.Fatalf("servers: set the clock of %s: %v", s, err)
	}
}
