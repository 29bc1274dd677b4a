package main

import (
	"strings"
	"syscall"
	"testing"
)

// Where it cannot draw, --watch appends views until it is interrupted.
func TestStatusWatchAppends(t *testing.T) {
	s := startSeveral(t, 1)
	for form, free := range map[string]string{"": `The lock "job" is free.`, "--json": `"state":"free"`} {
		s.set(0, "job", "one")
		watch := start(t, s.nodes, strings.Fields("status --watch --interval 0.1s job "+form)...)
		watch.stdout.await(t, "7692c3ad")
		if err := s.clients[0].Del(t.Context(), "job").Err(); err != nil {
			t.Fatal(err)
		}
		watch.stdout.await(t, free)
		s.set(0, "job", "two")
		watch.stdout.await(t, "3fc4ccfe")
		watch.signal(syscall.SIGINT)
		watch.want(statusHeld) // of the last view
		if out := watch.stdout.String() + watch.stderr.String(); strings.ContainsAny(out, "\x1b\r") {
			t.Errorf("printed was:\n%s", out)
		}
	}
}
