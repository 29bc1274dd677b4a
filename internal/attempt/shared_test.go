package attempt

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// share makes an attempt to read.
func (ns *Nodes) share(key, token string) (*Attempt, round.Result) {
	a := New(ns, key, token)
	a.Share()
	return a, a.Acquire(context.Background(), ttl, timeout)
}

func (w *world) mustShare(key string) *Attempt {
	w.t.Helper()
	a, res := w.group.share(key, w.token())
	if res.Verdict != round.Won {
		w.t.Fatalf("share: %v", res)
	}
	synctest.Wait() // a node beyond the quorum may still have to grant it
	return a
}

// readers returns how many nodes let token read key.
func (w *world) readers(key, token string) int {
	name, _ := proto.ReadersKey(key)
	n := 0
	for i, m := range w.mem {
		r, err := m.Eval(context.Background(), lua.Inspect, []string{key, name}, []string{"1000"})
		if err != nil {
			w.t.Fatal(err)
		}
		if w.value(i, key) == proto.SharedValue && slices.Contains(r, any(token)) {
			n++
		}
	}
	return n
}

// inSharingWorld is inWorld for nodes that can share.
func inSharingWorld(t *testing.T, n int, f func(t *testing.T, w *world)) {
	t.Helper()
	for _, m := range []nodeMake{full, scripted} {
		t.Run(string(m), func(t *testing.T) { inWorldOf(t, n, m, f) })
	}
}

// Readers hold a lock together, and nobody holds it beside them.
func TestShare(t *testing.T) {
	for _, n := range []int{1, 3} {
		inSharingWorld(t, n, func(t *testing.T, w *world) {
			first, second := w.mustShare("k"), w.mustShare("k")
			for _, a := range []*Attempt{first, second} {
				if got := w.readers("k", a.Token()); got != n {
					t.Errorf("%d of %d nodes let %s read", got, n, a.Token())
				}
			}
			if _, res := w.acquire("k"); res.Verdict != round.Lost {
				t.Errorf("a writer beside readers: %v, want lost", res)
			}
			if res := first.extend(); res.Verdict != round.Won {
				t.Errorf("an extension beside another reader: %v", res)
			}
			if res := first.release(); res.Verdict != round.Won {
				t.Errorf("a release beside another reader: %v", res)
			}
			if _, res := w.acquire("k"); res.Verdict != round.Lost {
				t.Errorf("a writer beside the other reader: %v, want lost", res)
			}
			if res := first.release(); res.Verdict != round.Gone {
				t.Errorf("a second release: %v, want gone", res)
			}
			if res := second.release(); res.Verdict != round.Won {
				t.Errorf("the release of the last reader: %v", res)
			}
			synctest.Wait()
			w.empty()
			writer := w.mustAcquire("k")
			synctest.Wait()
			if _, res := w.group.share("k", w.token()); res.Verdict != round.Lost {
				t.Errorf("a reader beside a writer: %v, want lost", res)
			}
			writer.release()
			synctest.Wait()
			w.empty()
		})
	}
}

// In exclusive mode, the operations are what they were without readers.
func TestExclusiveSendsNothingShared(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		w.warm()
		a := w.mustAcquire("k")
		a.extend()
		a.release()
		synctest.Wait()
		if got := w.arrived(0); !slices.Equal(got, []string{"set", "extend", "delete"}) {
			t.Errorf("a lock sends %q", got)
		}
	})
}

// A holder becomes a reader. A node that the downgrade does not reach follows with the next
// extension, and a release finds the token in either mode.
func TestDowngrade(t *testing.T) {
	for _, extends := range []bool{true, false} {
		inSharingWorld(t, 3, func(t *testing.T, w *world) {
			w.warm()
			a := w.mustAcquire("k")
			synctest.Wait()
			w.fault[2].Set(broken)
			if res := a.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Won || !a.Shared() {
				t.Fatalf("downgrade: %v", res)
			}
			synctest.Wait()
			w.fault[2].Clear()
			if got := w.readers("k", a.Token()); got != 2 || w.holders("k", a.Token()) != 1 {
				t.Errorf("%d nodes let it read, and %d are its own; want 2 and 1", got, w.holders("k", a.Token()))
			}
			other := w.mustShare("k")
			if got := w.readers("k", other.Token()); got != 2 {
				t.Errorf("%d nodes let another read, want 2", got)
			}
			if extends {
				time.Sleep(time.Second) // the node answers again
				if res := a.extend(); res.Verdict != round.Won {
					t.Errorf("extend: %v", res)
				}
				synctest.Wait()
				if got := w.readers("k", a.Token()); got != 3 {
					t.Errorf("after an extension %d nodes let it read, want 3", got)
				}
			}
			other.release()
			if res := a.release(); res.Verdict != round.Won {
				t.Errorf("release: %v", res)
			}
			w.cleaned(ttl)
			w.empty()
		})
	}
}

