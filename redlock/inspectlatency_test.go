package redlock

import (
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Inspect says how long each node took to answer, or how long it waited for it.
func TestInspectLatency(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithNodeTimeout(100 * time.Millisecond))
		r.fault[0].Set(faulty.Delay(3 * time.Millisecond))
		r.fault[1].Set(faulty.Delay(7*time.Millisecond), faulty.Refuse(nil))
		r.fault[2].Set(faulty.Hang())
		s, err := l.Inspect(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []time.Duration{3 * time.Millisecond, 7 * time.Millisecond, 100 * time.Millisecond} {
			if n := s.Nodes[i]; n.Latency != want || (n.Err != nil) != (i > 0) {
				t.Errorf("%s took %v, with the error %v; want %v", n.Node, n.Latency, n.Err, want)
			}
		}
	})
}
