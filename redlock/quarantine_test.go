package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

const quarantine = DefaultTTL + quarantineSlack

// wipe makes a node restart without its data.
func (r *rig) wipe(i int) {
	r.mem[i].Flush()
	r.mem[i].Restart()
}

func TestQuarantineArguments(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		for _, d := range []time.Duration{-1, 0, time.Second, quarantine - time.Millisecond} {
			if _, err := New(r.nodes, WithQuarantine(d)); err == nil || !strings.Contains(err.Error(), "redlock: a quarantine of "+d.String()) {
				t.Errorf("a quarantine of %v: %v", d, err)
			}
		}
		l := r.locker(WithQuarantine(quarantine))
		if _, err := l.EndQuarantine(t.Context()); err != nil {
			t.Fatal(err)
		}
		lock := r.lock(l, "k")
		const tooLong = DefaultTTL + time.Millisecond
		names := func(what string, err error) {
			t.Helper()
			if err == nil || !strings.Contains(err.Error(), quarantine.String()) || !strings.Contains(err.Error(), tooLong.String()) {
				t.Errorf("%s with a TTL that is too long: %v, want both named", what, err)
			}
			differs(t, err, ErrUnavailable, ErrNotHeld)
		}
		before := r.calls()
		names("Extend", lock.Extend(t.Context(), tooLong))
		_, err := l.Lock(t.Context(), "k", WithTTL(tooLong))
		names("Lock", err)
		_, err = l.TryLock(t.Context(), "k", WithTTL(tooLong))
		names("TryLock", err)
		_, err = l.Resume(t.Context(), lock.Handover(), WithTTL(tooLong))
		names("Resume", err)
		_, err = New(r.nodes, WithQuarantine(quarantine), WithTTL(tooLong))
		names("New", err)
		if _, err := l.Lock(t.Context(), "redlock:marker"); err == nil || !strings.Contains(err.Error(), "markers") {
			t.Errorf("a lock with the key of the marker: %v", err)
		}
		if n := r.calls(); n != before {
			t.Errorf("%d calls were made", n-before)
		}
		if err := lock.Extend(t.Context(), DefaultTTL); err != nil {
			t.Error(err)
		}
	})
}

// partitioned is a node that consists of several servers.
type partitioned struct{ *faulty.FaultNode }

func (partitioned) Partition(key string) (part, parts int) { return adapterkit.ClusterPartition(key) }

func TestQuarantineNodes(t *testing.T) {
	onRig(t, 3, true, func(t *testing.T, r *rig) {
		for what, node := range map[string]backend.Node{"does not run scripts": r.nodes[0], "is a cluster": partitioned{r.fault[0]}} {
			nodes := []backend.Node{r.fault[1], r.fault[2], node}
			if _, err := New(nodes, WithQuarantine(quarantine)); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), what) {
				t.Errorf("New with a node that %s: %v", what, err)
			}
			l, err := New(nodes)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.EndQuarantine(t.Context()); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), what) {
				t.Errorf("EndQuarantine with a node that %s: %v", what, err)
			}
		}
		if n := r.calls(); n != 0 {
			t.Errorf("%d calls were made", n)
		}
	})
}

// New nodes are in quarantine, and report for how long. The quarantine ends by itself.
func TestQuarantineOfNewNodes(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		for _, fencing := range []bool{false, true} {
			t.Run(fmt.Sprint(n, " ", fencing), func(t *testing.T) {
				onRig(t, n, false, func(t *testing.T, r *rig) {
					// Without a network the first nodes may have answered before the last
					// one was asked, and what no longer matters is not sent.
					r.setAll(faulty.Delay(time.Millisecond))
					opts := []Option{WithQuarantine(quarantine), WithKeyPrefix("p:")}
					if fencing {
						opts = append(opts, WithFencing())
					}
					l := r.locker(opts...)
					start := time.Now()
					_, err := l.TryLock(t.Context(), "k")
					matches(t, err, ErrUnavailable)
					if text := err.Error(); !strings.Contains(text, ": quarantined: QUARANTINE for another 11000 ms") {
						t.Errorf("the error is %q", text)
					}
					for _, node := range err.(*QuorumError).Last() {
						if want := map[Outcome]time.Duration{Quarantined: quarantine}[node.Outcome]; node.Quarantine != want {
							t.Errorf("a node that is %v is in quarantine for another %v, want %v", node.Outcome, node.Quarantine, want)
						}
					}
					const patient = DefaultTTL + time.Second - time.Millisecond // longer than with nodes that fail
					ctx, cancel := context.WithTimeout(t.Context(), patient)
					defer cancel()
					began := time.Now()
					_, err = l.Lock(ctx, "k")
					matches(t, err, ErrUnavailable, context.DeadlineExceeded)
					took(t, began, patient, patient)
					var e *QuorumError
					if !errors.As(err, &e) || e.Rounds[len(e.Rounds)-1].Count(Quarantined) < r.need() {
						t.Errorf("the last round of %v", err)
					}
					lock, err := l.Lock(t.Context(), "k")
					if err != nil {
						t.Fatal(err)
					}
					took(t, start, quarantine, quarantine+500*time.Millisecond)
					if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
					if err := l.Close(t.Context()); err != nil {
						t.Error(err)
					}
					counter := "p:k{p:k}:fence"
					for i, m := range r.mem {
						keys := slices.DeleteFunc(m.Keys(), func(key string) bool { return fencing && key == counter })
						if !slices.Equal(keys, []string{"p:redlock:marker"}) {
							t.Errorf("node %d holds %q, want its marker", i, keys)
						}
					}
				})
			})
		}
	}
}

