package round

import (
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// Everybody is told when his own time is over, in whatever order they came, and nobody
// before or twice.
func TestVigil(t *testing.T) {
	const ms = time.Millisecond
	for _, dues := range [][]time.Duration{
		{5 * ms}, {5 * ms, 5 * ms, 5 * ms}, {1 * ms, 2 * ms, 3 * ms}, {3 * ms, 2 * ms, 1 * ms}, {2 * ms, 9 * ms, 1 * ms, 5 * ms, 5 * ms}, {-ms, 0, 4 * ms},
	} {
		synctest.Test(t, func(t *testing.T) {
			var v Deadlines
			start := time.Now()
			var wg sync.WaitGroup
			for _, due := range dues {
				p := v.Begin(start, due)
				wg.Go(func() {
					if place := <-p.rung; place != NoRound || time.Since(start) != max(due, 0) {
						t.Errorf("of %v: %d came after %v, want %d after %v", dues, place, time.Since(start), NoRound, due)
					}
					v.End(p)
				})
			}
			wg.Wait()
			if v.waiting() != 0 || !v.set.IsZero() {
				t.Errorf("of %v: somebody is left, or the timer is set", dues)
			}
		})
	}
}

// Who ends before his time is not told, nor is who gets the same patience next.
func TestVigilEnds(t *testing.T) {
	const ms = time.Millisecond
	synctest.Test(t, func(t *testing.T) {
		var v Deadlines
		start := time.Now()
		for at := range 6 { // the one that ends is first, last, and in between
			var all []*Deadline
			for i := range 6 {
				all = append(all, v.Begin(time.Now(), time.Duration(i+1)*ms))
			}
			all[at].rung <- 7 // a verdict, in the moment in which he gives up
			v.End(all[at])
			rest := slices.Delete(slices.Clone(all), at, at+1)
			again := v.Begin(time.Now(), time.Second)
			time.Sleep(10 * ms)
			select {
			case place := <-again.rung:
				t.Errorf("%d came for somebody before", place)
			default:
			}
			v.End(again)
			for _, p := range rest {
				if place := <-p.rung; place != NoRound {
					t.Errorf("%d came, want %d", place, NoRound)
				}
				v.End(p)
			}
		}
		if v.waiting() != 0 {
			t.Error("somebody is left")
		}
		time.Sleep(time.Second)
		if v.mu.Lock(); !v.set.IsZero() {
			t.Errorf("the timer is set after %v, and nobody waits", time.Since(start))
		}
		v.mu.Unlock()
	})
}

// A verdict that falls when the time is over finds the bell rung, and blocks nobody.
func TestLateVerdict(t *testing.T) {
	var v Deadlines
	p := v.Begin(time.Now(), 0)
	for len(p.rung) == 0 {
		time.Sleep(time.Microsecond)
	}
	r := &Round{Bell: &p.Bell, Place: 3}
	r.Decide(Won, time.Now())
	if place := <-p.rung; place != NoRound || r.Verdict != Won {
		t.Errorf("%d came, and the verdict is %v", place, r.Verdict)
	}
}

// Many wait and end at the same time.
func TestVigilOfMany(t *testing.T) {
	var v Deadlines
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 500 {
				d := rand.N(300 * time.Microsecond)
				start := time.Now()
				p := v.Begin(start, d)
				if rand.N(2) == 0 {
					if <-p.rung; time.Since(start) < d {
						t.Errorf("it was over after %v, before %v", time.Since(start), d)
					}
				}
				v.End(p)
			}
		})
	}
	wg.Wait()
	if v.waiting() != 0 {
		t.Error("somebody is left")
	}
}

// Callers with different timeouts share the mutex. None of them takes a step for each of the
// others, as it did in an ordered list.
func TestVigilOfDifferentTimeouts(t *testing.T) {
	took := func(n int) time.Duration {
		var v Deadlines
		start := time.Now()
		all := make([]*Deadline, n)
		took := testnodes.Took(func() {
			for i := range all { // most end before many that came before them
				all[i] = v.Begin(start, time.Hour-time.Duration(i%maxDeadlineLists)*time.Minute)
			}
			for _, i := range rand.Perm(n) {
				v.End(all[i])
			}
		})
		if v.waiting() != 0 {
			t.Fatalf("of %d, %d are left", n, v.waiting())
		}
		return took
	}
	testnodes.GrowsLinearly(t, took)
}

// waiting returns how many wait.
func (v *Deadlines) waiting() int {
	n := 0
	for _, l := range v.lists {
		for p := l.first; p != nil; p = p.next {
			n++
		}
	}
	return n
}
