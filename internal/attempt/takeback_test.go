package attempt

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/round"
)

// TakeBackNow returns when the nodes that granted have taken it back, and waits for no
// other.
func TestTakeBackNow(t *testing.T) {
	for _, tc := range []struct {
		name  string
		fault faulty.Fault // on node 0, which has granted, from the rollback on
		hangs faulty.Fault // on node 2, which has not answered
		gone  []bool
		took  time.Duration
	}{
		{"at once", nil, nil, []bool{true, true, true}, 0},
		{"a slow node", faulty.Delay(30 * time.Millisecond), nil, []bool{true, true, true}, 30 * time.Millisecond},
		{"a node that does not answer", faulty.Hang(), nil, []bool{false, true, true}, timeout},
		{"a node that did not answer before", nil, faulty.Hang(), []bool{true, true, false}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				w.mem[1].Set("k", "other", ttl)
				if tc.hangs != nil {
					w.fault[2].Set(tc.hangs)
				} else {
					w.mem[2].Set("k", "another", ttl)
				}
				w.fault[1].Set(faulty.Delay(time.Millisecond)) // so that node 0 has answered when the round is lost
				a := New(w.group, "k", "t")
				res := a.round(context.Background(), request{kind: round.Acquiring, ttl: ttl, timeout: timeout})
				if res.Verdict == round.Won {
					t.Fatal("it has won")
				}
				w.fault[1].Clear()
				if tc.fault != nil {
					w.fault[0].Set(tc.fault)
				}
				start := time.Now()
				st, gone := a.TakeBackNow(context.Background(), res.Votes, false, timeout)
				if took := time.Since(start); took != tc.took || !slices.Equal(gone, tc.gone) {
					t.Errorf("after %v it is gone: %v, want %v after %v", took, gone, tc.gone, tc.took)
				}
				open := 1
				if tc.hangs != nil {
					open = 2
				}
				if st.Open != open || st.Queued != 0 {
					t.Errorf("%+v, want %d open and none queued", st, open)
				}
				for _, f := range w.fault {
					f.Clear()
				}
				synctest.Wait()
			})
		})
	}
}
