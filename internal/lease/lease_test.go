package lease

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/round"
)

var (
	errReleased = errors.New("released")
	errClosed   = errors.New("closed")
	errExpired  = errors.New("expired")
)

// A world is one node with a Keeper.
type world struct {
	t      *testing.T
	node   *memory.Node
	nodes  *attempt.Nodes
	keeper *Keeper
	rules  Rules
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, node: memory.New(),
		rules:  Rules{Drift: 0.01, NodeTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)},
		keeper: &Keeper{Clock: new(clock.Clock), Released: errReleased, Closed: errClosed},
	}
	var err error
	if w.nodes, err = attempt.NewNodes([]backend.Node{w.node}, attempt.Config{}, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// An owned is a lease with its first handle and its owner, which counts what it is told.
type owned struct {
	Lease
	handle  Handle
	failing error // of each extension

	told    sync.Mutex // guards the rest
	renewed int
	lost    []error
	shut    int
}

// heard returns what the owner was told so far.
func (o *owned) heard() (renewed int, lost []error, shut int) {
	o.told.Lock()
	defer o.told.Unlock()
	return o.renewed, o.lost, o.shut
}

func (o *owned) Renew(ttl time.Duration) (Renewal, bool) {
	if o.Err() != nil {
		return nil, false
	}
	return &renewal{o, o.keeper.Clock.Now().Add(ttl - o.rules.DriftOf(ttl))}, true
}

func (o *owned) Expired(_ time.Time, failure error) error {
	return fmt.Errorf("%w: %w", errExpired, errors.Join(failure))
}

func (o *owned) Lost(_ time.Duration, cause error) {
	o.told.Lock()
	defer o.told.Unlock()
	o.lost = append(o.lost, cause)
}

func (o *owned) ShutDown(context.Context) {
	o.told.Lock()
	defer o.told.Unlock()
	o.shut++
}

type renewal struct {
	o     *owned
	until clock.Instant
}

func (n *renewal) End(res round.Result) error {
	n.o.told.Lock()
	n.o.renewed++
	n.o.told.Unlock()
	if n.o.failing != nil {
		n.o.Unextended(n.o.failing)
		return n.o.failing
	}
	if res.Verdict == round.Won {
		n.o.Extended(n.until, res.Votes)
		return n.o.Err()
	}
	return errors.New("not extended")
}

// begin acquires key and returns its lease, or nil if the Keeper is shut down.
func (w *world) begin(key string, ttl, least time.Duration) *owned {
	w.t.Helper()
	now := w.keeper.Clock.Now()
	a := attempt.New(w.nodes, key, "token-"+key)
	if res := a.Acquire(context.Background(), ttl, time.Second); res.Verdict != round.Won {
		w.t.Fatalf("not acquired: %v", res.Verdict)
	}
	terms := Terms{Attempt: a, Since: now, Until: now.Add(ttl - w.rules.DriftOf(ttl))}
	if least > 0 {
		terms.Least = mono.Of(now.Time()).Add(least)
	}
	o := new(owned)
	if !w.keeper.Begin(&o.Lease, &o.handle, o, &w.rules, terms) {
		return nil
	}
	return o
}

// release unlocks the only handle.
func (w *world) release(o *owned) {
	w.t.Helper()
	if _, begun := o.handle.BeginUnlock(); begun {
		w.t.Error("an unlock has begun already")
	}
	last, lost, err := o.handle.Leave(w.keeper.Clock.Now())
	if !last || err != nil {
		w.t.Errorf("the last handle left: %v, %v", last, err)
	}
	if lost != nil {
		lost()
	}
	if !o.Park() {
		o.Attempt().Release(context.Background(), time.Second)
	}
	o.handle.EndUnlock(nil)
}

// Each timer runs only as long as something needs it.
func TestTimersEnd(t *testing.T) {
	for _, tc := range []struct {
		name   string
		begin  func(*owned)
		counts Counts // while it is held
	}{
		{"nobody watches", func(*owned) {}, Counts{Listed: 1}},
		{"a context", func(o *owned) { o.handle.Bind(new(Context), context.Background()) }, Counts{Listed: 1, Watched: 1, Watching: true}},
		{"extensions", func(o *owned) { o.StartExtending(time.Minute, 0) }, Counts{Listed: 1, Watched: 1, Watching: true, Scheduled: 1}},
		{"extensions meanwhile", func(o *owned) { o.ExtendMeanwhile(time.Minute)() }, Counts{Listed: 1, Watched: 1, Watching: true}},
	} {
		ends := map[string]func(*world, *owned){
			"a release": (*world).release,
			"a loss":    func(_ *world, o *owned) { o.End(errExpired) },
			"the end of the validity": func(_ *world, o *owned) {
				time.Sleep(time.Minute)
				_ = o.Err()
			},
			"Shutdown": func(w *world, _ *owned) {
				if err := w.keeper.Shutdown(context.Background()); err != nil {
					t.Error(err)
				}
			},
		}
		for end, f := range ends {
			t.Run(tc.name+", "+end, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					o := w.begin("k", time.Minute, 0)
					o.failing = errExpired
					tc.begin(o)
					if got := w.keeper.Count(); got != tc.counts {
						t.Errorf("while it is held: %+v, want %+v", got, tc.counts)
					}
					f(w, o)
					if got := w.keeper.Count(); got != (Counts{}) {
						t.Errorf("after its end: %+v", got)
					}
					for _, timer := range []*time.Timer{o.expiry, w.keeper.extender.timer} {
						if timer != nil && timer.Stop() {
							t.Error("a timer runs after its end")
						}
					}
				})
			})
		}
	}
}

