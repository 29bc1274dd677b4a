package behaviour

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Callers of one key wait behind each other when the servers fail. They give up together. A
// caller with more patience gets the lock when the servers answer again.
func TestOutageWhileWaiting(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			for how, stop := range map[string]func(*servers.Server, testing.TB){
				"killed": (*servers.Server).Kill,
				"paused": (*servers.Server).Pause,
			} {
				t.Run(fmt.Sprintf("N=%d %s", n, how), func(t *testing.T) {
					t.Parallel() // because it mostly sleeps
					const ttl = 2 * time.Second
					list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
					holder := a.locker(t, addrs(list), redlock.WithTTL(time.Minute))
					held, err := holder.Lock(t.Context(), "k")
					if err != nil {
						t.Fatal(err)
					}
					locker := a.locker(t, addrs(list), redlock.WithTTL(ttl))
					var all sync.WaitGroup
					var mu sync.Mutex
					var gaveUp []time.Time
					for range 6 {
						all.Go(func() {
							_, err := locker.Lock(context.Background(), "k")
							if !errors.Is(err, redlock.ErrUnavailable) {
								t.Errorf("got %v, want ErrUnavailable", err)
							}
							mu.Lock()
							defer mu.Unlock()
							gaveUp = append(gaveUp, time.Now())
						})
					}
					patient := make(chan error, 1)
					go func() {
						time.Sleep(200 * time.Millisecond)
						lock, err := locker.Lock(context.Background(), "k", redlock.WithPatience(redlock.Forever), redlock.WithWait(time.Minute))
						if err == nil {
							err = lock.Unlock(context.Background())
						}
						patient <- err
					}()
					time.Sleep(time.Second)
					watch := stall.Begin()
					start := time.Now()
					for _, s := range list {
						stop(s, t)
					}
					stopped := time.Since(start)
					all.Wait()
					slices.SortFunc(gaveUp, time.Time.Compare)
					watch.End()
					first, last := gaveUp[0].Sub(start), gaveUp[len(gaveUp)-1].Sub(start)
					t.Logf("gave up after %v to %v", first.Round(time.Millisecond), last.Round(time.Millisecond))
					most := ttl + stopped + redlock.DefaultNodeTimeout + 250*time.Millisecond
					if how == "paused" { // no connection breaks, so a waiter notices it when it looks
						most += 3 * time.Second
					}
					if first < ttl || last-watch.Within(start, start.Add(last)) > most {
						t.Errorf("gave up after %v to %v, want from %v to %v", first, last, ttl, most)
					}
					if last-first-watch.Within(start.Add(first), start.Add(last)) > redlock.DefaultNodeTimeout+100*time.Millisecond {
						t.Errorf("gave up %v apart, want all at the same time", last-first)
					}
					for _, s := range list {
						s.Resume(t)
						s.Start(t)
					}
					_ = held.Unlock(t.Context()) // a killed server has forgotten the lock
					select {
					case err := <-patient:
						if err != nil {
							t.Errorf("the patient caller: %v", err)
						}
					case <-time.After(10 * time.Second):
						t.Error("the patient caller does not get the lock")
					}
				})
			}
		}
	})
}
