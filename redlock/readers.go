package redlock

import (
	"context"
	"slices"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// anyShared reports whether somebody reads the lock on a node.
func anyShared(findings []finding) bool {
	return slices.ContainsFunc(findings, func(f finding) bool { return f.lock.value == proto.SharedValue })
}

// lookAtReaders asks all nodes for the readers of a shared lock, as look does. The set of
// readers has the form of a queue: the tickets are tokens.
func (l *Locker) lookAtReaders(ctx context.Context, op, fullKey string) ([]finding, error) {
	set, ok := proto.ReadersKey(fullKey)
	if !ok { // it is not shared by this library
		return make([]finding, l.group.Size()), nil
	}
	return l.look(ctx, op, []string{fullKey, set})
}

// readers returns the tokens that read the lock on a node. Their scores are the times at
// which their shares end. A time that is over counts as a wait that has begun.
func (f *finding) readers() (tokens []string) {
	for i, token := range f.tickets {
		if f.lock.value == proto.SharedValue && f.waited[i] < 0 {
			tokens = append(tokens, token)
		}
	}
	return tokens
}

// anyUnsearched reports whether a node has more readers than it has named.
func anyUnsearched(findings []finding) bool {
	return slices.ContainsFunc(findings, func(f finding) bool {
		return f.lock.value == proto.SharedValue && f.waiting > len(f.tickets)
	})
}

// readersOf returns the number of readers, and the readers of all nodes.
func readersOf(findings []finding) (count int, list []Reader) {
	seen := make(map[string]bool)
	for _, f := range findings {
		tokens := f.readers()
		if f.lock.value == proto.SharedValue {
			count = max(count, f.waiting-(len(f.tickets)-len(tokens)))
		}
		for _, token := range tokens {
			if !seen[token] {
				seen[token] = true
				list = append(list, Reader{ownerOf(token), fingerprint(token)})
			}
		}
	}
	return count, list
}
