package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// A C is one check.
type C struct {
	Name string
	Why  string // why the rule exists

	// Needs names the capabilities and hooks that the check requires.
	Needs []string

	Run func(*T)
}

// A Suite is a list of checks and the server on which they run.
type Suite struct {
	Name   string // of the package; each line of Log begins with it
	Server Server
	Hooks  []Hook // hooks that are not fields of Server
	Checks []C    // in the order in which they run

	// Log, if not nil, receives a line for each check that the method Check skips.
	Log func(format string, args ...any)
}

// A Hook says whether the test has set a function that checks may need.
type Hook struct {
	Name string
	Set  bool
}

// Run runs each check as a subtest. For each missing capability or hook, it skips one
// subtest of that name, with the number of checks that cannot run.
func (s Suite) Run(t *testing.T) {
	t.Helper()
	lacks := s.lacks(t.Context())
	for _, l := range lacks {
		t.Run(l.need, func(t *testing.T) { t.Skip(l) })
	}
	for _, c := range possible(s.Checks, lacks) {
		t.Run(c.Name, func(t *testing.T) {
			skipped, err := s.try(t.Context(), c, lacks)
			switch {
			case err != nil:
				t.Errorf("%v\nwhy: %s", err, c.Why)
			case skipped != "":
				t.Skip(skipped)
			}
		})
	}
}

// A Failure is a failed check and what was observed.
type Failure struct {
	C
	Err error
}

// Check runs the checks without a test. If ctx ends, it stops, and also returns ctx's
// error.
func (s Suite) Check(ctx context.Context) ([]Failure, error) {
	log := func(format string, args ...any) {
		if s.Log != nil {
			s.Log(s.Name+": "+format, args...)
		}
	}
	lacks := s.lacks(ctx)
	for _, l := range lacks {
		log("skipped: %s", l)
	}
	var failures []Failure
	for _, c := range possible(s.Checks, lacks) {
		if err := ctx.Err(); err != nil {
			return failures, err
		}
		skipped, err := s.try(ctx, c, lacks)
		switch {
		case err != nil:
			failures = append(failures, Failure{c, err})
		case skipped != "":
			log("%s: skipped: %s", c.Name, skipped)
		}
	}
	return failures, nil
}

func (s Suite) prefix() string { return cmp.Or(s.Server.Prefix, s.Name+":") }

// limit is the maximum duration of a check.
const limit = time.Minute

// try runs a check on its own node. It returns why the check was skipped, or how it
// failed.
func (s Suite) try(ctx context.Context, c C, lacks []lack) (skipped string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := s.newT(ctx, lacks)
	done := t.begin(c)
	select {
	case <-done:
	case <-ctx.Done():
		// Calls that respect their deadlines return now.
		if !within(Patience, done) {
			t.Report(fmt.Errorf("the check has not ended: a call runs that should have returned long ago: %w", ctx.Err()))
		}
	}
	cleaned := make(chan struct{})
	go func() {
		defer close(cleaned)
		t.cleanUp()
	}()
	if !within(2*Patience, cleaned) {
		t.Report(errors.New("what the check began cannot be ended: a call runs that should have returned long ago"))
	}
	return t.outcome()
}

// begin runs the check on a new goroutine, and returns a channel that is closed when the
// check ends.
func (t *T) begin(c C) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		t.Protect(func() {
			t.Node = t.Open(t.server.New)
			c.Run(t)
		})
	}()
	return done
}

// WrongNeeds runs every check, and returns a line for each check that uses other
// capabilities and hooks than its Needs say. It is for the tests of a suite.
func (s Suite) WrongNeeds(ctx context.Context) (wrong []string) {
	for _, c := range s.Checks {
		t := s.newT(ctx, nil)
		<-t.begin(c)
		t.cleanUp()
		says, uses := slices.Sorted(slices.Values(c.Needs)), slices.Sorted(slices.Values(t.used))
		if !slices.Equal(says, uses) {
			wrong = append(wrong, fmt.Sprintf("%s says that it needs %q, and uses %q", c.Name, says, uses))
		}
	}
	return wrong
}

// within reports whether done is closed within d.
func within(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}

// Protect calls f, which may end by Failf or Skipf. It reports a panic as a failure. The
// calling goroutine must have nothing else left to do.
func (t *T) Protect(f func()) {
	normal := false
	defer func() {
		if normal {
			return
		}
		if p := recover(); p != nil {
			t.Report(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	f()
	normal = true
}

// Failf ends the check because the node has failed it. Call it only on the check's own
// goroutines.
func (t *T) Failf(format string, args ...any) {
	t.Report(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// Skipf ends the check because it cannot run here.
func (t *T) Skipf(format string, args ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// Report records a failure and lets the check continue. Only the first failure counts.
func (t *T) Report(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil {
		t.failure = err
	}
}

func (t *T) outcome() (skipped string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		return "", t.failure
	}
	return t.skipped, nil
}
