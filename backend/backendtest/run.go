package backendtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/internal/check"
)

// Run checks that the nodes of h keep the contracts of package backend. Each
// check is a subtest; one that fails says which rule was broken and why it is
// there. For each capability that the node lacks, and each hook that h lacks, one
// subtest of that name is skipped, and says which checks are not made.
func Run(t *testing.T, h Harness) {
	t.Helper()
	h.suite(rules()).Run(t)
}

// Check is [Run] without a test: it returns nil if the nodes of h keep the
// contracts, else an error that joins one [*CheckError] for each check that
// failed. If ctx ends, it makes no further check and returns ctx's error too.
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

// A rule is one thing that every node must do.
type rule struct {
	name, why string

	// needs names the capabilities and hooks without which it cannot be checked,
	// beyond that of its group.
	needs []string

	run func(*trial)
}

// rules returns all rules, in the order in which they are checked.
func rules() []rule {
	var all []rule
	for _, group := range []struct {
		need  string // of all of them, if not empty
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

// suite returns what runs these rules on the nodes of h.
func (h Harness) suite(rules []rule) check.Suite {
	checks := make([]check.C, len(rules))
	for i, r := range rules {
		checks[i] = check.C{Name: r.name, Why: r.why, Needs: r.needs, Run: func(t *check.T) { r.run(&trial{t, h}) }}
	}
	return check.Suite{
		Name:   "backendtest",
		Server: check.Server{New: h.New, Prefix: h.Prefix, Advance: h.Advance, Set: h.Set, SetOther: h.SetOther},
		Hooks: []check.Hook{
			{Name: "FlushScripts", Set: h.FlushScripts != nil}, {Name: "Publish", Set: h.Publish != nil},
			{Name: "Disconnect", Set: h.Disconnect != nil}, {Name: "Stall", Set: h.Stall != nil}, {Name: "SlowDial", Set: h.SlowDial != nil},
			{Name: "LoseReplies", Set: h.LoseReplies != nil}, {Name: "Reject", Set: h.Reject != nil},
		},
		Checks: checks,
		Log:    h.Log,
	}
}
