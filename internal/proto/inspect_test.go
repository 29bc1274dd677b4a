package proto

import (
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// What is sent to look at a lock, and what is read of the answer.
func TestInspect(t *testing.T) {
	alone, both := (&Inspect{Lock: "k", Most: 9}).Op(), (&Inspect{Lock: "k", Queue: "q", Most: 9}).Op()
	if alone.Script != lua.Inspect || !slices.Equal(alone.Keys, []string{"k"}) || len(alone.Args) != 0 {
		t.Errorf("without a queue: %+v", alone)
	}
	if both.Script != lua.Inspect || !slices.Equal(both.Keys, []string{"k", "q"}) || !slices.Equal(both.Args, []string{"9"}) {
		t.Errorf("with a queue: %+v", both)
	}
	x, err := ReadInspect(backend.Reply{int64(1), "x", int64(-1), int64(3), "20:a", int64(7), "20:b", int64(-1)})
	if err != nil || !x.Found || x.Value != "x" || x.TTL != backend.NoExpiry || x.Waiting != 3 || !slices.Equal(x.Tickets, []string{"20:a", "20:b"}) ||
		!slices.Equal(x.Waited, []time.Duration{7 * time.Millisecond, NotKnown}) {
		t.Errorf("read %+v, %v", x, err)
	}
	if x, err := ReadInspect(backend.Reply{int64(0), "", int64(0)}); err != nil || x.Found || x.Waiting != NotKnown {
		t.Errorf("a free lock is read as %+v, %v", x, err)
	}
}

// Replies that a script should not give are not read as a queue.
func TestInspectStrangeReplies(t *testing.T) {
	for _, reply := range []backend.Reply{
		{}, {"1"}, {int64(-1)}, {int64(-2)}, {int64(1), int64(2)}, {int64(1), "20:x"}, {int64(1), "20:x", "soon"}, {int64(2), "20:x", int64(0), int64(1), int64(1)},
	} {
		x, err := ReadInspect(append(backend.Reply{int64(1), "x", int64(2)}, reply...))
		if err != nil || !x.Found || x.Value != "x" || x.TTL != 2*time.Millisecond || x.Waiting != NotKnown || x.Tickets != nil {
			t.Errorf("%v is read as a queue: %+v, %v", reply, x, err)
		}
	}
	for _, reply := range []backend.Reply{{}, {int64(1)}, {int64(1), "x"}, {int64(1), int64(2), int64(3)}, {"1", "x", int64(3)}, {int64(1), "x", "3"}} {
		if x, err := ReadInspect(reply); err == nil || x.Found || x.Waiting != NotKnown {
			t.Errorf("%v is read as a lock: %+v", reply, x)
		}
	}
}
