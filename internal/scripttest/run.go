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

// Run checks that the nodes of server answer to the scripts as the heads of the scripts say.
// The nodes must be Scripters; checks of queues need a Subscriber too. What is missing is one
// skipped subtest each, which says how many checks are not made.
func Run(t *testing.T, server check.Server) {
	t.Helper()
	suite(server).Run(t)
}

// suite returns what checks the nodes of server.
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

// A rule is one thing that every execution of the scripts must do.
type rule struct {
	name, why string
	needs     []string // the capabilities and hooks that its check uses, but for Scripter
	run       func(*trial)
}

// rules returns all rules, in the order in which they are checked.
func rules() []rule {
	return slices.Concat(
		acquireChecks(), releaseChecks(), rollbackChecks(), inspectChecks(), echoChecks(),
		voteChecks(), raiseChecks(), prolongChecks(), tombstoneChecks(), quarantineChecks(), markChecks())
}

// A trial is a check under way.
type trial struct{ *check.T }

// has returns the node as an I, which the check needs.
func has[I any](t *trial, name string) I { return check.Has[I](t.T, name) }
