package quorum

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/round"
)

// read waits until it may read key, or gives up.
func (p *process) read(ctx context.Context, key string) (*attempt.Attempt, error) {
	r := p.waiting(key, ttl, timeout, caller{token: p.w.token})
	r.Shared = true
	h, res := p.Lock(ctx, r)
	if res.Verdict != round.Won {
		return nil, fmt.Errorf("lock to read: %v", res)
	}
	return h.Attempt, nil
}

// A readings is what callers that read have.
type readings struct {
	mu   sync.Mutex
	all  sync.WaitGroup
	held []*attempt.Attempt
	last time.Time // when the last one was granted
}

func (r *readings) begin(p *process, key string) {
	r.all.Go(func() {
		a, err := p.read(context.Background(), key)
		if err != nil {
			p.w.t.Error(err)
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.held, r.last = append(r.held, a), time.Now()
	})
}

func (r *readings) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.held)
}

func (r *readings) release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range r.held {
		release(a)
	}
	r.held = nil
}

const sharedTrip = 2 * time.Millisecond

// All readers that wait for a writer read together when it releases, within a few round trips.
func TestReadersWaitForAWriter(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			writer := w.process(full).distant(sharedTrip)
			held := writer.mustAcquire("k")
			var r readings
			for range 8 {
				r.begin(w.process(full).distant(sharedTrip), "k")
				time.Sleep(20 * time.Millisecond) // they come one after the other
			}
			if got := w.queued("k"); got[0] != 8 {
				t.Fatalf("%d readers are queued, want 8", got)
			}
			released := time.Now()
			release(held)
			r.all.Wait()
			if took := r.last.Sub(released); took > 5*sharedTrip {
				t.Errorf("%d nodes: the last reader has it after %v, want at most %v", n, took, 5*sharedTrip)
			}
			r.release()
			synctest.Wait()
			time.Sleep(time.Second)
			for i := range w.mem {
				if v := w.value(i, "k"); v != "" {
					t.Errorf("node %d has %q", i, v)
				}
			}
		})
	}
}

// Readers of one process that wait get the lock one after the other, a round trip apart, and
// then read together.
func TestReadersOfOneProcess(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			held := w.process(full).mustAcquire("k")
			p := w.process(full).distant(sharedTrip)
			var r readings
			for range 10 {
				r.begin(p, "k")
			}
			time.Sleep(100 * time.Millisecond)
			released := time.Now()
			release(held)
			r.all.Wait()
			if took := r.last.Sub(released); took > 15*sharedTrip {
				t.Errorf("%d nodes: the last of 10 readers has it after %v", n, took)
			}
			r.release()
		})
	}
}

// A writer among busy readers gets the lock when the reads are over that were under way when
// it came, and two round trips later at most. No later reader gets ahead of it.
func TestWriterAmongReaders(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			const longest = 50 * time.Millisecond
			stop := make(chan struct{})
			var all sync.WaitGroup
			for i := range 8 {
				p := w.process(full).distant(sharedTrip)
				all.Go(func() {
					for read := 0; ; read++ {
						select {
						case <-stop:
							return
						default:
						}
						a, err := p.read(context.Background(), "k")
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(longest * time.Duration(1+(i+read)%5) / 5)
						release(a)
					}
				})
			}
			p := w.process(full).distant(sharedTrip)
			var worst time.Duration
			for range 20 {
				time.Sleep(123 * time.Millisecond)
				begun := time.Now()
				a, err := p.lock(context.Background(), "k")
				if err != nil {
					t.Fatal(err)
				}
				worst = max(worst, time.Since(begun))
				release(a)
			}
			close(stop)
			all.Wait()
			// Its first attempt and the one that queues it take a round trip each.
			t.Logf("%d nodes: a writer waits for up to %v", n, worst)
			if most := longest + 2*sharedTrip + 2*sharedTrip; worst > most {
				t.Errorf("%d nodes: a writer waited for %v, want at most %v", n, worst, most)
			}
		})
	}
}

