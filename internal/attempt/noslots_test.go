package attempt

import (
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// A node is not asked about slots while it is known to hang, and never if it runs no scripts.
func TestNoSlots(t *testing.T) {
	const permits = "k{k}:permits"
	inWorldOf(t, 3, scripted, func(t *testing.T, w *world) {
		w.fault[2].Set(faulty.Hang())
		w.acquire("another")
		time.Sleep(3 * time.Second)
		for i, away := range []bool{false, false, true} {
			if err := w.group.NoSlots(i, permits); (err != nil) != away || away && !errors.Is(err, backend.ErrNotExecuted) {
				t.Errorf("node %d: %v, away: %v", i, err, away)
			}
		}
	})
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		if err := w.group.NoSlots(0, permits); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("a node that runs no scripts: %v", err)
		}
	})
}
