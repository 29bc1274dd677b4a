package backendtest

import (
	"context"
	"slices"
	"strings"
)

// CheckOnly makes the checks whose names begin with prefix.
func CheckOnly(ctx context.Context, h Harness, prefix string) error {
	return tryAll(ctx, h, slices.DeleteFunc(checks(), func(c check) bool { return !strings.HasPrefix(c.name, prefix) }))
}

// CheckNames returns the names of all checks, in order.
func CheckNames() []string {
	var names []string
	for _, c := range checks() {
		names = append(names, c.name)
	}
	return names
}

// A node in memory buffers nothing, and the suite runs here some hundred times.
func init() { largeKey = 1 << 10 }
