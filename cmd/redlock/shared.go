package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/redlock"
)

// checkShared rejects flags that contradict --shared.
func (r *run) checkShared(cmd *cobra.Command) error {
	switch {
	case r.permits > 0:
		return usage(cmd, "--shared lets any number of commands run, --permits so many: leave one of them out")
	case len(r.also) > 0:
		return usage(cmd, "--also holds several locks, and these cannot be shared: leave out --also or --shared")
	case r.fencing:
		return usage(cmd, "--fencing gives the command a token that is higher for each later lock, but with --shared several hold the lock at a time: leave one of them out")
	}
	return nil
}

// sharers returns the labels of those who share a lock, as in `, by "web1", "web2"`.
func sharers(s redlock.Status) string {
	var names []string
	for _, reader := range s.Readers {
		names = append(names, holder(reader.Owner))
	}
	return by(names)
}

// addReaders adds those who share the lock.
func (t *table) addReaders(s redlock.Status) {
	what := "shared by"
	for i, reader := range s.Readers {
		if i == mostShown {
			t.add(fmt.Sprintf("and %d more", max(s.Reading, len(s.Readers))-mostShown), "")
			break
		}
		t.add(labelled(reader.Owner, reader.Fingerprint), what)
		what = ""
	}
}
