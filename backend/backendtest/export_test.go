package backendtest

import (
	"context"
	"slices"

	"github.com/quorumlock/quorumlock/backend"
)

// CheckNames returns the names of all checks, in order.
func CheckNames() []string {
	var names []string
	for _, r := range rules() {
		names = append(names, r.name)
	}
	return names
}

// WrongNeeds runs every check, and returns a line for each check that uses other capabilities and
// hooks than it lists.
func WrongNeeds(ctx context.Context, h Harness) (wrong []string) {
	all := rules()
	for i, r := range all {
		if r.name == "Batch/empty" { // with Stall it detects more
			all[i].needs = append(slices.Clone(r.needs), "Stall")
		}
	}
	return h.suite(all).WrongNeeds(ctx)
}

// Scripts are those that are not in package backend/lua.
var Scripts = []*backend.Script{reply, pass, numbers}

// A node in memory buffers nothing, and the suite runs about a hundred times here.
func init() { largeKey = 1 << 10 }