// A writer that gives up wakes the readers behind it while others read.
func TestReadersBehindAWriterThatGivesUp(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			reader, writer, behind := w.process(full).distant(sharedTrip), w.process(full).distant(sharedTrip), w.process(full).distant(sharedTrip)
			first, err := reader.read(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			ctx, giveUp := context.WithCancel(t.Context())
			var all sync.WaitGroup
			all.Go(func() {
				if a, err := writer.lock(ctx, "k"); err == nil {
					t.Error("a writer has the lock beside a reader: ", a.Token())
				}
			})
			time.Sleep(50 * time.Millisecond)
			var r readings
			r.begin(behind, "k")
			time.Sleep(50 * time.Millisecond)
			if r.count() > 0 {
				t.Fatal("a reader has overtaken a writer")
			}
			gaveUp := time.Now()
			giveUp()
			all.Wait()
			r.all.Wait()
			if took := r.last.Sub(gaveUp); took > 4*sharedTrip {
				t.Errorf("%d nodes: the reader behind it has the lock after %v, want at most %v", n, took, 4*sharedTrip)
			}
			r.release()
			release(first)
		})
	}
}

// Readers and a writer of one process wait side by side. Each is notified in its turn, and no
// node is doubted because a notification was for the other one.
func TestBothModesOfOneProcess(t *testing.T) {
	for _, n := range []int{1, 3} {
		for _, writerFirst := range []bool{true, false} {
			inWorldOf(t, n, full, func(t *testing.T, w *world) {
				other, p := w.process(full).distant(sharedTrip), w.process(full).distant(sharedTrip)
				for range 10 {
					held := other.mustAcquire("k")
					var r readings
					var all sync.WaitGroup
					var wrote time.Time
					write := func() {
						all.Go(func() {
							a, err := p.lock(t.Context(), "k")
							if err != nil {
								t.Error(err)
								return
							}
							wrote = time.Now()
							release(a)
						})
					}
					if writerFirst {
						write()
						time.Sleep(20 * time.Millisecond)
						r.begin(p, "k")
					} else {
						r.begin(p, "k")
						time.Sleep(20 * time.Millisecond)
						write()
					}
					time.Sleep(20 * time.Millisecond)
					released := time.Now()
					release(held)
					r.all.Wait()
					r.release()
					all.Wait()
					if took := max(wrote.Sub(released), r.last.Sub(released)); took > 8*sharedTrip {
						t.Errorf("%d nodes: both have had the lock after %v, want at most %v", n, took, 8*sharedTrip)
					}
					if wrote.Before(r.last) != writerFirst {
						t.Errorf("%d nodes: the first one was not the first to have the lock", n)
					}
				}
				for i, m := range p.Members {
					if m.Rumours.Doubted() {
						t.Errorf("node %d is doubted", i)
					}
				}
			})
		}
	}
}

// A downgraded lock lets the readers in that wait for it.
func TestReadersWaitForADowngrade(t *testing.T) {
	for _, n := range []int{1, 3} {
		inWorldOf(t, n, full, func(t *testing.T, w *world) {
			writer := w.process(full).distant(sharedTrip)
			held := writer.mustAcquire("k")
			var r readings
			for range 4 {
				r.begin(w.process(full).distant(sharedTrip), "k")
				time.Sleep(20 * time.Millisecond)
			}
			begun := time.Now()
			if res := held.Downgrade(context.Background(), ttl, timeout); res.Verdict != round.Won {
				t.Fatal("downgrade: ", res)
			}
			r.all.Wait()
			if took := r.last.Sub(begun); took > 4*sharedTrip {
				t.Errorf("%d nodes: the last reader reads after %v, want at most %v", n, took, 4*sharedTrip)
			}
			r.release()
			release(held)
		})
	}
}