// A downgrade that too few nodes answer makes a reader all the same. One that comes after the
// release changes nothing.
func TestDowngradeFails(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		a := w.mustAcquire("k")
		synctest.Wait()
		for _, f := range w.fault {
			f.Set(faulty.LoseReply(nil))
		}
		if res := a.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Unavailable || !a.Shared() {
			t.Fatalf("downgrade: %v, shared: %v; want unavailable, and shared", res, a.Shared())
		}
		synctest.Wait()
		for _, f := range w.fault {
			f.Clear()
		}
		time.Sleep(time.Second)
		other := w.mustShare("k")
		if res := a.extend(); res.Verdict != round.Won {
			t.Errorf("extend: %v", res)
		}
		other.release()
		a.release()
		synctest.Wait()
		w.empty()
		b := w.mustAcquire("k")
		synctest.Wait()
		b.release()
		if res := b.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Gone || b.Shared() {
			t.Errorf("downgrade after the release: %v, shared: %v", res, b.Shared())
		}
	})
}

// A reader has no fencing token, and nothing that belongs to one is sent for it.
func TestDowngradeWithFencing(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		f, err := w.group.Fencing("k")
		if err != nil {
			t.Fatal(err)
		}
		a, res := w.group.acquire(context.Background(), f, "k", w.token(), ttl, timeout)
		synctest.Wait()
		if res.Verdict != round.Won || a.Fence() == 0 {
			t.Fatalf("acquire: %v, with the token %d", res, a.Fence())
		}
		if res := a.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Won || a.Fence() != 0 {
			t.Errorf("downgrade: %v, with the token %d, want 0", res, a.Fence())
		}
		other := w.mustShare("k")
		a.extend()
		a.release()
		other.release()
		synctest.Wait()
		if got := testnodes.Counters(w.mem, "k"); slices.Contains(got, 0) {
			t.Errorf("the counters are at %d", got)
		}
		for i := range w.mem {
			if w.value(i, "k") != "" {
				t.Errorf("node %d has %q", i, w.value(i, "k"))
			}
		}
	})
}

// A reader that has lost beside other readers notifies when it takes its grants back, however
// few they are: a writer may have taken them all for one owner.
func TestReaderNotifiesWhenItLoses(t *testing.T) {
	for _, notify := range []bool{true, false} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			ctx := t.Context()
			stop, cancel := context.WithCancel(ctx)
			defer cancel()
			for i := range w.mem {
				go w.mem[i].Subscribe(stop, "writer", backend.Events{Ready: func() {}, Message: func(string) {}})
			}
			synctest.Wait()
			// Others read nodes 1 and 2, and a writer waits on all.
			keys := []string{"k", "k{k}:queue", "k{k}:readers"}
			for i, m := range w.mem {
				if i > 0 {
					m.Eval(ctx, lua.AcquireShared, keys, []string{"other", "10000"})
					m.Eval(ctx, lua.Acquire, keys[:2], []string{"w", "10000", "20:writer", "5000"})
				}
			}
			a := New(w.group, "k", w.token())
			a.Share()
			res, _ := a.Compete(ctx, noNotices{}, nil, ttl, timeout)
			if res.Verdict == round.Won || res.Votes[0].Outcome != round.Granted {
				t.Fatalf("the reader's attempt: %v", res)
			}
			w.mem[0].Eval(ctx, lua.Acquire, keys[:2], []string{"w", "10000", "20:writer", "5000"})
			st := a.TakeBack(res.Votes, notify, nil)
			synctest.Wait()
			want := ""
			if notify {
				want = "~20:writer"
			}
			if got := w.value(0, "k"); got != want || !st.Crowded {
				t.Errorf("with notifications %v, node 0 has %q after the rollback, want %q; crowded: %v", notify, got, want, st.Crowded)
			}
			cancel()
			synctest.Wait()
		})
	}
}

type noNotices struct{}

func (noNotices) Clear(int)             {}
func (noNotices) Notified() []bool      { return nil }
func (noNotices) Wake() <-chan struct{} { return nil }

