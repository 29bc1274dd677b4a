package redlock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/inspect"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// The state of a key, depending on what the nodes hold and which nodes are down.
func TestInspect(t *testing.T) {
	const (
		us, other, down = "us", "other", "down" // "" means free
		first           = "~20:app:redlock:inbox:host-7:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
		second          = "~20:app:redlock:inbox:ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	)
	tests := []struct {
		name  string
		nodes []string
		need  int
		want  State
	}{
		{"free", []string{"", "", ""}, 2, StateFree},
		{"held", []string{us, us, us}, 2, StateHeld},
		{"held on a majority", []string{us, "", us}, 2, StateHeld},
		{"held, a node is down", []string{us, down, us}, 2, StateHeld},
		{"free, a node is down", []string{"", down, ""}, 2, StateFree},
		{"free, a foreign key is left", []string{"", other, ""}, 2, StateFree},
		{"two holders at once", []string{us, other, ""}, 2, StateSplit},
		{"a remnant in five", []string{us, us, "", "", other}, 3, StateSplit},
		{"the node that is down decides", []string{us, down, ""}, 2, StateUnknown},
		{"two are down", []string{us, down, down}, 2, StateUnknown},
		{"all are down", []string{down, down, down}, 2, StateUnknown},
		{"two of five down, the others agree", []string{us, us, us, down, down}, 3, StateHeld},
		{"one of five down, no quorum possible", []string{us, other, "x", "", down}, 3, StateSplit},
		{"one server", []string{us}, 1, StateHeld},
		{"one server, free", []string{""}, 1, StateFree},
		{"one server, down", []string{down}, 1, StateUnknown},
		{"reserved", []string{first, first, first}, 2, StateReserved},
		{"reserved on a majority", []string{first, second, first}, 2, StateReserved},
		{"reserved for different waiters", []string{first, second, ""}, 2, StateSplit},
		{"reserved for different waiters, one is down", []string{first, second, down}, 2, StateUnknown},
		{"the notified waiter acquires", []string{first, us, us}, 2, StateHeld},
		{"the holder releases", []string{first, first, us}, 2, StateReserved},
		{"a foreign token that looks like a reservation", []string{"~us", "~us", "~us"}, 2, StateHeld},
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
						r.fault[i].Set(faulty.Refuse(nil))
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
					want, ok := map[string]State{"": StateFree, down: StateUnknown, first: StateReserved, second: StateReserved}[value]
					if !ok {
						want = StateHeld
					}
					n := s.Nodes[i]
					if n.State != want {
						t.Errorf("node %s with %q is %v, want %v", n.Node, value, n.State, want)
					}
					if (n.Err != nil) != (value == down) {
						t.Errorf("node %s with %q: error %v", n.Node, value, n.Err)
					}
				}
			})
		})
	}
}

// For a held lock, Inspect shows the holder's label, a fingerprint that is not the token, and the
// time for which a quorum holds the lock.
func TestInspectHolder(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		if r.bare {
			return
		}
		l := r.locker(WithOwner("host-7 pid 12"))
		lock := r.lock(l, "k")
		synctest.Wait()
		time.Sleep(time.Second)
		for _, m := range r.mem[:r.minority()] { // extends the lock on some nodes only
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
		if s.Fingerprint == proto.Fingerprint("other") || s.Nodes[0].Fingerprint != s.Fingerprint {
			t.Errorf("fingerprint %q", s.Fingerprint)
		}
	})
}

// Keys of other programs: one without expiry, one of another type, one without our label.
func TestInspectForeign(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker()
	r.mem[0].Set("ever", "f47ac10b58cc4372a5670e02b2c3d479", backend.NoExpiry)
	r.mem[0].Push("list", "x")
	s, err := l.Inspect(t.Context(), "ever")
	if err != nil || s.State != StateHeld || s.TTL != backend.NoExpiry || s.Owner != "" {
		t.Errorf("status %+v, %v", s, err)
	}
	if got, want := s.String(), `"ever" is held by #`+proto.Fingerprint("f47ac10b58cc4372a5670e02b2c3d479")+` for ever (a: held by #`+
		proto.Fingerprint("f47ac10b58cc4372a5670e02b2c3d479")+` for ever)`; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	if s, err := l.Inspect(t.Context(), "list"); err != nil || s.State != StateHeld {
		t.Errorf("a list: status %v, %v; want it held", s, err)
	}
	if s, err := l.Inspect(t.Context(), "free"); err != nil || s.String() != `"free" is free (a: free)` {
		t.Errorf("status %v, %v", s, err)
	}
}

