package inspect

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

const permits = "k{k}:permits"

// A survey says what each node has. Nodes that do not answer are left out: it does not
// wait for those that are known to be away, and not for long for the others.
func TestSlots(t *testing.T) {
	const ttl = 10 * time.Second
	away := errors.New("it is known to hang")
	for _, tc := range []struct {
		name    string
		fault   faulty.Fault // on node 2
		away    error        // why node 2 is not asked
		missing bool
		outcome round.Outcome // if it is missing
		why     error
		at      time.Duration
	}{
		{name: "all answer"},
		{name: "one is slower", fault: faulty.Delay(minLinger - time.Microsecond), at: minLinger - time.Microsecond},
		{name: "one is too slow", fault: faulty.Delay(10 * time.Millisecond), missing: true, outcome: round.TimedOut, why: context.DeadlineExceeded, at: minLinger},
		{name: "one is down", fault: faulty.Refuse(nil), missing: true, outcome: round.Failed},
		{name: "one hangs", fault: faulty.Hang(), missing: true, outcome: round.TimedOut, why: context.DeadlineExceeded, at: minLinger},
		{name: "one is known to hang", fault: faulty.Hang(), away: away, missing: true, outcome: round.Failed, why: away},
		{name: "one refuses", fault: faulty.Refuse(backend.ErrRefused), missing: true, outcome: round.Failed, why: backend.ErrRefused},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onRig(t, 3, func(t *testing.T, r *rig) {
				r.mem[0].Set(proto.SlotKey(permits, 1), "held", ttl)
				r.mem[1].Set(proto.SlotKey(permits, 1), "~20:inbox", ttl)
				r.mem[1].Set(proto.SlotKey(permits, 3), "held", time.Hour)
				if tc.fault != nil {
					r.fault[2].Set(tc.fault)
				}
				r.away = tc.away
				start := time.Now()
				s, votes := Slots(context.Background(), r, permits, 3, "20:inbox", timeout)
				if took := time.Since(start); took != tc.at {
					t.Errorf("it took %v, want %v", took, tc.at)
				}
				want := Survey{{ttl, proto.Free, proto.Free}, {proto.Free, proto.Free, time.Hour}, {proto.Free, proto.Free, proto.Free}}
				if tc.missing {
					want[2] = nil
				}
				for i := range want {
					if !slices.Equal(s[i], want[i]) {
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

// The time that a survey waits for the last nodes begins when a quorum has answered, and ends
// with the timeout.
func TestSlotsWaitsForQuorum(t *testing.T) {
	for trip, want := range map[time.Duration]time.Duration{
		30 * time.Millisecond: 60 * time.Millisecond,
		timeout * 9 / 10:      timeout,
	} {
		onRig(t, 3, func(t *testing.T, r *rig) {
			r.fault[1].Set(faulty.Delay(trip))
			r.fault[2].Set(faulty.Hang())
			start := time.Now()
			s, votes := Slots(context.Background(), r, permits, 3, "", timeout)
			if took := time.Since(start); took != want || s[0] == nil || s[1] == nil || round.Outcomes(votes) != "GGO" {
				t.Errorf("after %v it says %v (%s), want an answer after %v", took, s, round.Outcomes(votes), want)
			}
		})
	}
}

// A survey that no node answers ends with its time, or its context, and says nothing.
func TestSlotsWithoutAnswers(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		for _, f := range r.fault {
			f.Set(faulty.Hang())
		}
		for _, limit := range []time.Duration{time.Hour, time.Millisecond, 0} {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			start := time.Now()
			s, votes := Slots(ctx, r, permits, 3, "", timeout)
			if took := time.Since(start); took != min(limit, timeout) || s.Size() != 0 || s.Free(1) != nil || s.Taken() != nil || round.Outcomes(votes) != "OOO" {
				t.Errorf("after %v it says %v, want nothing after %v", took, s, min(limit, timeout))
			}
		}
	})
}
