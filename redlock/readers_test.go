package redlock

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/proto"
)

// Readers that have died do not hide those that read, once somebody else reads. Until then,
// Break says that it has not searched all of them.
func TestDeadReaders(t *testing.T) {
	eachSharingRig(t, func(t *testing.T, r *rig) {
		l := r.locker()
		lasting := r.rlock(l, "k", WithTTL(time.Hour))
		print := proto.Fingerprint(lasting.Token())
		for range 150 { // these die
			r.rlock(l, "k", WithTTL(time.Second))
		}
		time.Sleep(2 * time.Second)
		_, err := l.Break(t.Context(), "k", print)
		if want := "only the first 100 readers of each node were searched"; !errors.Is(err, ErrNotHeld) || !strings.Contains(err.Error(), want) {
			t.Errorf("Break behind 150 readers that have died: %v, want ErrNotHeld and %q", err, want)
		}
		for range 10 { // each removes 16 shares
			r.rlock(l, "k")
		}
		if s, err := l.Inspect(t.Context(), "k"); err != nil || s.Reading != 11 || len(s.Readers) != 11 {
			t.Errorf("Inspect: %d reading, %d named, %v; want 11", s.Reading, len(s.Readers), err)
		}
		_, err = l.Break(t.Context(), "k", proto.Fingerprint("nobody"))
		if !errors.Is(err, ErrNotHeld) || strings.Contains(err.Error(), "searched") {
			t.Errorf("Break of a reader that is not there: %v, want ErrNotHeld alone", err)
		}
		if _, err := l.Break(t.Context(), "k", print); err != nil {
			t.Errorf("Break: %v", err)
		}
		if _, err := lasting.Check(t.Context()); !errors.Is(err, ErrNotHeld) {
			t.Errorf("Check after Break: %v, want ErrNotHeld", err)
		}
	})
}

// Readers that extend their locks keep them while all servers restart without their data, one
// after the other, also if a writer waits. The writer gets the lock after them.
func TestReadersOutliveRestarts(t *testing.T) {
	for _, writes := range []bool{false, true} {
		for _, size := range []int{3, 5} {
			onRig(t, size, false, func(t *testing.T, r *rig) {
				a, b := r.rlock(r.locker(), "k", WithAutoExtend()), r.rlock(r.locker(), "k", WithAutoExtend())
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				var wg sync.WaitGroup
				wrote := false
				if writes {
					wg.Go(func() {
						w, err := r.locker().Lock(ctx, "k")
						if err != nil {
							t.Error(err)
							return
						}
						wrote = true
						_ = w.Unlock(t.Context())
					})
				}
				time.Sleep(time.Second)
				for i := range r.mem {
					r.mem[i].Flush()
					r.fault[i].Disconnect()
					time.Sleep(20 * time.Second)
					synctest.Wait()
					if a.Err() != nil || b.Err() != nil {
						t.Errorf("a writer waits: %v; after the restart of %d nodes of %d: %v, %v", writes, i+1, size, a.Err(), b.Err())
					}
				}
				if wrote {
					t.Error("the writer has the lock beside readers")
				}
				for _, lock := range []*Lock{a, b} {
					if err := lock.Unlock(t.Context()); err != nil {
						t.Error(err)
					}
				}
				wg.Wait()
				if wrote != writes {
					t.Error("the writer does not get the lock")
				}
			})
		}
	}
}
