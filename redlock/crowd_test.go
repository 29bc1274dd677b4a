package redlock

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
)

// Thousands of callers meet an outage. Together they ask only a few times a second, but each of
// them gives up after one TTL of unavailability.
func TestManyCallersGiveUpInTime(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(2 * time.Second))
		r.setAll(faulty.Refuse(nil))
		start := time.Now()
		var all sync.WaitGroup
		for i := range 2000 {
			all.Go(func() {
				_, err := l.Lock(context.Background(), fmt.Sprint("k", i))
				if took := time.Since(start); !errors.Is(err, ErrUnavailable) || took < 2*time.Second || took > 3*time.Second {
					t.Errorf("caller %d: %v after %v", i, err, took)
				}
			})
		}
		all.Wait()
		r.setAll()
		time.Sleep(300 * time.Millisecond) // until the next probe of each node
		synctest.Wait()
		lock := r.lock(l, "after")
		lock.Unlock(t.Context())
	})
}

// Callers of one key wait behind each other. When the nodes fail, all of them give up together
// after one TTL, not one after another.
func TestCallersOfOneKeyGiveUpTogether(t *testing.T) {
	for name, tt := range map[string]struct {
		fault  faulty.Fault
		broken bool          // breaks connections too, so that the failure is noticed at once
		notice time.Duration // how long it takes until the failure is noticed otherwise
	}{
		"killed":  {faulty.Refuse(nil), true, 250 * time.Millisecond},
		"loading": {faulty.Refuse(backend.MarkReply(errors.New("LOADING Redis is loading the dataset in memory"))), true, 250 * time.Millisecond},
		"paused":  {faulty.Hang(), false, 3 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			eachRig(t, func(t *testing.T, r *rig) {
				const ttl = 2 * time.Second
				l := r.locker(WithTTL(ttl))
				r.lock(r.locker(), "k", WithTTL(time.Minute))
				var all sync.WaitGroup
				var mu sync.Mutex
				var ends []time.Time
				for range 6 {
					all.Go(func() {
						_, err := l.Lock(context.Background(), "k")
						matches(t, err, ErrUnavailable)
						mu.Lock()
						defer mu.Unlock()
						ends = append(ends, time.Now())
					})
				}
				time.Sleep(5 * time.Second)
				start := time.Now()
				r.setAll(tt.fault)
				if tt.broken {
					for _, f := range r.fault {
						f.Disconnect()
					}
				}
				all.Wait()
				var gaveUp []time.Duration
				for _, end := range ends {
					gaveUp = append(gaveUp, end.Sub(start))
				}
				slices.Sort(gaveUp)
				first, last := gaveUp[0], gaveUp[5]
				if first < ttl || last > ttl+tt.notice+DefaultNodeTimeout {
					t.Errorf("callers gave up after %v, want from %v to %v", gaveUp, ttl, ttl+tt.notice+DefaultNodeTimeout)
				}
				if last-first > DefaultNodeTimeout {
					t.Errorf("callers gave up at different times: %v", gaveUp)
				}
			})
		})
	}
}

// A caller that waits when the nodes fail keeps its place for as long as its patience lasts, even
// behind one with less patience.
func TestPatience(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l, other := r.locker(WithTTL(2*time.Second)), r.locker(WithTTL(time.Minute))
		held := r.lock(other, "k")
		type result struct {
			who   int
			err   error
			after time.Duration
		}
		results := make(chan result, 4)
		start := time.Now()
		for i, opts := range [][]LockOption{nil, {WithPatience(6 * time.Second)}, {WithPatience(Forever)}, {WithPatience(Forever), WithWait(50 * time.Second)}} {
			go func() {
				lock, err := l.Lock(context.Background(), "k", opts...)
				if err == nil {
					defer lock.Unlock(context.Background())
				}
				results <- result{i, err, time.Since(start)}
			}()
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		r.setAll(faulty.Refuse(nil))
		for _, f := range r.fault {
			f.Disconnect()
		}
		expect := func(who int, class error, least, most time.Duration) {
			t.Helper()
			got := <-results
			if got.who != who || !errors.Is(got.err, class) || got.after < least || got.after > most {
				t.Errorf("caller %d after %v: %v; want caller %d with %v from %v to %v", got.who, got.after, got.err, who, class, least, most)
			}
		}
		expect(0, ErrUnavailable, 3*time.Second, 3600*time.Millisecond)
		expect(1, ErrUnavailable, 7*time.Second, 7600*time.Millisecond)
		time.Sleep(30 * time.Second)
		r.clear()
		_ = held.Unlock(t.Context())
		expect(2, nil, 37*time.Second, 39*time.Second)
		expect(3, nil, 37*time.Second, 39*time.Second)
		if _, err := l.TryLock(t.Context(), "k", WithPatience(0)); err == nil {
			t.Error("no call with a patience waited")
		}

		// An outage that outlasts every caller, and one that is sometimes shorter than the
		// patience.
		r.setAll(faulty.Refuse(nil))
		start = time.Now()
		_, err := l.Lock(t.Context(), "k", WithPatience(Forever), WithWait(20*time.Second))
		took(t, start, 19*time.Second, 20*time.Second)
		matches(t, err, ErrUnavailable)
		r.clear()
		time.Sleep(time.Second)
		held = r.lock(other, "k")
		done := make(chan error)
		go func() {
			lock, err := l.Lock(context.Background(), "k")
			if err == nil {
				_ = lock.Unlock(context.Background())
			}
			done <- err
		}()
		for range 10 {
			time.Sleep(1500 * time.Millisecond)
			r.setAll(faulty.Refuse(nil))
			for _, f := range r.fault {
				f.Disconnect()
			}
			time.Sleep(1500 * time.Millisecond)
			r.clear()
		}
		_ = held.Unlock(t.Context())
		matches(t, <-done, nil)
	})
}

// halves is a node that consists of two parts, like a cluster: keys that begin with "h", and all
// others.
type halves struct{ backend.Node }

func (n halves) Unwrap() backend.Node { return n.Node }

func (halves) Partition(key string) (part, parts int) {
	if strings.HasPrefix(key, "h") {
		return 1, 2
	}
	return 0, 2
}

// When a part of a cluster fails, the waiters for its keys give up together, and the others wait
// on.
func TestCallersOfAPartGiveUpTogether(t *testing.T) {
	onRig(t, 1, false, func(t *testing.T, r *rig) {
		r.nodes[0] = halves{r.fault[0]}
		const ttl = 2 * time.Second
		l := r.locker(WithTTL(ttl))
		other := r.locker(WithTTL(time.Minute))
		r.lock(other, "h")
		held := r.lock(other, "k")
		var down, up sync.WaitGroup
		for range 6 {
			down.Go(func() {
				_, err := l.Lock(context.Background(), "h")
				matches(t, err, ErrUnavailable)
			})
			up.Go(func() {
				lock, err := l.Lock(context.Background(), "k")
				if err != nil {
					t.Error(err)
					return
				}
				_ = lock.Unlock(context.Background())
			})
		}
		time.Sleep(5 * time.Second)
		start := time.Now()
		r.setAll(faulty.On(func(op backend.Op) bool { return op.Key == "h" || len(op.Keys) > 0 && op.Keys[0] == "h" }, faulty.Refuse(nil)))
		down.Wait()
		took(t, start, ttl, ttl+3*time.Second+DefaultNodeTimeout) // until the first one checks
		time.Sleep(10 * time.Second)
		_ = held.Unlock(t.Context())
		up.Wait()
	})
}
