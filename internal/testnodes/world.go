package testnodes

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/member"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// The worlds of the tests of the core have these in common.

// Prove has the members have run a script before, so that plain commands acquire, as they do
// but for the first time.
func Prove(members []*member.Member) {
	for _, m := range members {
		m.Releases.Store(true)
		for _, part := range m.Parts {
			part.Releases.Store(true)
		}
	}
}

// AtRest returns what is still going on at the members, the empty string if nothing is.
func AtRest(members []*member.Member, cleanups int) string {
	for _, first := range members {
		parts := first.Parts
		if parts == nil {
			parts = []*member.Member{first}
		}
		for _, l := range parts {
			if load := l.Sender.Load(); load != (sender.Load{Away: load.Away}) {
				return fmt.Sprintf("at rest, %s has %+v", l.Name, load)
			}
		}
	}
	if cleanups != 0 {
		return fmt.Sprintf("at rest, there are %d cleanups", cleanups)
	}
	return ""
}

// Empty reports an error if any key is left on these nodes, all of them if none is given.
func Empty(t testing.TB, mem []*memory.Node, nodes ...int) {
	t.Helper()
	for i, m := range mem {
		if len(nodes) > 0 && !slices.Contains(nodes, i) {
			continue
		}
		if keys := m.Keys(); len(keys) > 0 {
			t.Errorf("%d keys are left on node %d: %.3q", len(keys), i, keys)
		}
	}
}

// Value returns what key holds on a node.
func Value(mem *memory.Node, key string) string {
	e, _ := mem.Inspect(context.Background(), key)
	return e.Value
}

// Words returns what arrived at a node, a word for each operation.
func Words(f *faulty.FaultNode) []string {
	var words []string
	for _, op := range f.Arrived() {
		words = append(words, Word(op))
	}
	return words
}

// LockWords is Words for the operations on locks only.
func LockWords(f *faulty.FaultNode) []string {
	var words []string
	for _, op := range f.Arrived() {
		if op.Kind != faulty.OpSubscribe && !IsEcho(op) {
			words = append(words, Word(op))
		}
	}
	return words
}
