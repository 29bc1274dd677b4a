package attempt

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

const permits = "k{k}:permits"

// A survey says what each node has. Nodes that do not answer are left out: it does not
// wait for those that are known to be away, and not for long for the others.
func TestSurvey(t *testing.T) {
	for _, tc := range []struct {
		name     string
		fault    faulty.Fault // on node 2
		known    bool         // it is known to be away
		missing  bool
		outcome  round.Outcome // if it is missing
		why      error
		at, most time.Duration
	}{
		{name: "all answer"},
		{name: "one is slower", fault: faulty.Delay(minLinger - time.Microsecond), at: minLinger - time.Microsecond},
		{name: "one is too slow", fault: faulty.Delay(10 * time.Millisecond), missing: true, outcome: round.TimedOut, why: context.DeadlineExceeded, at: minLinger},
		{name: "one is down", fault: dead, missing: true, outcome: round.Failed},
		{name: "one hangs", fault: faulty.Hang(), missing: true, outcome: round.TimedOut, why: context.DeadlineExceeded, at: minLinger},
		{name: "one is known to hang", fault: faulty.Hang(), known: true, missing: true, outcome: round.Failed, why: backend.ErrNotExecuted},
		{name: "one refuses", fault: denied, missing: true, outcome: round.Failed, why: backend.ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, scripted, func(t *testing.T, w *world) {
				w.mem[0].Set(proto.SlotKey(permits, 1), "held", ttl)
				w.mem[1].Set(proto.SlotKey(permits, 1), "~20:inbox", ttl)
				w.mem[1].Set(proto.SlotKey(permits, 3), "held", time.Hour)
				if tc.fault != nil {
					w.fault[2].Set(tc.fault)
				}
				if tc.known {
					w.acquire("another")
					time.Sleep(3 * time.Second)
				}
				start := time.Now()
				s, votes := w.group.Survey(context.Background(), permits, 3, "20:inbox", timeout)
				if took := time.Since(start); took != tc.at {
					t.Errorf("it took %v, want %v", took, tc.at)
				}
				left := ttl - start.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)).Truncate(time.Millisecond)
				want := Survey{{left, proto.Free, proto.Free}, {proto.Free, proto.Free, left + time.Hour - ttl}, {proto.Free, proto.Free, proto.Free}}
				if tc.missing {
					want[2] = nil
				}
				for i := range want {
					if !slices.Equal(s[i], want[i]) && (tc.at == 0 || i < 2 || !slices.Equal(s[i], want[i])) {
						t.Errorf("node %d has %v, want %v", i, s[i], want[i])
					}
				}
				for i, v := range votes {
					outcome, why := round.Granted, error(nil)
					if tc.missing && i == 2 {
						outcome, why = tc.outcome, tc.why
					}
					if v.Outcome != outcome || (v.Err != nil) != (outcome != round.Granted) || why != nil && !errors.Is(v.Err, why) {
						t.Errorf("node %d: %v, %v; want %v, %v", i, v.Outcome, v.Err, outcome, why)
					}
				}
				free := []int{1, 2, 3}
				if tc.missing {
					free = []int{2}
				}
				if got := s.Free(2); !slices.Equal(got, free) || s.Size() != 3 {
					t.Errorf("free on two nodes are %v of %d, want %v of 3", got, s.Size(), free)
				}
				if got := s.Taken(); !slices.Equal(got, []int{1, 3}) {
					t.Errorf("taken on a node are %v, want 1 and 3", got)
				}
			})
		})
	}
}

// A survey that no node answers ends with its time, or its context, and says nothing.
func TestSurveyWithoutAnswers(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for _, f := range w.fault {
			f.Set(faulty.Hang())
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		for _, tc := range []struct {
			ctx  context.Context
			took time.Duration
		}{{context.Background(), timeout}, {ctx, 0}} {
			start := time.Now()
			s, votes := w.group.Survey(tc.ctx, permits, 3, "", timeout)
			if took := time.Since(start); took != tc.took || s.Size() != 0 || s.Free(1) != nil || s.Taken() != nil || round.Outcomes(votes) != "OOO" {
				t.Errorf("after %v it says %v, want nothing after %v", took, s, tc.took)
			}
		}
	})
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		if s, _ := w.group.Survey(context.Background(), permits, 3, "", timeout); s.Size() != 0 {
			t.Errorf("nodes that run no scripts say %v", s)
		}
	})
}

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
