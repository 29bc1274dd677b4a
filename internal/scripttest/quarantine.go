package scripttest

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// A suspect is a lock on a server that may have lost it, with a script that would grant
// or raise it, and the server's marker.
type suspect struct {
	fenced
	marker string
	script *backend.Script
	keys   []string
	args   []string
	vote   int64 // of a lock that is already held
}

// eachSuspect runs f for each script that checks the marker. The marker is missing.
func (t *trial) eachSuspect(f func(s suspect)) {
	for _, script := range []*backend.Script{lua.Acquire, lua.AcquireShared, lua.Vote, lua.Raise} {
		fenced := t.fenced()
		token := t.Name()
		s := suspect{fenced: fenced, marker: fenced.name + ":marker", script: script}
		t.removes(s.marker)
		switch script {
		case lua.Acquire:
			s.keys, s.args = []string{fenced.lock, fenced.name}, []string{token, "60000", "", ""}
		case lua.AcquireShared:
			s.keys, s.args = []string{fenced.lock, fenced.name, fenced.name + ":readers"}, []string{token, "60000", "", ""}
		case lua.Vote:
			s.keys, s.args = append(fenced.three(token), fenced.lock), []string{token, "60000", "0", millis(keep), "", ""}
		case lua.Raise:
			s.vote, _ = fenced.votes(token, 0, 0, "whose counter is missing")
			s.keys, s.args = fenced.two(), []string{token, decimal(s.vote + 5), millis(keep)}
		}
		s.keys = append(s.keys, s.marker)
		t.well(s.marker) // skips the check if the server has no run_id
		t.lose(s.marker)
		f(s)
	}
}

// well marks the server as having lost nothing, and returns its run_id.
func (t *trial) well(marker string) (run string) {
	ctx, cancel := t.callContext()
	defer cancel()
	r := script(lua.Mark, []string{marker}).Do(ctx, t.Node)
	if r.Err != nil && strings.HasPrefix(strings.TrimPrefix(r.Err.Error(), "-"), "NORUNID ") {
		t.Skipf("the server has no run_id: %v", r.Err)
	}
	t.Answer(t.Eval(lua.Mark, marker), "mark", 1)
	held, _ := t.markerAt(marker)
	run, since, ok := strings.Cut(held, " ")
	if !ok || run == "" || since != "0" {
		t.Failf("after a mark, the marker is %s, want the run_id and 0", check.Quote(held))
	}
	return run
}

// markerAt returns the value of a marker, and fails the check if the marker expires.
func (t *trial) markerAt(marker string) (held string, found bool) {
	r := t.Eval(lua.Inspect, marker)
	held, _ = r.Text(1)
	if found = r[0] == int64(1); found && r[2] != int64(-1) {
		t.Failf("the marker is %v, want it never to expire", check.Brief(r))
	}
	return held, found
}

// callContext returns the ctx of a call that should succeed.
func (t *trial) callContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(t.Ctx, call)
}

// lose deletes a string.
func (t *trial) lose(key string) {
	ctx, cancel := t.callContext()
	defer cancel()
	t.remove(ctx, key)
}

// plants replaces the marker by text, which may expire.
func (s suspect) plants(text string) {
	s.t.lose(s.marker)
	s.t.SetNX(s.marker, text, long, true, "a marker that is missing")
}

// ask runs the script with a quarantine of that length.
func (s suspect) ask(length time.Duration) backend.Result {
	ctx, cancel := s.t.callContext()
	defer cancel()
	return script(s.script, s.keys, s.with(millis(length))...).Do(ctx, s.t.Node)
}

func (s suspect) with(length ...string) []string {
	return append(append([]string{}, s.args...), length...)
}

// votes fails the check unless the server votes.
func (s suspect) votes(length time.Duration, situation string) {
	r := s.ask(length)
	if r.Err != nil {
		s.t.Failf("%s with a quarantine of %v, %s, fails: %w", s.script.Name(), length, situation, r.Err)
	}
	if done, err := r.Reply.Int(0); err != nil || done != 1 {
		s.t.Failf("%s with a quarantine of %v, %s, answers %v, want 1 first", s.script.Name(), length, situation, check.Brief(r.Reply))
	}
}

var another = regexp.MustCompile(`^-?QUARANTINE for another (\d+) ms: `)

// isQuarantined fails the check unless the server does not vote, says that this lasts for
// about left and not longer, and has done nothing.
func (s suspect) isQuarantined(length, left time.Duration, situation string) {
	r := s.ask(length)
	if r.Err == nil {
		s.t.Failf("%s with a quarantine of %v, %s, answers %v, want an error", s.script.Name(), length, situation, check.Brief(r.Reply))
	}
	text := r.Err.Error()
	match := another.FindStringSubmatch(text)
	if match == nil || !strings.Contains(text, strings.Trim(strconv.Quote(s.marker), `"`)) {
		s.t.Failf("%s with a quarantine of %v, %s, fails with %q, want QUARANTINE, for how long yet, and the marker %q",
			s.script.Name(), length, situation, text, s.marker)
	}
	if ms, err := strconv.ParseInt(match[1], 10, 64); err != nil || ms > left.Milliseconds() || ms < (left-call).Milliseconds() {
		s.t.Failf("%s with a quarantine of %v, %s, says that it lasts for another %s ms, want %v and not much less",
			s.script.Name(), length, situation, match[1], left)
	}
	s.nothing(situation)
}