// The owner learns how the lease ended, once.
func TestOwnerLearnsOfTheEnd(t *testing.T) {
	failure := errors.New("no quorum")
	for _, tc := range []struct {
		name string
		end  func(*world, *owned)
		err  []error // that Err matches
		lost bool
		shut int
	}{
		{"unlocked", (*world).release, []error{errReleased}, false, 0},
		{"lost", func(_ *world, o *owned) { o.End(failure); o.End(errReleased) }, []error{failure}, true, 0},
		{"expired", func(_ *world, _ *owned) { time.Sleep(time.Minute) }, []error{errExpired}, true, 0},
		{"not extended", func(_ *world, o *owned) {
			o.failing = failure
			o.StartExtending(time.Minute, 0)
			time.Sleep(time.Minute)
		}, []error{errExpired, failure}, true, 0},
		{"shut down", func(w *world, _ *owned) { _ = w.keeper.Shutdown(context.Background()) }, []error{errClosed}, false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				o := w.begin("k", time.Minute, 0)
				ctx := new(Context)
				o.handle.Bind(ctx, context.Background())
				tc.end(w, o)
				for _, want := range tc.err {
					if err := o.handle.Err(); !errors.Is(err, want) {
						t.Errorf("Err is %v, want one that matches %v", err, want)
					}
					if cause := context.Cause(ctx); !errors.Is(cause, want) {
						t.Errorf("the context ended with %v, want %v", cause, want)
					}
				}
				_, lost, shut := o.heard()
				if (len(lost) == 1) != tc.lost || len(lost) > 1 || (o.Lease.Lost() != nil) != tc.lost || o.Released() == tc.lost {
					t.Errorf("told of the losses %v; Lost is %v, Released %v", lost, o.Lease.Lost(), o.Released())
				}
				if shut != tc.shut {
					t.Errorf("told of %d Shutdowns, want %d", shut, tc.shut)
				}
			})
		})
	}
}

