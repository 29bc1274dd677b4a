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

// WithClock gives the servers wall clocks that the test can set, by [Server.StepClock]
// and [Server.ClockRate]. It takes Linux and a C compiler: the clock is a library that is
// loaded before the server's own. The servers' monotonic clocks stay as they are.
func WithClock() Option { return func(s *spec) { s.clock = true } }

//go:embed shim/clock.c
var clockSource []byte

// clockLibrary is the library's name in a server's working folder.
const clockLibrary = "clock.so"

// buildClock returns the library, which is compiled when it is first needed.
var buildClock = sync.OnceValues(compileClock)

// compileClock compiles the library. Its error says what this machine lacks.
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
	rate     float64 // how much faster than the system's: 0.1 gains 6 s a minute
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
			os.Chmod(dir, 0o755), // official images run as another user
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

// clockFile is the name of a clock's file, in a folder of its own.
const clockFile = "clock"

func (c *clock) dir() string { return filepath.Dir(c.file.Name()) }

// found returns an error unless a process runs by the clock, if there is one.
func (c *clock) found() error {
	if c == nil {
		return nil
	}
	var users [8]byte
	if _, err := c.file.ReadAt(users[:], 4*8); err != nil {
		return err
	}
	if binary.NativeEndian.Uint64(users[:]) == 0 {
		return errors.New("the server does not go by the clock that it was given")
	}
	return nil
}

// set moves the clock by step, and has it run at a rate from now on.
func (c *clock) set(step time.Duration, rate func(float64) float64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now().Round(0) // the wall clock
	c.offset += step + time.Duration(float64(now.Sub(c.since))*c.rate)
	c.since, c.rate = now, rate(c.rate)
	return c.write()
}

// write writes the file, with an odd number at its head meanwhile.
func (c *clock) write() error {
	values := []int64{c.sequence + 1, c.offset.Microseconds(), c.since.UnixMicro(), int64(c.rate * 1e6), c.sequence + 2}
	for i, v := range values {
		at := int64(8 * i % (8 * 4)) // the last one is the head again
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

// StepClock sets the wall clock of a server that was started [WithClock] by d, ahead or
// back, as an operator does: at once. It may be paused or down, and keeps the clock over
// restarts.
func (s *Server) StepClock(t testing.TB, d time.Duration) {
	t.Helper()
	s.setClock(t, d, func(rate float64) float64 { return rate })
}

// ClockRate has the wall clock of a server that was started [WithClock] run fast by a
// share of the time that passes, or slow if that is negative, from now on.
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
