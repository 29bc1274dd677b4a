package scripttest

import (
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/internal/check"
)

const (
	long     = check.Long
	short    = check.Short
	call     = check.Call
	patience = check.Patience
	crowd    = check.Crowd
)

// Run checks that the nodes of server behave as the comments at the top of the scripts
// say. The nodes must be Scripters. Checks of queues also need a Subscriber. For each
// missing capability or hook, one skipped subtest says how many checks did not run.
func Run(t *testing.T, server check.Server) {
	t.Helper()
	suite(server).Run(t)
}

// suite returns the checks for the nodes of server.
func suite(server check.Server) check.Suite {
	s := check.Suite{Name: "scripttest", Server: server}
	for _, r := range rules() {
		s.Checks = append(s.Checks, check.C{
			Name: r.name, Why: r.why, Needs: append([]string{"Scripter"}, r.needs...),
			Run: func(t *check.T) { r.run(&trial{t}) },
		})
	}
	return s
}

// A rule is something that every implementation of the scripts must do.
type rule struct {
	name, why string
	needs     []string // capabilities and hooks that the check uses, except Scripter
	run       func(*trial)
}

// rules returns all rules, in the order in which they are checked.
func rules() []rule {
	return slices.Concat(
		acquireChecks(), releaseChecks(), rollbackChecks(), sharedChecks(), sharingChecks(), inspectChecks(), slotsChecks(), echoChecks(),
		voteChecks(), raiseChecks(), prolongChecks(), tombstoneChecks(), quarantineChecks(), markChecks())
}

// A trial is a running check.
type trial struct{ *check.T }

// has returns the node as an I, which the check needs.
func has[I any](t *trial, name string) I { return check.Has[I](t.T, name) }