// A reader has no fallback where a node does not let it use the set: no plain command may
// take the lock for it, and its deletion is repeated.
func TestShareIsRefused(t *testing.T) {
	inSharingWorld(t, 1, func(t *testing.T, w *world) {
		noperm := faulty.Refuse(backend.MarkReply(errors.New("NOPERM No permissions to access a key")))
		w.fault[0].Set(faulty.On(testnodes.Running(lua.AcquireShared), noperm))
		_, res := w.group.share("k", w.token())
		if res.Verdict != round.Unavailable || !res.Permanent(1) || !strings.Contains(res.Votes[0].Err.Error(), `"k{k}:readers"`) {
			t.Errorf("acquire: %v, %v", res, res.Votes[0].Err)
		}
		if got := w.arrived(0); slices.Contains(got, "set") {
			t.Errorf("after a refusal arrived %q", got)
		}
		w.fault[0].Clear()
		a := w.mustShare("k")
		w.fault[0].Set(faulty.On(testnodes.Running(lua.ReleaseShared), noperm))
		if res := a.release(); res.Verdict != round.Unavailable {
			t.Errorf("a release that is refused: %v, want unavailable", res)
		}
		if got := w.readers("k", a.Token()); got != 1 {
			t.Errorf("%d nodes let it read, want 1", got)
		}
		w.fault[0].Clear()
		time.Sleep(refusedRepeat + time.Second)
		w.empty()
	})
}

// Whatever happens to an acquire to read, its share is deleted, and a repeated request counts
// once.
func TestShareAfterLosses(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{
		"lost request": faulty.LoseRequest(nil), "lost reply": faulty.LoseReply(nil), "late": lateAfterBreak(2 * time.Second),
		"doubled": faulty.Duplicate(2 * time.Second),
	} {
		t.Run(name, func(t *testing.T) {
			inSharingWorld(t, 3, func(t *testing.T, w *world) {
				for _, f := range w.fault {
					f.Set(faulty.On(testnodes.Running(lua.AcquireShared), fault))
				}
				a, res := w.group.share("k", w.token())
				for _, f := range w.fault {
					f.Clear()
				}
				if res.Verdict == round.Won {
					a.release()
				}
				w.cleaned(3 * ttl)
				if name != "doubled" { // which leaves a key for one TTL, as with an exclusive lock
					w.empty()
				}
				time.Sleep(2*time.Second + ttl)
				w.empty()
			})
		})
	}
}

// A node that has lost a share gets it back after an extension.
func TestShareRejoins(t *testing.T) {
	inSharingWorld(t, 3, func(t *testing.T, w *world) {
		a := w.mustShare("k")
		w.mem[1].Flush()
		for range 2 {
			if res := a.extend(); res.Verdict != round.Won {
				t.Errorf("extend: %v", res)
			}
			synctest.Wait()
		}
		if got := w.readers("k", a.Token()); got != 3 {
			t.Errorf("%d nodes let it read, want 3", got)
		}
		a.release()
		synctest.Wait()
		w.empty()
	})
}

// While a slot is migrating, operations in shared mode are sent again.
func TestShareMigrates(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		tryAgain := faulty.Refuse(backend.MarkReply(errors.New("TRYAGAIN Multiple keys request during rehashing of slot")))
		for _, tc := range []struct {
			script *backend.Script
			does   func(a *Attempt) round.Result
		}{
			{lua.AcquireShared, func(a *Attempt) round.Result { return a.Acquire(context.Background(), ttl, timeout) }},
			{lua.ExtendShared, (*Attempt).extend},
			{lua.ReleaseShared, (*Attempt).release},
		} {
			a := New(w.group, "k", w.token())
			a.Share()
			if tc.script != lua.AcquireShared {
				a.Acquire(context.Background(), ttl, timeout)
			}
			w.fault[0].Set(faulty.On(testnodes.Running(tc.script), tryAgain))
			time.AfterFunc(50*time.Millisecond, w.fault[0].Clear)
			if res := tc.does(a); res.Verdict != round.Won {
				t.Errorf("%s: %v", tc.script.Name(), res)
			}
			a.release()
			w.cleaned(ttl)
			w.empty()
		}
	})
}

// Nodes without scripts, and keys without a hash tag, have no shared locks.
func TestCanShare(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		if err := w.group.CanShare("k"); err != nil {
			t.Error(err)
		}
		if err := w.group.CanShare("a}b"); err == nil {
			t.Error("a key without a set of readers can be shared")
		}
		if err := w.process(bare).CanShare("k"); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("nodes without scripts: %v", err)
		}
	})
}

// A share takes part in the quarantine: a node that may have lost a writer's lock lets nobody
// read.
func TestShareInQuarantine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1, full)
		g, err := NewNodes([]backend.Node{w.fault[0]}, Config{Quarantine: time.Minute, Marker: "marker"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, res := g.share("k", "a"); res.Verdict != round.Unavailable || res.Votes[0].Outcome != round.Quarantined {
			t.Errorf("a share in the quarantine: %v, want quarantined", res)
		}
		time.Sleep(time.Minute + time.Second)
		a, res := g.share("k", "b")
		if res.Verdict != round.Won {
			t.Errorf("a share after the quarantine: %v", res)
		}
		a.release()
	})
}
