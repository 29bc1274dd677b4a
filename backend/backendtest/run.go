package backendtest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"
)

// Run checks that the nodes of h keep the contracts of package backend. Each
// check is a subtest; one that fails says which rule was broken and why it is
// there. For each capability that the node lacks, and each hook that h lacks, one
// subtest of that name is skipped, and says which checks are not made.
func Run(t *testing.T, h Harness) {
	t.Helper()
	lacks := h.lacks(t.Context())
	for _, l := range lacks {
		t.Run(l.need, func(t *testing.T) { t.Skip(l) })
		h.lacking = append(h.lacking, l.need)
	}
	for _, c := range possible(checks(), lacks) {
		t.Run(c.name, func(t *testing.T) {
			skipped, err := c.try(t.Context(), h)
			switch {
			case err != nil:
				t.Errorf("%v\nwhy: %s", err, c.why)
			case skipped != "":
				t.Skip(skipped)
			}
		})
	}
}

// Check is [Run] without a test: it returns nil if the nodes of h keep the
// contracts, else an error that joins one [*CheckError] for each check that
// failed. If ctx ends, it makes no further check and returns ctx's error too.
func Check(ctx context.Context, h Harness) error { return tryAll(ctx, h, checks()) }

func tryAll(ctx context.Context, h Harness, all []check) error {
	log := func(format string, args ...any) {
		if h.Log != nil {
			h.Log("backendtest: "+format, args...)
		}
	}
	lacks := h.lacks(ctx)
	for _, l := range lacks {
		log("skipped: %s", l)
		h.lacking = append(h.lacking, l.need)
	}
	var failures []error
	for _, c := range possible(all, lacks) {
		if err := ctx.Err(); err != nil {
			failures = append(failures, err)
			break
		}
		skipped, err := c.try(ctx, h)
		switch {
		case err != nil:
			failures = append(failures, &CheckError{Check: c.name, Why: c.why, Err: err})
		case skipped != "":
			log("%s: skipped: %s", c.name, skipped)
		}
	}
	return errors.Join(failures...)
}

// A CheckError says that a node failed a check.
type CheckError struct {
	Check string // its name, as [Run] calls the subtest
	Why   string // why the rule is there
	Err   error  // what was seen
}

// Error returns all of it.
func (e *CheckError) Error() string {
	return fmt.Sprintf("backendtest: %s: %v (why: %s)", e.Check, e.Err, e.Why)
}

// Unwrap returns Err.
func (e *CheckError) Unwrap() error { return e.Err }

// A check is one thing that every node must do.
type check struct {
	name, why string

	// needs names the capabilities and hooks without which it cannot be made,
	// beyond that of its group.
	needs []string

	run func(*trial)
}

// checks returns all checks, in the order in which they are made.
func checks() []check {
	var all []check
	for _, group := range []struct {
		need   string // of all of them, if not empty
		checks []check
	}{
		{"", slices.Concat(setNXChecks(), deleteChecks(), extendChecks(), bytesChecks())},
		{"SetOther", otherTypeChecks()},
		{"", slices.Concat(raceChecks(), endedChecks())},
		{"Stall", stalledChecks()},
		{"SlowDial", slowDialChecks()},
		{"LoseReplies", lostReplyChecks()},
		{"Disconnect", disconnectChecks()},
		{"Reject", rejectedChecks()},
		{"Scripter", slices.Concat(
			scripterChecks(), repliesChecks(), acquireChecks(), releaseChecks(), rollbackChecks(), inspectChecks(), echoChecks(),
			voteChecks(), raiseChecks(), prolongChecks(), tombstoneChecks(), quarantineChecks(), markChecks())},
		{"FlushScripts", flushedChecks()},
		{"Batcher", slices.Concat(batcherChecks(), batchRepliesChecks())},
		{"Namer", namerChecks()},
		{"Partitioner", partitionerChecks()},
		{"Subscriber", subscriberChecks()},
	} {
		for _, c := range group.checks {
			if group.need != "" {
				c.needs = append([]string{group.need}, c.needs...)
			}
			all = append(all, c)
		}
	}
	return all
}

// limit is how long a check may take.
const limit = time.Minute

// try makes the check on a node of its own. It returns why it was skipped, or
// how it failed.
func (c check) try(ctx context.Context, h Harness) (skipped string, err error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if h.Prefix == "" {
		h.Prefix = defaultPrefix
	}
	t := &trial{h: h, ctx: ctx, id: random(), start: time.Now()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		t.protect(func() {
			t.n = t.node(h.New)
			c.run(t)
		})
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// Calls that keep to their deadlines come back now.
		if !within(patience, done) {
			t.report(fmt.Errorf("the check has not ended: a call runs that should have returned long ago: %w", ctx.Err()))
		}
	}
	cleaned := make(chan struct{})
	go func() {
		defer close(cleaned)
		t.cleanUp()
	}()
	if !within(2*patience, cleaned) {
		t.report(errors.New("what the check began cannot be ended: a call runs that should have returned long ago"))
	}
	return t.outcome()
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

// protect calls f, which may end by t.failf or t.skipf, and takes a panic for a
// failure. It is for a goroutine of which nothing else is left to do.
func (t *trial) protect(f func()) {
	normal := false
	defer func() {
		if normal {
			return
		}
		if p := recover(); p != nil {
			t.report(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	f()
	normal = true
}

// failf ends the check: the node has failed it. It must be called on a goroutine
// of the check's own.
func (t *trial) failf(format string, args ...any) {
	t.report(fmt.Errorf(format, args...))
	runtime.Goexit()
}

// skipf ends the check: it cannot be made.
func (t *trial) skipf(format string, args ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// report records a failure and lets the check go on. The first one counts.
func (t *trial) report(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure == nil {
		t.failure = err
	}
}

func (t *trial) outcome() (skipped string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failure != nil {
		return "", t.failure
	}
	return t.skipped, nil
}