// The node timeout and ctx bound the wait, even with a driver that respects neither. The answers
// that have arrived by then count.
func TestInspectHung(t *testing.T) {
	for _, hang := range []faulty.Fault{faulty.Hang(), faulty.Chain(faulty.IgnoreContext(), faulty.Delay(time.Second))} {
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
			r.setAll(hang)
			start = time.Now()
			s, err = l.Inspect(t.Context(), "k")
			took(t, start, 100*time.Millisecond, 100*time.Millisecond)
			if err != nil || s.State != StateUnknown || s.Waiting != NotKnown {
				t.Errorf("status %v, %v; want it unknown", s, err)
			}
		})
	}
}

// A node without the capability has an unknown state. That is not an error.
func TestInspectUnsupported(t *testing.T) {
	a, b, c := memory.New(), memory.New(), faulty.Bare(memory.New())
	l, err := New([]backend.Node{a, b, c})
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Inspect(t.Context(), "k")
	if err != nil || s.State != StateFree || s.Nodes[2].Node != "node 2" || !errors.Is(s.Nodes[2].Err, errors.ErrUnsupported) ||
		!strings.Contains(s.Nodes[2].Err.Error(), "the node runs no scripts") {
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

// Inspect shows the waiters in their order, and their number. After a release it shows the
// notified waiter, until that waiter acquires the lock.
func TestInspectWaiters(t *testing.T) {
	for _, size := range []int{1, 3, 5} {
		onRig(t, size, false, func(t *testing.T, r *rig) {
			lock := r.lock(r.locker(), "k")
			synctest.Wait() // until every node has answered
			var wg sync.WaitGroup
			labels := []string{"host-1", "", "host-3"}
			for _, label := range labels {
				l := r.locker(WithOwner(label))
				for range 2 { // one of them makes attempts, the other is not visible
					wg.Go(func() {
						lock, err := l.Lock(t.Context(), "k")
						if err == nil {
							time.Sleep(time.Second)
							err = lock.Unlock(t.Context())
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				time.Sleep(10 * time.Millisecond)
			}
			var nodes []backend.Node // without faults
			for _, m := range r.mem {
				nodes = append(nodes, m)
			}
			watcher, err := New(nodes)
			if err != nil {
				t.Fatal(err)
			}
			s, err := watcher.Inspect(t.Context(), "k")
			if err != nil || s.State != StateHeld || s.Waiting != len(labels) || len(s.Waiters) != len(labels) {
				t.Fatalf("status %+v, %v; want it held, and %d waiters", s, err, len(labels))
			}
			prints := make(map[string]bool)
			for i, w := range s.Waiters {
				if w.Owner != labels[i] {
					t.Errorf("waiter %d is %q, want %q", i, w.Owner, labels[i])
				}
				prints[w.Fingerprint] = true
				if want := time.Duration(len(labels)-i) * 10 * time.Millisecond; w.Waited != want {
					t.Errorf("waiter %d has waited for %v, want %v", i, w.Waited, want)
				}
			}
			if len(prints) != len(labels) {
				t.Errorf("the fingerprints of %v are not different", s.Waiters)
			}
			for _, n := range s.Nodes {
				if n.Waiting != len(labels) {
					t.Errorf("%d waiters on node %s, want %d", n.Waiting, n.Node, len(labels))
				}
			}

			r.setAll(faulty.On(faulty.Kind(backend.OpEval), faulty.Delay(10*time.Millisecond)))
			synctest.Wait()
			if err := lock.Unlock(t.Context()); err != nil { // arrives after 10 ms, and so do the notified waiters
				t.Fatal(err)
			}
			time.Sleep(5 * time.Millisecond)
			next, err := watcher.Inspect(t.Context(), "k")
			if err != nil || next.State != StateReserved || next.Owner != "host-1" || next.Fingerprint != s.Waiters[0].Fingerprint || next.Waiting != len(labels)-1 {
				t.Errorf("status %+v, %v; want it reserved for %v, and %d waiters", next, err, s.Waiters[0], len(labels)-1)
			}
			if next.TTL <= 0 || next.TTL > time.Second {
				t.Errorf("reserved for %v", next.TTL)
			}
			r.clear()
			wg.Wait()
			if s, err := watcher.Inspect(t.Context(), "k"); err != nil || s.State != StateFree || s.Waiting != 0 || len(s.Waiters) != 0 {
				t.Errorf("status %+v, %v; want it free, without waiters", s, err)
			}
		})
	}
}

// There are more waiters than Inspect shows.
func TestInspectManyWaiters(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k", WithTTL(time.Hour))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		const many = inspect.Most + 20
		for range many {
			l := r.locker(WithOwner("worker"))
			wg.Go(func() {
				if _, err := l.Lock(ctx, "k"); !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		s, err := l.Inspect(t.Context(), "k")
		if err != nil || s.Waiting != many || len(s.Waiters) != inspect.Most {
			t.Errorf("%d waiters, of which %d are shown, %v; want %d and %d", s.Waiting, len(s.Waiters), err, many, inspect.Most)
		}
		if text := s.String(); strings.Count(text, `"worker" #`) != inWords || !strings.Contains(text, fmt.Sprintf(" and %d more (a: held", many-inWords)) {
			t.Errorf("status %s", text)
		}
		cancel()
		wg.Wait()
	})
}

// Nodes that do not know the waiters cause no failure, and are left out of the count.
func TestInspectUnknownWaiters(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k")
		synctest.Wait()
		want := 0
		if r.bare {
			want = -1
		}
		check := func(key string, state State, want int) {
			t.Helper()
			s, err := l.Inspect(t.Context(), key)
			if err != nil || s.Waiting != want || s.Waiters != nil || !r.bare && s.State != state {
				t.Errorf("%q: status %+v, %v; want it %v, and %d waiters", key, s, err, state, want)
			}
			for _, n := range s.Nodes {
				if n.Waiting != want || !r.bare && n.Err != nil {
					t.Errorf("%q: node %+v, want %d waiters", key, n, want)
				}
			}
		}
		check("k", StateHeld, want)
		check("a}b", StateFree, -1) // a key without a queue
		for _, m := range r.mem {
			m.Push("list{list}:queue", "x")
		}
		check("list", StateFree, want)
		if r.bare {
			return
		}
		// This user may not access the queue's key, so only the lock is inspected.
		withQueue := func(op backend.Op) bool { return op.Kind == backend.OpEval && len(op.Keys) > 1 }
		for _, reply := range []string{"NOPERM this user has no permissions to access one of the keys", "TRYAGAIN Multiple keys request during rehashing of slot"} {
			r.setAll(faulty.On(withQueue, faulty.Refuse(backend.MarkReply(errors.New(reply)))))
			check("k", StateHeld, -1)
		}
	})
}

// The state of a node where this user may not run scripts is unknown.
func TestInspectWithoutScripts(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker()
		r.lock(l, "k")
		synctest.Wait()
		r.setAll(faulty.On(faulty.Kind(backend.OpEval), faulty.Refuse(backend.MarkReply(errors.New("NOPERM no scripts")))))
		s, err := l.Inspect(t.Context(), "k")
		if err != nil || s.State != StateUnknown || s.Waiting != -1 {
			t.Errorf("status %+v, %v; want it unknown", s, err)
		}
		for _, n := range s.Nodes {
			if n.State != StateUnknown || n.Err == nil || !strings.Contains(n.Err.Error(), "NOPERM no scripts") {
				t.Errorf("node %+v, want the server's error", n)
			}
		}
	})
}

// The texts for people.
func TestStatusString(t *testing.T) {
	down := errors.New("connection refused")
	for want, s := range map[string]Status{
		`"k" is free (a: free)`: {Key: "k", State: StateFree, Waiting: -1, Nodes: []NodeStatus{{Node: "a", State: StateFree, Waiting: -1}}},
		`"k" is held by "me" #0a for 2s, 2 waiting: "you" #0b for 1.5s, #0c (a: held by "me" #0a for 2s, 2 waiting; b: unknown: connection refused)`: {
			Key: "k", State: StateHeld, Owner: "me", Fingerprint: "0a", TTL: 2 * time.Second, Waiting: 2, Waiters: []Waiter{{"you", "0b", 1500 * time.Millisecond}, {"", "0c", -1}},
			Nodes: []NodeStatus{
				{Node: "a", State: StateHeld, Owner: "me", Fingerprint: "0a", TTL: 2 * time.Second, Waiting: 2},
				{Node: "b", Err: down, Waiting: -1},
			},
		},
		`"k" is free, 3 waiting (a: free, 3 waiting)`: {
			Key: "k", State: StateFree, Waiting: 3, Nodes: []NodeStatus{{Node: "a", State: StateFree, Waiting: 3}},
		},
		`"k" is free, 3 waiting: #1 for 0s and 2 more (a: free, 3 waiting)`: {
			Key: "k", State: StateFree, Waiting: 3, Waiters: []Waiter{{"", "1", 0}}, Nodes: []NodeStatus{{Node: "a", State: StateFree, Waiting: 3}},
		},
		`"k" is reserved for "you" #0b for 20ms (a: reserved for "you" #0b for 20ms)`: {
			Key: "k", State: StateReserved, Owner: "you", Fingerprint: "0b", TTL: 20 * time.Millisecond,
			Nodes: []NodeStatus{{Node: "a", State: StateReserved, Owner: "you", Fingerprint: "0b", TTL: 20 * time.Millisecond}},
		},
		`"k" is held by #0a for ever, 9 waiting: #1, #2, #3, #4, #5, #6, #7, #8 and 1 more (a: held by #0a for ever, 9 waiting)`: {
			Key: "k", State: StateHeld, Fingerprint: "0a", TTL: backend.NoExpiry, Waiting: 9,
			Waiters: []Waiter{{"", "1", -1}, {"", "2", -1}, {"", "3", -1}, {"", "4", -1}, {"", "5", -1}, {"", "6", -1}, {"", "7", -1}, {"", "8", -1}, {"", "9", -1}},
			Nodes:   []NodeStatus{{Node: "a", State: StateHeld, Fingerprint: "0a", TTL: backend.NoExpiry, Waiting: 9}},
		},
	} {
		if got := s.String(); got != want {
			t.Errorf("status\n%s, want\n%s", got, want)
		}
	}
}

// Inspect changes nothing.
func TestInspectReadsOnly(t *testing.T) {
	r := newRig(t, 1, false)
	l := r.locker()
	if _, err := l.Inspect(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	for _, op := range r.fault[0].Arrived() {
		if op.Kind != backend.OpEval || op.Script != lua.Inspect {
			t.Errorf("Inspect called %v", op.Kind)
		}
	}
	if n := r.calls(); n != 1 {
		t.Errorf("Inspect made %d calls, want one for the lock and its queue", n)
	}
	r.empty()
}

// The states have the same numbers as those of package inspect, which newStatus converts.
func TestStatesAreThose(t *testing.T) {
	for want, state := range map[State]inspect.State{
		StateUnknown: inspect.Unknown, StateFree: inspect.Free, StateHeld: inspect.Held,
		StateReserved: inspect.Reserved, StateSplit: inspect.Split, StateShared: inspect.Shared,
	} {
		if State(state) != want {
			t.Errorf("inspect's state %d is %v, want %v", state, State(state), want)
		}
	}
	if NotKnown != proto.NotKnown {
		t.Error("a number that is not known is another one in package proto")
	}
}
