package testnodes

import (
	"flag"
	"fmt"
	"runtime"
	"sync"
	"testing"
)

var (
	Schedules = flag.Int("schedules", 2000, "how many random schedules to run")
	firstSeed = flag.Uint64("seed", 1, "the first schedule's seed")
)

// An Over is what came of a schedule.
type Over struct {
	Problems []string
	What     any    // what it was like, for people
	Note     func() // takes it into account; called for one at a time
}

// Each runs n schedules, of the seeds from the first on, on all processors, until
// one has problems.
func Each(t *testing.T, n int, run func(t *testing.T, seed uint64) Over) {
	t.Helper()
	test := t.Name()
	var mu sync.Mutex
	next, end := *firstSeed, *firstSeed+uint64(n)
	take := func() (seed uint64, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1, next <= end
	}
	t.Run("run", func(t *testing.T) {
		for i := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				for seed, ok := take(); ok && !t.Failed(); seed, ok = take() {
					s := run(t, seed)
					for _, p := range s.Problems {
						t.Errorf("unsafe: schedule %d: %s", seed, p)
					}
					if t.Failed() {
						t.Errorf("%v; run it again with go test . -run '^%s$' -args -schedules 1 -seed %d", s.What, test, seed)
					}
					mu.Lock()
					s.Note()
					mu.Unlock()
				}
			})
		}
	})
}
