package servers

import (
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"
)

// realServers skips a test that needs servers with options.
func realServers(t *testing.T) {
	t.Helper()
	if Kinds(t)[0] == Embedded {
		t.Skip("embedded servers use the clock of the test's process")
	}
}

// A reading is the time of a server's clock at some moment between two of ours.
type reading struct{ at, from, to time.Time }

func read(t testing.TB, s *Server) reading {
	t.Helper()
	from := time.Now()
	reply := s.Do(t, "TIME").([]any)
	to := time.Now()
	seconds, _ := strconv.ParseInt(reply[0].(string), 10, 64)
	micros, _ := strconv.ParseInt(reply[1].(string), 10, 64)
	return reading{time.Unix(seconds, micros*1000), from, to}
}

// aheadBy fails the test unless a server's clock is ahead of ours by d.
func aheadBy(t testing.TB, s *Server, d time.Duration) {
	t.Helper()
	const grain = 2 * time.Millisecond // of the time that a server remembers
	r := read(t, s)
	if r.at.Before(r.from.Add(d-grain)) || r.at.After(r.to.Add(d+grain)) {
		t.Errorf("the clock of %s is at %v when ours is between %v and %v, want it ahead by %v", s, r.at, r.from, r.to, d)
	}
}

// A server's clock can be set, and its keys expire according to it. Another server's clock does
// not change.
func TestClock(t *testing.T) {
	realServers(t)
	Each(t, func(t *testing.T, kind Kind) {
		list := Start(t, kind, 2, WithClock(), WithOutages(), WithAOF())
		s, other := list[0], list[1]
		aheadBy(t, s, 0)
		s.Do(t, "SET", "short", 1, "PX", 60_000)
		s.Do(t, "SET", "long", 1, "PX", 2*3600_000)

		s.StepClock(t, time.Hour)
		aheadBy(t, s, time.Hour)
		aheadBy(t, other, 0)
		if got := s.Do(t, "EXISTS", "short", "long"); got != int64(1) {
			t.Errorf("an hour later there are %v keys, want the long one", got)
		}

		s.StepClock(t, -3*time.Hour)
		aheadBy(t, s, -2*time.Hour)
		if got := s.Do(t, "PTTL", "long").(int64); got < 3*3600_000 || got > 4*3600_000 {
			t.Errorf("set back, the long key lives for %d ms, want four hours", got)
		}

		s.Restart(t)
		aheadBy(t, s, -2*time.Hour)
		if got := s.Do(t, "EXISTS", "long"); got != int64(1) {
			t.Error("the long key is gone with a restart")
		}
		s.Kill(t)
		s.StepClock(t, 4*time.Hour)
		s.Start(t)
		aheadBy(t, s, 2*time.Hour)
		if got := s.Do(t, "EXISTS", "long"); got != int64(0) {
			t.Error("the long key has outlived a restart after its time")
		}

		s.StepClock(t, -2*time.Hour)
		aheadBy(t, s, 0)
		for _, share := range []float64{0.5, -0.5} {
			before := read(t, s)
			s.ClockRate(t, share)
			after := read(t, s)
			if got := after.at.Sub(before.at); got < 0 || got > 2*after.to.Sub(before.from) {
				t.Errorf("with a new rate the clock moved by %v in %v", got, after.to.Sub(before.from))
			}
			for try := 0; ; try++ {
				first := read(t, s)
				time.Sleep(50 * time.Millisecond) // until the clocks differ
				last := read(t, s)
				least, most := last.from.Sub(first.to), last.to.Sub(first.from)
				if most > least*5/4 && try < 20 {
					continue // the machine stood still
				}
				by := func(d time.Duration) time.Duration { return d + time.Duration(float64(d)*share) }
				if got := last.at.Sub(first.at); got < by(least)-2*time.Millisecond || got > by(most)+2*time.Millisecond {
					t.Errorf("at a rate of %+g the clock moved by %v in %v to %v", share, got, least, most)
				}
				break
			}
		}
	})
}

// If a server cannot get its own clock, the test is skipped with the reason, or fails if nothing
// may be missing.
func TestNoClock(t *testing.T) {
	realServers(t)
	was := buildClock
	defer func() { buildClock = was }()
	start := func(t testing.TB) { Start(t, Any, 1, WithClock()) }

	buildClock = func() ([]byte, error) { return []byte("no library"), nil }
	if r := record(t, start); !r.failed || !strings.Contains(r.text, "does not use the clock") {
		t.Errorf("a library that does not load: failed %t with %q", r.failed, r.text)
	}

	buildClock = func() ([]byte, error) { return nil, errors.New("a C compiler") }
	for _, require := range []string{"", "1"} {
		t.Setenv("QUORUMLOCK_REQUIRE_CONTAINERS", require)
		r := record(t, start)
		if r.failed != (require != "") || r.skipped != (require == "") || !strings.Contains(r.text, "a C compiler") {
			t.Errorf("without a compiler, QUORUMLOCK_REQUIRE_CONTAINERS=%s: failed %t, skipped %t: %q", require, r.failed, r.skipped, r.text)
		}
	}

	t.Setenv("PATH", t.TempDir())
	if _, err := compileClock(); err == nil || !strings.Contains(err.Error(), "a C compiler") {
		t.Errorf("with an empty PATH: %v", err)
	}
}
