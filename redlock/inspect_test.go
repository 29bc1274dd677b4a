package redlock

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// What a quorum says about a key, whatever the nodes hold and whoever is missing.
func TestInspect(t *testing.T) {
	const us, other, down = "us", "other", "down" // "" is free
	tests := []struct {
		name  string
		nodes []string
		need  int
		want  State
	}{
		{"free", []string{"", "", ""}, 2, StateFree},
		{"held", []string{us, us, us}, 2, StateHeld},
		{"held on a majority", []string{us, "", us}, 2, StateHeld},
		{"held though a node is down", []string{us, down, us}, 2, StateHeld},
		{"free though a node is down", []string{"", down, ""}, 2, StateFree},
		{"free though a foreign key is left", []string{"", other, ""}, 2, StateFree},
		{"two at once", []string{us, other, ""}, 2, StateSplit},
		{"a remnant in five", []string{us, us, "", "", other}, 3, StateSplit},
		{"the one that is down decides", []string{us, down, ""}, 2, StateUnknown},
		{"two are down", []string{us, down, down}, 2, StateUnknown},
		{"all are down", []string{down, down, down}, 2, StateUnknown},
		{"two of five down, three of one mind", []string{us, us, us, down, down}, 3, StateHeld},
		{"one of five down, nobody can have it", []string{us, other, "x", "", down}, 3, StateSplit},
		{"one server", []string{us}, 1, StateHeld},
		{"one server, free", []string{""}, 1, StateFree},
		{"one server, down", []string{down}, 1, StateUnknown},
		{"all are needed", []string{us, us, ""}, 3, StateSplit},
		{"all are needed and one is down", []string{us, us, down}, 3, StateUnknown},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onRig(t, len(tt.nodes), false, func(t *testing.T, r *rig) {
				l := r.locker(WithQuorum(tt.need), WithKeyPrefix("app:"))
				for i, value := range tt.nodes {
					switch value {
					case "":
					case down:
						r.fault[i].Set(backendtest.Refuse(nil))
					default:
						r.mem[i].Set("app:k", value, time.Duration(i+1)*time.Second)
					}
				}
				s, err := l.Inspect(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if s.State != tt.want || s.Key != "app:k" || len(s.Nodes) != len(tt.nodes) {
					t.Errorf("status %v, want %v", s, tt.want)
				}
				for i, value := range tt.nodes {
					want := map[string]State{"": StateFree, down: StateUnknown}
					n := s.Nodes[i]
					if state, ok := want[value]; ok && n.State != state || !ok && n.State != StateHeld {
						t.Errorf("node %s with %q is %v", n.Node, value, n.State)
					}
					if (n.Err != nil) != (value == down) {
						t.Errorf("node %s with %q: error %v", n.Node, value, n.Err)
					}
				}
			})
		})
	}
}

