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
	Why  string // why the rule is there

	// Needs names the capabilities and hooks without which it cannot be made.
	Needs []string

	Run func(*T)
}

// A Suite is checks and what they are made on.
type Suite struct {
	Name   string // of the package; begins each line of Log
	Server Server
	Hooks  []Hook // those that Server has not
	Checks []C    // in the order in which they are made

	// Log, if not nil, gets a line for each check that Check skips.
	Log func(format string, args ...any)
}

// A Hook says whether a test has set a function that checks may need.
type Hook struct {
	Name string
	Set  bool
}

// Run makes each check as a subtest. For each capability and each hook that is missing,
// one subtest of that name is skipped, and says which checks are not made.
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

// A Failure is a check that failed, and what was seen.
type Failure struct {
	C
	Err error
}

// Check makes each check without a test. If ctx ends, it makes no further check and returns
// ctx's error too.
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

// limit is how long a check may take.
const limit = time.Minute

// try makes the check on a node of its own. It returns why it was skipped, or
// how it failed.
func (s Suite) try(ctx context.Context, c C, lacks []lack) (skipped string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	t := s.newT(ctx, lacks)
	done := t.begin(c)
	select {
	case <-done:
	case <-ctx.Done():
		// Calls that keep to their deadlines come back now.
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

// begin runs the check on a goroutine of its own, and returns a channel that is closed at
// its end.
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

// WrongNeeds makes every check, and returns a line for each that uses other capabilities
// and hooks than it says. It is for the tests of a suite.
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

// Protect calls f, which may end by Failf or Skipf, and takes a panic for a
// failure. It is for a goroutine of which nothing else is left to do.
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

// Failf ends the check: the node has failed it. It must be called on a goroutine
// of the check's own.
func (t *T) Failf(format string, args ...any) {
	t.Report(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// Skipf ends the check: it cannot be made.
func (t *T) Skipf(format string, args ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// Report records a failure and lets the check go on. The first one counts.
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
