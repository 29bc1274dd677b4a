package fencing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/quorumlock/quorumlock/fence"
)

const (
	ttl     = 25 * time.Millisecond
	workers = 8
	rounds  = 10 // of each worker
)

// A lockSet consists of workers that add numbers to a set, which is the value of a register. Each
// addition reads and writes under a lease. Sometimes a worker sleeps in between until the lease
// has ended.
type lockSet struct {
	lease    *lease
	register register

	mu                sync.Mutex
	accepted, refused []string // numbers
	ended             int      // additions with any result
	progress          *sync.Cond
}

// add is the work under a lease: after a pause, it adds the lease's token to the set.
func (s *lockSet) add(ctx context.Context, token uint64, pause func()) {
	number := fmt.Sprint(token)
	set, err := s.register.read(ctx, token)
	if err == nil {
		pause()
		err = s.register.write(ctx, token, strings.TrimPrefix(set+","+number, ","))
	}
	s.lease.release(token)

	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended++
	s.progress.Broadcast()
	switch {
	case err == nil:
		s.accepted = append(s.accepted, number)
	case errors.Is(err, fence.ErrStale):
		s.refused = append(s.refused, number)
	}
}

// run starts the workers. The first of them pauses until others have added to the set that it
// read, so that there is always a late write.
func (s *lockSet) run(ctx context.Context) {
	s.progress = sync.NewCond(&s.mu)
	var wg sync.WaitGroup
	first, reading := s.lease.acquire(), make(chan struct{})
	wg.Go(func() {
		reads := sync.OnceFunc(func() { close(reading) })
		defer reads()
		s.add(ctx, first, func() {
			reads()
			s.mu.Lock()
			defer s.mu.Unlock()
			for len(s.accepted) < 2 && s.ended < workers*rounds {
				s.progress.Wait()
			}
		})
	})
	<-reading
	for range workers {
		wg.Go(func() {
			for range rounds {
				s.add(ctx, s.lease.acquire(), func() {
					if rand.IntN(4) == 0 {
						time.Sleep(ttl + rand.N(3*ttl))
					}
				})
			}
		})
	}
	wg.Wait()
}

// Without a fence, a lock that expires loses updates. With a fence it loses none.
func TestLockSet(t *testing.T) {
	eachKind(t, func(t *testing.T, k kind) {
		r := record(t, k.make(t))
		s := &lockSet{lease: newLease(ttl), register: r}
		s.run(t.Context())

		end, err := r.read(t.Context(), s.lease.acquire())
		if err != nil {
			t.Fatal(err)
		}
		set := strings.Split(end, ",")
		var lost, forged []string
		for _, number := range s.accepted {
			if !slices.Contains(set, number) {
				lost = append(lost, number)
			}
		}
		for _, number := range s.refused {
			if slices.Contains(set, number) {
				forged = append(forged, number)
			}
		}
		t.Logf("%d added, %d refused, %d lost", len(s.accepted), len(s.refused), len(lost))
		if n := len(s.accepted) + len(s.refused); n != 1+workers*rounds {
			t.Errorf("%d of %d additions have a known result", n, 1+workers*rounds)
		}
		if len(forged) > 0 {
			t.Errorf("unsafe: rejected, but in the set: %v", forged)
		}
		if !k.fenced {
			if len(lost) == 0 {
				t.Error("no update was lost, so the workload does not show the need for fencing")
			}
			return
		}
		if len(lost) > 0 {
			t.Errorf("unsafe: lost: %v", lost)
		}
		if len(s.refused) == 0 {
			t.Error("nothing was rejected, so no holder was late")
		}
		if got := r.check(); got != porcupine.Ok {
			t.Errorf("the history is %v", got)
		}
	})
}