// A lease extends itself until its longest hold is over, and not after its release.
func TestExtends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		limited, free := w.begin("limited", 6*time.Second, 0), w.begin("free", 6*time.Second, 0)
		limited.StartExtending(6*time.Second, 30*time.Second)
		free.KeepExtending(6*time.Second, 0)
		free.KeepExtending(6*time.Second, 0) // changes nothing
		if limited.ExtendsForever() || !free.ExtendsForever() {
			t.Error("which lease extends itself without a limit?")
		}
		time.Sleep(time.Minute)
		if err := limited.Err(); !errors.Is(err, errExpired) {
			t.Errorf("after its longest hold: %v", err)
		}
		n, _, _ := free.heard()
		if free.Err() != nil || n < 30 || n > 34 {
			t.Errorf("%d extensions in a minute, and %v", n, free.Err())
		}
		w.release(free)
		n, _, _ = free.heard()
		time.Sleep(time.Minute)
		if after, _, _ := free.heard(); after != n {
			t.Error("it was extended after its release")
		}
	})
}

// A parked lease stays on the node until its minimum hold is over, or its TTL if the Keeper is
// closed or shut down before that.
func TestParks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.release(w.begin("k", time.Minute, 10*time.Second))
		time.Sleep(9 * time.Second)
		if len(w.node.Keys()) == 0 {
			t.Error("it was deleted before the end of its minimum hold")
		}
		time.Sleep(2 * time.Second)
		if keys := w.node.Keys(); len(keys) != 0 {
			t.Errorf("on the node after its minimum hold: %q", keys)
		}
		w.release(w.begin("k", time.Minute, 10*time.Second))
		w.keeper.Close()
		time.Sleep(50 * time.Second)
		if len(w.node.Keys()) == 0 {
			t.Error("it was deleted although the Keeper is closed")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.begin("held", time.Minute, 10*time.Second)
		w.release(w.begin("parked", time.Minute, 10*time.Second))
		if err := w.keeper.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Second)
		if n := len(w.node.Keys()); n != 2 {
			t.Errorf("%d locks are left to expire after a Shutdown, want both", n)
		}
	})
}

// Shutdown waits for functions that run under leases, or until its ctx ends. No lease begins
// afterwards.
func TestShutdownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		o := w.begin("k", time.Minute, 0)
		ctx := new(Context)
		o.handle.Bind(ctx, context.Background())
		if !w.keeper.Enter(&o.Lease) {
			t.Fatal("no function may run")
		}
		impatient, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := w.keeper.Shutdown(impatient); err != context.DeadlineExceeded || w.keeper.Running() != 1 {
			t.Errorf("Shutdown: %v, with %d functions", err, w.keeper.Running())
		}
		if o.Err() != nil || context.Cause(ctx) != errClosed {
			t.Errorf("the lease of the function: %v; its context: %v", o.Err(), context.Cause(ctx))
		}
		time.AfterFunc(time.Second, func() {
			w.release(o)
			w.keeper.Leave(&o.Lease)
		})
		if err := w.keeper.Shutdown(context.Background()); err != nil || w.keeper.Running() != 0 {
			t.Errorf("Shutdown: %v, with %d functions", err, w.keeper.Running())
		}
		if w.keeper.Enter() || w.begin("other", time.Minute, 0) != nil {
			t.Error("something began after a Shutdown")
		}
	})
}

// The register is a list that stays whole whichever lease leaves it.
func TestRegister(t *testing.T) {
	for out := range 3 {
		t.Run(fmt.Sprint(out), func(t *testing.T) {
			var h register
			leases := make([]*Lease, 3)
			for i := range leases {
				leases[i] = new(Lease)
				h.add(leases[i])
			}
			h.remove(leases[out])
			h.remove(leases[out]) // changes nothing
			n := 0
			for l := h.first; l != nil; l = l.entry.next {
				if l == leases[out] {
					t.Error("it is still listed")
				}
				n++
			}
			if n != 2 || h.size != 2 {
				t.Errorf("%d leases in the list, and a size of %d, want 2", n, h.size)
			}
			for _, l := range leases {
				h.remove(l)
			}
			if h.first != nil || h.size != 0 {
				t.Errorf("an empty list has a size of %d", h.size)
			}
		})
	}
}
