package attempt

import (
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A gate does not let more through because the node is slow under what it has to do.
func TestGateOfBusyNode(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		pair := func(i int, takes time.Duration) {
			w.fault[0].Set(faulty.Delay(takes))
			a, res := w.group.acquire(t.Context(), nil, "k", fmt.Sprint("t", i), ttl, timeout)
			if res.Verdict != round.Won {
				t.Fatal(res)
			}
			a.Release(t.Context(), timeout)
		}
		pair(0, 0)
		for i := range 20 {
			pair(1+i, 100*time.Millisecond)
		}
		if got := w.group.releases.Limit(); got > 128 {
			t.Errorf("%d releases at a time, want %d: the node is near", got, 128)
		}
		time.Sleep(2 * time.Minute) // by now what was short is forgotten
		for i := range 3 {
			pair(100+i, 10*time.Millisecond)
			time.Sleep(time.Minute)
		}
		if got := w.group.releases.Limit(); got != 1000 {
			t.Errorf("%d releases at a time with a node that is 10ms away, want 1000", got)
		}
	})
}
