package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/internal/check"
)

// Run checks that the nodes of h fulfil the contracts of package backend. Each check is a
// subtest. If a check fails, it reports which rule was broken and why the rule exists. For each
// capability that the node lacks, and each hook that h lacks, Run skips one subtest of that name,
// which lists the checks that do not run.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h.suite(rules()).Run(t)
}

// Check is [Run] without a test. It returns nil if the nodes of h fulfil the contracts. Otherwise
// it returns an error that joins one [*CheckError] for each failed check. If ctx ends, Check
// stops and also returns ctx's error.
func Check(ctx context.Context, h Harness) error { return try(ctx, h, rules()) }

func try(ctx context.Context, h Harness, rules []rule) error {
	failures, err := h.suite(rules).Check(ctx)
	var errs []error
	for _, f := range failures {
		errs = append(errs, &CheckError{Check: f.Name, Why: f.Why, Err: f.Err})
	}
	return errors.Join(append(errs, err)...)
}

// A CheckError says that a node failed a check.
type CheckError struct {
	Check string // the name of the subtest of [Run]
	Why   string // why the rule exists
	Err   error  // what was observed
}

// Error returns the name, the observation and the reason.
func (e *CheckError) Error() string {
	return fmt.Sprintf("backendtest: %s: %v (why: %s)", e.Check, e.Err, e.Why)
}

// Unwrap returns Err.
func (e *CheckError) Unwrap() error { return e.Err }

// A rule is something that every node must do.
type rule struct {
	name, why string

	// needs names the capabilities and hooks that the check needs in addition to those of its
	// group.
	needs []string

	run func(*trial)
}

// rules returns all rules, in the order in which they are checked.
func rules() []rule {
	var all []rule
	for _, group := range []struct {
		need  string // what all of them need, if not empty
		rules []rule
	}{
		{"", slices.Concat(setNXChecks(), deleteChecks(), extendChecks(), bytesChecks())},
		{"SetOther", otherTypeChecks()},
		{"", slices.Concat(raceChecks(), endedChecks())},
		{"Stall", stalledChecks()},
		{"SlowDial", slowDialChecks()},
		{"LoseReplies", lostReplyChecks()},
		{"Disconnect", disconnectChecks()},
		{"Reject", rejectedChecks()},
		{"Scripter", slices.Concat(scripterChecks(), tinyChecks(), repliesChecks())},
		{"FlushScripts", flushedChecks()},
		{"Batcher", slices.Concat(batcherChecks(), tinyBatchChecks(), batchRepliesChecks())},
		{"Namer", namerChecks()},
		{"Partitioner", partitionerChecks()},
		{"Subscriber", subscriberChecks()},
	} {
		for _, r := range group.rules {
			if group.need != "" {
				r.needs = append([]string{group.need}, r.needs...)
			}
			all = append(all, r)
		}
	}
	return all
}

// suite returns a suite of these rules for the nodes of h.
func (h Harness) suite(rules []rule) check.Suite {
	checks := make([]check.C, len(rules))
	for i, r := range rules {
		checks[i] = check.C{Name: r.name, Why: r.why, Needs: r.needs, Run: func(t *check.T) { r.run(&trial{t, h}) }}
	}
	return check.Suite{
		Name:   "backendtest",
		Server: check.Server{New: h.New, Prefix: h.Prefix, Advance: h.Advance, Set: h.Set, SetOther: h.SetOther},
		Hooks: []check.Hook{
			{Name: "FlushScripts", Set: h.FlushScripts != nil}, {Name: "HasScript", Set: h.HasScript != nil},
			{Name: "Publish", Set: h.Publish != nil}, {Name: "Disconnect", Set: h.Disconnect != nil}, {Name: "Stall", Set: h.Stall != nil}, {Name: "SlowDial", Set: h.SlowDial != nil},
			{Name: "LoseReplies", Set: h.LoseReplies != nil}, {Name: "Reject", Set: h.Reject != nil},
		},
		Checks: checks,
		Log:    h.Log,
	}
}