func TestEndQuarantine(t *testing.T) {
	onRig(t, 3, false, func(t *testing.T, r *rig) {
		l := r.locker(WithQuarantine(quarantine))
		r.set(1, 2, faulty.Refuse(nil))
		report, err := l.EndQuarantine(t.Context())
		matches(t, err, ErrUnavailable)
		var e *QuorumError
		if want := `redlock: end quarantine "redlock:marker": unavailable: 2 of 3 nodes, need 3 (a: granted; b: failed: `; !errors.As(err, &e) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("with a node down: %v, want %s", err, want)
		} else if len(e.Rounds) != 1 || e.Rounds[0].String() != report.String() {
			t.Errorf("the error has %v, returned was %v", e.Rounds, report)
		}
		if report.Count(Granted) != 2 || report[1].Outcome != Failed || report[1].Err == nil {
			t.Errorf("the report is %v", report)
		}
		lock := r.lock(l, "k") // the other two nodes grant it
		if n := r.holders("k", ""); n != 2 {
			t.Errorf("%d nodes hold the lock, want two", n)
		}
		lock.Unlock(t.Context())
		r.clear()
		// A Locker without a quarantine can end it for others.
		if report, err := r.locker().EndQuarantine(t.Context()); err != nil || report.Count(Granted) != 3 {
			t.Errorf("%v, %v", report, err)
		}
		// A ctx that ends bounds the call, and its error is returned.
		r.set(2, 3, faulty.Hang())
		short, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		start := time.Now()
		report, err = l.EndQuarantine(short)
		took(t, start, time.Second, time.Second)
		matches(t, err, ErrUnavailable, context.DeadlineExceeded)
		if report[2].Outcome != TimedOut || report[2].Latency != time.Second {
			t.Errorf("the report is %v", report)
		}
		r.clear()
		lock = r.lock(l, "k")
		time.Sleep(time.Millisecond)
		if n := r.holders("k", ""); n != 3 {
			t.Errorf("%d nodes hold the lock, want three", n)
		}
		lock.Unlock(t.Context())

		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("enough")
		cancel(cause)
		_, err = l.EndQuarantine(ctx)
		matches(t, err, context.Canceled, cause)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		_, err = l.EndQuarantine(t.Context())
		matches(t, err, ErrClosed)
		_, err = new(Locker).EndQuarantine(t.Context())
		matches(t, err, errZero)
	})
}

// A holds two of three nodes. One of these restarts without its data, and only that node and the
// third can be reached. B must not get the lock before A's lock has ended. Without a quarantine
// it does.
func TestQuarantineExcludes(t *testing.T) {
	for _, fencing := range []bool{false, true} {
		for _, d := range []time.Duration{0, quarantine} {
			t.Run(fmt.Sprint(fencing, " ", d), func(t *testing.T) {
				onRig(t, 3, false, func(t *testing.T, r *rig) {
					var opts []Option
					if d > 0 {
						opts = append(opts, WithQuarantine(d))
					}
					if fencing {
						opts = append(opts, WithFencing())
					}
					a, b := r.locker(opts...), r.locker(opts...)
					if _, err := a.EndQuarantine(t.Context()); err != nil {
						t.Fatal(err)
					}
					r.set(2, 3, faulty.Refuse(nil))
					first := r.lock(a, "k")
					time.Sleep(time.Second)
					if err := first.Extend(t.Context(), DefaultTTL); err != nil {
						t.Fatal(err)
					}
					synctest.Wait() // the third node is asked for the lock again, and rejects it
					r.clear()
					r.wipe(1)
					r.set(0, 1, faulty.Refuse(nil))
					_, err := b.TryLock(t.Context(), "k")
					if d == 0 {
						if err != nil || first.Err() != nil {
							t.Errorf("without a quarantine, B got %v, and A %v; want two holders, so that the test proves something", err, first.Err())
						}
						return
					}
					matches(t, err, ErrUnavailable)
					second, err := b.Lock(t.Context(), "k", WithRetry(Fixed(50*time.Millisecond)))
					if err != nil {
						t.Fatal(err)
					}
					if first.Err() == nil {
						t.Error("both hold the lock")
					}
					if fencing && second.Fence() <= first.Fence() {
						t.Errorf("the second has the token %d, the first %d", second.Fence(), first.Fence())
					}
				})
			})
		}
	}
}
