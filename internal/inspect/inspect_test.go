package inspect

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

const (
	ticket   = "20:redlock:inbox:you:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	reserved = "~" + ticket
)

// The state of a lock is what a quorum of the nodes says, for as long as a quorum keeps it.
func TestLook(t *testing.T) {
	us := proto.NewToken("me")
	print, theirs := proto.Fingerprint(us), proto.Fingerprint(ticket)
	for _, tt := range []struct {
		nodes []string
		want  Lock
	}{
		{[]string{free}, Lock{State: Free}},
		{[]string{us}, Lock{Held, "me", print, time.Minute}},
		{[]string{reserved}, Lock{Reserved, "you", theirs, time.Minute}},
		{[]string{down}, Lock{}},
		{[]string{us, us, us}, Lock{Held, "me", print, 2 * time.Minute}},
		{[]string{us, hangs, us}, Lock{Held, "me", print, time.Minute}},
		{[]string{us, "other", free}, Lock{State: Split}},
		{[]string{us, free, down}, Lock{}},
		{[]string{free, us, free}, Lock{State: Free}},
		{[]string{others, reader, down}, Lock{Shared, "", "", time.Minute}},
		{[]string{us, us, free, free, "other"}, Lock{State: Split}},
		{[]string{us, us, free, free, hangs}, Lock{}},
		{[]string{free, free, us, "other", down}, Lock{}},
	} {
		t.Run(strings.Join(tt.nodes, " "), func(t *testing.T) {
			onRig(t, len(tt.nodes), func(t *testing.T, r *rig) {
				r.hold(tt.nodes)
				s, err := Look(t.Context(), r, "k", timeout)
				if err != nil || s.Lock != tt.want {
					t.Errorf("%+v, %v, want %+v", s, err, tt.want)
				}
				for i, n := range s.Nodes {
					alone := map[string]State{free: Free, down: Unknown, hangs: Unknown, reader: Shared, others: Shared, reserved: Reserved}
					want, ok := alone[tt.nodes[i]]
					if !ok {
						want = Held
					}
					if n.State != want || n.Name != name(i) || (n.Err != nil) != (want == Unknown) {
						t.Errorf("node %d, with %q: %+v", i, tt.nodes[i], n)
					}
				}
			})
		})
	}
}

// A reader counts until its share ends, and once, however many nodes have it.
func TestLookAtReaders(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		label := proto.NewToken("label")
		r.share(0, label, time.Minute)
		r.share(1, label, time.Minute)
		r.share(1, "us", time.Hour)
		r.share(1, "dead", time.Second)
		time.Sleep(2 * time.Second)
		s, err := Look(t.Context(), r, "k", timeout)
		want := []Reader{{"label", proto.Fingerprint(label)}, {"", proto.Fingerprint("us")}}
		if err != nil || s.State != Shared || s.Reading != 2 || !reflect.DeepEqual(s.Readers, want) {
			t.Errorf("%+v, %v, want 2 readers: %v", s, err, want)
		}
	})
}

// Find tells which nodes have the lock for a holder that has it alone, or reads.
func TestFind(t *testing.T) {
	for _, tt := range []struct {
		nodes    []string
		want     Found // without Votes
		outcomes string
	}{
		{[]string{"us"}, Found{Token: "us", Holds: []bool{true}, Answered: 1}, "T"},
		{[]string{"other"}, Found{Holds: []bool{false}, Answered: 1}, "T"},
		{[]string{free}, Found{Holds: []bool{false}, Answered: 1}, "N"},
		{[]string{reserved}, Found{Holds: []bool{false}, Answered: 1}, "T"},
		{[]string{"us", "other", down}, Found{Token: "us", Holds: []bool{true, false, false}, Answered: 2}, "TTF"},
		{[]string{reader, others, free}, Found{Token: "us", Shared: true, Holds: []bool{true, false, false}, Answered: 3}, "TTN"},
		{[]string{reader, "us", hangs}, Found{Token: "us", Shared: true, Holds: []bool{true, true, false}, Answered: 2}, "TTO"},
	} {
		t.Run(strings.Join(tt.nodes, " "), func(t *testing.T) {
			onRig(t, len(tt.nodes), func(t *testing.T, r *rig) {
				r.hold(tt.nodes)
				got, err := Find(t.Context(), r, "k", proto.Fingerprint("us"), timeout)
				if outcomes := round.Outcomes(got.Votes); err != nil || outcomes != tt.outcomes {
					t.Errorf("votes %s, %v, want %s", outcomes, err, tt.outcomes)
				}
				if got.Votes = nil; !reflect.DeepEqual(got, tt.want) {
					t.Errorf("%+v, want %+v", got, tt.want)
				}
			})
		})
	}
}

// A reservation has no holder, although the waiter has a fingerprint.
func TestFindNoWaiter(t *testing.T) {
	onRig(t, 1, func(t *testing.T, r *rig) {
		r.hold([]string{reserved})
		if found, err := Find(t.Context(), r, "k", proto.Fingerprint(ticket), timeout); err != nil || found.Token != "" || found.Holds[0] {
			t.Errorf("of the waiter: %+v, %v", found, err)
		}
		if found, err := Find(t.Context(), r, "k", proto.Fingerprint(reserved), timeout); err != nil || found.Token != "" || found.Holds[0] {
			t.Errorf("of the value: %+v, %v", found, err)
		}
	})
}

