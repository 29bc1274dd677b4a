package inspect

import (
	"context"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// A Reader is one of those that read the lock.
type Reader struct{ Owner, Fingerprint string }

// shared reports whether somebody reads the lock on the node.
func (f *finding) shared() bool { return f.Value == proto.SharedValue }

// readers asks all nodes for the readers of a lock. The set of readers has the form of a
// queue: the tickets are tokens. Without a node on which somebody reads, it asks none.
func readers(ctx context.Context, nodes Nodes, key string, locks []finding, timeout time.Duration) ([]finding, error) {
	set, ok := proto.ReadersKey(key)
	if !ok || !slices.ContainsFunc(locks, func(f finding) bool { return f.shared() }) {
		return make([]finding, nodes.Size()), nil // if there is no set, this library does not share it
	}
	return askAll(ctx, nodes, key, set, timeout)
}

// tokens returns the tokens that read the lock on a node. Their scores are the times at
// which their shares end. A time that is over counts as a wait that has begun.
func (f *finding) tokens() (tokens []string) {
	for i, token := range f.Tickets {
		if f.shared() && f.Waited[i] < 0 {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// readersOf returns the number of readers, and the readers of all nodes.
func readersOf(sets []finding) (count int, list []Reader) {
	seen := make(map[string]bool)
	for _, f := range sets {
		tokens := f.tokens()
		if f.shared() {
			count = max(count, f.Waiting-(len(f.Tickets)-len(tokens)))
		}
		for _, token := range tokens {
			if !seen[token] {
				seen[token] = true
				list = append(list, Reader{proto.OwnerOf(token), proto.Fingerprint(token)})
			}
		}
	}
	return count, list
}