// nothing fails the check unless the script has changed nothing.
func (s suspect) nothing(situation string) {
	when := fmt.Sprintf("after a refused %s, %s", s.script.Name(), situation)
	if s.script == lua.Raise {
		s.counts(s.vote, keep, when)
		return
	}
	s.free(when)
	s.t.missing(s.counter, when+", the counter")
}

// since fails the check unless the marker names this run, and a start of the quarantine
// that is about now. It returns that start.
func (s suspect) since(run, situation string) int64 {
	held, _ := s.t.markerAt(s.marker)
	of, text, _ := strings.Cut(held, " ")
	since, err := strconv.ParseInt(text, 10, 64)
	now := s.t.now()
	if of != run || err != nil || since > now || since < ahead(now, -call) {
		s.t.Failf("%s, the marker holds %s, want %q and about the time, %d", situation, check.Quote(held), run, now)
	}
	return since
}

func quarantineChecks() []rule {
	const lasting = "a server that may have lost its locks must not grant them again before they have expired"
	return []rule{{
		name: "Eval/quarantine",
		why:  lasting + "; it must detect this itself, because no client may be running",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				t.well(s.marker)
				s.votes(time.Hour, "of a marked server")
				s.votes(999_999_999_999*time.Millisecond, "of a marked server")
			})
			t.eachSuspect(func(s suspect) {
				run := t.well(s.marker)
				t.lose(s.marker)
				s.isQuarantined(time.Hour, time.Hour, "without a marker")
				since := s.since(run, "at first")
				t.Wait(2 * time.Millisecond)
				s.isQuarantined(time.Hour, time.Hour, "again")
				s.isQuarantined(2*time.Hour, 2*time.Hour, "by another, with another length")
				if again := s.since(run, "later"); again != since {
					t.Failf("the quarantine counts since %d, and then since %d", since, again)
				}
				t.well(s.marker)
				s.votes(time.Hour, "after the mark")
			})
		},
	}, {
		name: "Eval/quarantine ends",
		why:  "a server must vote after its quarantine, without help",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				run := t.well(s.marker)
				held := run + " " + decimal(ahead(t.now(), -time.Minute))
				s.plants(held)
				s.isQuarantined(time.Hour, 59*time.Minute, "a minute after it began")
				s.votes(50*time.Second, "after the quarantine")
				if r := t.Eval(lua.Inspect, s.marker); len(r) != 3 || r[1] != held {
					t.Failf("when the quarantine is over, the marker is %v, want it to hold %q", check.Brief(r), held)
				}
			})
			t.eachSuspect(func(s suspect) {
				s.isQuarantined(time.Minute, time.Minute, "without a marker")
				t.Wait(30 * time.Millisecond)
				s.votes(20*time.Millisecond, "after the quarantine")
			})
		},
	}, {
		name: "Eval/quarantine of another run",
		why:  lasting + "; a marker from another run, or from a clock that was set back, does not prove that this run lost nothing",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				run := t.well(s.marker)
				for _, held := range []string{
					"0123456789abcdef 0", run[1:] + " 0", run + "0 0", "x", "", run, run + " ", run + " soon", run + " -1", run + " 0 ",
					" " + run + " 0", run + "  0", run + " 0\x00", run + " 1e3", run + " 00000000000000000", run + "\n0",
					run + " " + decimal(ahead(t.now(), time.Hour)),
				} {
					s.plants(held)
					s.isQuarantined(time.Hour, time.Hour, "with the marker "+check.Quote(held))
					s.since(run, "with the marker "+check.Quote(held)+" before")
				}
			})
		},
	}, {
		name: "Eval/quarantine of bad numbers",
		why:  "a call without a valid length must not count as a call without a quarantine",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				t.well(s.marker)
				lengths := [][]string{nil, {"0"}, {"000"}}
				for _, bad := range badNumbers() {
					lengths = append(lengths, []string{bad})
				}
				for _, length := range lengths {
					s.fails(s.script, s.keys, s.with(length...)...)
					s.nothing(fmt.Sprintf("with the quarantine %q", length))
				}
				t.lose(s.marker)
				s.fails(s.script, s.keys, s.with("soon")...)
				t.missing(s.marker, "after a quarantine of bad numbers, the marker")
			})
		},
	}, {
		name:  "Eval/quarantine with a marker of another type",
		needs: []string{"SetOther"},
		why:   "a key that does not hold a marker belongs to another program, and the caller must learn of the conflict",
		run: func(t *trial) {
			t.eachSuspect(func(s suspect) {
				s.keys[len(s.keys)-1] = s.name + ":list"
				t.SetOther(s.name + ":list")
				t.failsWith("WRONGTYPE", s.name+":list", s.script, s.keys, s.with("60000")...)
				s.nothing("with a list as the marker")
				t.failsWith("WRONGTYPE", s.name+":list", lua.Mark, []string{s.name + ":list"})
				t.failsWith("WRONGTYPE", s.name+":list", s.script, s.keys, s.with("60000")...)
			})
		},
	}}
}