// Find says if a node has more readers than it names.
func TestFindAmongMany(t *testing.T) {
	for _, more := range []bool{false, true} {
		onRig(t, 1, func(t *testing.T, r *rig) {
			for i := range Most {
				r.share(0, fmt.Sprint(i), time.Minute)
			}
			if more {
				r.share(0, "last", time.Hour)
			}
			found, err := Find(t.Context(), r, "k", proto.Fingerprint("last"), timeout)
			if err != nil || found.More != more || found.Token != "" {
				t.Errorf("%+v, %v, want More: %v", found, err, more)
			}
		})
	}
}

// Check tells whether a quorum has the token, and returns as soon as that is certain.
func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		nodes    []string
		shared   bool
		want     round.Verdict
		outcomes string
		took     time.Duration
	}{
		{[]string{"us"}, false, round.Won, "G", 0},
		{[]string{free}, false, round.Gone, "N", 0},
		{[]string{"other"}, false, round.Gone, "T", 0},
		{[]string{down}, false, round.Unavailable, "F", 0},
		{[]string{hangs}, false, round.Unavailable, "O", timeout},
		{[]string{"us", "us", hangs}, false, round.Won, "GGP", 0},
		{[]string{free, "other", hangs}, false, round.Gone, "NTP", 0},
		{[]string{"us", free, hangs}, false, round.Unavailable, "GNO", timeout},
		{[]string{"us", down, down}, false, round.Unavailable, "GFF", 0},
		{[]string{reader, reader, hangs}, true, round.Won, "GGP", 0},
		{[]string{reader, "us", hangs}, true, round.Won, "GGP", 0}, // while it is being downgraded
		{[]string{others, others, hangs}, true, round.Gone, "TTP", 0},
		{[]string{reader, reader, hangs}, false, round.Gone, "TTP", 0},
	} {
		t.Run(fmt.Sprint(tt.nodes, tt.shared), func(t *testing.T) {
			onRig(t, len(tt.nodes), func(t *testing.T, r *rig) {
				r.hold(tt.nodes)
				start := time.Now()
				res := Check(t.Context(), r, "k", "us", tt.shared, timeout)
				if got := round.Outcomes(res.Votes); res.Verdict != tt.want || got != tt.outcomes || res.CtxErr != nil {
					t.Errorf("%v, want %v, %s", res, tt.want, tt.outcomes)
				}
				if took := time.Since(start); took != tt.took {
					t.Errorf("it took %v, want %v", took, tt.took)
				}
			})
		})
	}
}

// The end of ctx ends each function. The answers so far do not count, except that Check
// returns them.
func TestContextEnds(t *testing.T) {
	onRig(t, 3, func(t *testing.T, r *rig) {
		r.hold([]string{"us", hangs, hangs})
		for what, f := range map[string]func(ctx context.Context) error{
			"Look": func(ctx context.Context) error { _, err := Look(ctx, r, "k", timeout); return err },
			"Find": func(ctx context.Context) error { _, err := Find(ctx, r, "k", "00000000", timeout); return err },
			"Check": func(ctx context.Context) error {
				res := Check(ctx, r, "k", "us", false, timeout)
				if res.Verdict != round.Unavailable || round.Outcomes(res.Votes) != "GPP" || res.Votes[2].Latency != timeout/2 || res.Votes[2].Err != nil {
					t.Errorf("Check: %v, %+v", res, res.Votes)
				}
				return res.CtxErr
			},
		} {
			ctx, cancel := context.WithTimeout(t.Context(), timeout/2)
			start := time.Now()
			if err := f(ctx); err != context.DeadlineExceeded || time.Since(start) != timeout/2 {
				t.Errorf("%s: %v after %v", what, err, time.Since(start))
			}
			cancel()
		}
	})
}

// bare are the nodes of a rig without their capabilities.
type bare struct{ *rig }

func (b bare) Node(i int) (backend.Node, string) {
	node, name := b.rig.Node(i)
	return faulty.Bare(node), name
}

// A node that runs no scripts is not asked, and its error says so.
func TestNodesWithoutScripts(t *testing.T) {
	onRig(t, 1, func(t *testing.T, r *rig) {
		r.hold([]string{"us"})
		s, err := Look(t.Context(), bare{r}, "k", timeout)
		if err != nil || s.State != Unknown || s.Waiting != proto.NotKnown || !errors.Is(s.Nodes[0].Err, errors.ErrUnsupported) {
			t.Errorf("Look: %+v, %v", s, err)
		}
		found, err := Find(t.Context(), bare{r}, "k", proto.Fingerprint("us"), timeout)
		if err != nil || found.Answered != 0 || found.Token != "" {
			t.Errorf("Find: %+v, %v", found, err)
		}
		res := Check(t.Context(), bare{r}, "k", "us", false, timeout)
		if res.Verdict != round.Unavailable || !errors.Is(res.Votes[0].Err, errors.ErrUnsupported) {
			t.Errorf("Check: %v", res)
		}
		if calls := r.fault[0].Calls(); len(calls) != 0 {
			t.Errorf("%d calls were made", len(calls))
		}
	})
}

// A node that rejects the key of the queue is asked about the lock alone.
func TestQueueIsRejected(t *testing.T) {
	for _, reply := range []string{"NOPERM this user has no permissions to access one of the keys", "TRYAGAIN Multiple keys request during rehashing of slot"} {
		onRig(t, 1, func(t *testing.T, r *rig) {
			r.hold([]string{"us"})
			withQueue := func(op backend.Op) bool { return len(op.Keys) > 1 }
			r.fault[0].Set(faulty.On(withQueue, faulty.Refuse(backend.MarkReply(errors.New(reply)))))
			s, err := Look(t.Context(), r, "k", timeout)
			if err != nil || s.State != Held || s.Waiting != proto.NotKnown || s.Nodes[0].Err != nil {
				t.Errorf("%s: %+v, %v", reply, s, err)
			}
		})
	}
}
