package main

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/redlock"
)

// How long the tool waits before it exits depends on whether a server may hang.
func TestAnswers(t *testing.T) {
	node := func(name string, o redlock.Outcome, latency time.Duration) redlock.NodeReport {
		return redlock.NodeReport{Node: name, Outcome: o, Latency: latency}
	}
	for name, tt := range map[string]struct {
		report   redlock.Report
		patience time.Duration
		missing  []string
	}{
		"no round":       {nil, least, nil},
		"all answered":   {redlock.Report{node("a", redlock.Taken, time.Millisecond), node("b", redlock.Granted, 0), node("c", redlock.NotHeld, 0)}, longest, nil},
		"one pending":    {redlock.Report{node("a", redlock.Granted, 30*time.Millisecond), node("b", redlock.Pending, 0)}, 90 * time.Millisecond, []string{"b"}},
		"one timed out":  {redlock.Report{node("a", redlock.TimedOut, time.Second), node("b", redlock.Granted, time.Millisecond)}, least, []string{"a"}},
		"one failed":     {redlock.Report{node("a", redlock.Granted, time.Millisecond), node("b", redlock.Failed, 0)}, least, nil},
		"slow and hung":  {redlock.Report{node("a", redlock.Granted, time.Second), node("b", redlock.Pending, 0)}, leave, []string{"b"}},
		"none was asked": {redlock.Report{node("a", redlock.Pending, 0)}, least, []string{"a"}},
	} {
		patience, missing := answers(tt.report)
		if patience != tt.patience || !slices.Equal(missing, tt.missing) {
			t.Errorf("%s: %v, %q, want %v, %q", name, patience, missing, tt.patience, tt.missing)
		}
	}
}

// A message about what is left names the servers, if they are known.
func TestUnanswered(t *testing.T) {
	got := fmt.Sprint(unanswered(nil), "; ", unanswered([]string{"a", "b"}))
	if want := "no answer yet to a deletion on some server; no answer yet from a, b"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