// Who holds it, until when: the label, a fingerprint that is not the token, and the
// time for which a quorum has it.
func TestInspectHolder(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		if r.bare {
			return
		}
		l := r.locker(WithOwner("host-7 pid 12"))
		lock := r.lock(l, "k")
		synctest.Wait()
		time.Sleep(time.Second)
		for _, m := range r.mem[:r.minority()] { // extended here, and not there
			if _, err := m.Extend(t.Context(), "k", lock.Token(), time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		s, err := l.Inspect(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if s.State != StateHeld || s.Owner != "host-7 pid 12" || s.TTL != 9*time.Second || len(s.Fingerprint) != 8 {
			t.Errorf("status %+v, want it held by %q for 9s", s, "host-7 pid 12")
		}
		if s.Fingerprint == fingerprint("other") || s.Nodes[0].Fingerprint != s.Fingerprint {
			t.Errorf("fingerprint %q", s.Fingerprint)
		}
	})
}

// Keys of other programs: for ever, of another type, without our label.
func TestInspectForeign(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker()
	r.mem[0].Set("ever", "f47ac10b58cc4372a5670e02b2c3d479", backend.NoExpiry)
	r.mem[0].Push("list", "x")
	s, err := l.Inspect(t.Context(), "ever")
	if err != nil || s.State != StateHeld || s.TTL != backend.NoExpiry || s.Owner != "" {
		t.Errorf("status %+v, %v", s, err)
	}
	if got, want := s.String(), `"ever" is held by #`+fingerprint("f47ac10b58cc4372a5670e02b2c3d479")+` for ever (a: held by #`+
		fingerprint("f47ac10b58cc4372a5670e02b2c3d479")+` for ever)`; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	if s, err := l.Inspect(t.Context(), "list"); err != nil || s.State != StateHeld {
		t.Errorf("a list: status %v, %v; want it held", s, err)
	}
	if s, err := l.Inspect(t.Context(), "free"); err != nil || s.String() != `"free" is free (a: free)` {
		t.Errorf("status %v, %v", s, err)
	}
}

// The wait is bounded by the node timeout and by ctx, also with a driver that
// heeds neither, and what has answered by then counts.
func TestInspectHung(t *testing.T) {
	for _, hang := range []backendtest.Fault{backendtest.Hang(), backendtest.Chain(backendtest.IgnoreContext(), backendtest.Delay(time.Second))} {
		onRig(t, 3, false, func(t *testing.T, r *rig) {
			l := r.locker(WithNodeTimeout(100 * time.Millisecond))
			r.lock(l, "k")
			synctest.Wait()
			r.fault[0].Set(hang)
			start := time.Now()
			s, err := l.Inspect(t.Context(), "k")
			took(t, start, 100*time.Millisecond, 100*time.Millisecond)
			if err != nil || s.State != StateHeld || s.Nodes[0].State != StateUnknown || !errors.Is(s.Nodes[0].Err, context.DeadlineExceeded) {
				t.Errorf("status %v, %v; want it held, and one node unknown", s, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancel()
			start = time.Now()
			_, err = l.Inspect(ctx, "k")
			took(t, start, 10*time.Millisecond, 10*time.Millisecond)
			if err == nil || err.Error() != `redlock: inspect "k": context deadline exceeded` || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A node without the capability is unknown, and that is no error.
func TestInspectUnsupported(t *testing.T) {
	a, b, c := memory.New(), memory.New(), backendtest.Bare(memory.New())
	l, err := New([]backend.Node{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Inspect(t.Context(), "k")
	if err != nil || s.State != StateFree || s.Nodes[2].Node != "node 2" || !errors.Is(s.Nodes[2].Err, errors.ErrUnsupported) {
		t.Errorf("status %v, %v", s, err)
	}
	l, err = New([]backend.Node{c})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := l.Inspect(t.Context(), "k"); err != nil || s.State != StateUnknown {
		t.Errorf("status %v, %v; want unknown", s, err)
	}
}

// Inspect changes nothing.
func TestInspectReadsOnly(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker()
	if _, err := l.Inspect(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	for _, c := range r.fault[0].Calls() {
		if c.Ops[0].Kind != backendtest.OpInspect {
			t.Errorf("Inspect called %v", c.Ops[0].Kind)
		}
	}
	r.empty()
}

// The owner's label is read from tokens of ours only.
func TestOwnerOf(t *testing.T) {
	random := newToken("")
	for token, want := range map[string]string{
		newToken("me"):            "me",
		newToken("a:b"):           "a:b",
		newToken("größe "):        "größe ",
		random:                    "",
		":" + random:              "",
		"me:" + random[1:]:        "",
		"me:" + random[1:] + "é":  "",
		"me:" + random[1:] + "0":  "",
		"me_" + random:            "",
		"":                        "",
		"me:":                     "",
		"f47ac10b58cc4372a5670e0": "",
	} {
		if got := ownerOf(token); got != want {
			t.Errorf("the owner of %q is %q, want %q", token, got, want)
		}
	}
}
