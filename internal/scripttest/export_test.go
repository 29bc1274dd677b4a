package scripttest

import (
	"context"

	"github.com/quorumlock/quorumlock/internal/check"
)

// Check is Run without a test. Log gets a line for each check that is skipped.
func Check(ctx context.Context, server check.Server, log func(format string, args ...any)) ([]check.Failure, error) {
	s := suite(server)
	s.Log = log
	return s.Check(ctx)
}

// CheckNames returns the names of all checks, in order.
func CheckNames() []string {
	var names []string
	for _, r := range rules() {
		names = append(names, r.name)
	}
	return names
}

// WrongNeeds makes every check, and returns a line for each that uses other capabilities
// and hooks than it says.
func WrongNeeds(ctx context.Context, server check.Server) []string {
	return suite(server).WrongNeeds(ctx)
}
