package backendtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
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

// WrongNeeds makes every check, and returns a line for each that uses other capabilities
// and hooks than it says.
func WrongNeeds(ctx context.Context, h Harness) (wrong []string) {
	h.Prefix = defaultPrefix
	for _, c := range checks() {
		t := &trial{h: h, ctx: ctx, id: random(), start: time.Now()}
		done := make(chan struct{})
		go func() {
			defer close(done)
			t.protect(func() {
				t.n = t.node(h.New)
				c.run(t)
			})
		}()
		<-done
		t.cleanUp()
		says, uses := slices.Sorted(slices.Values(c.needs)), slices.Sorted(slices.Values(t.used))
		if c.name == "Batch/empty" { // with Stall it sees more
			uses = slices.DeleteFunc(uses, func(name string) bool { return name == "Stall" })
		}
		if !slices.Equal(says, uses) {
			wrong = append(wrong, fmt.Sprintf("%s says that it needs %q, and uses %q", c.name, says, uses))
		}
	}
	return wrong
}

// A node in memory buffers nothing, and the suite runs here some hundred times.
func init() { largeKey = 1 << 10 }
