package waiting

import (
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Ten thousand readers hold one key at the same time.
func TestManyReaders(t *testing.T) {
	const readers = 10_000
	list := servers.Start(t, servers.Any, 1, servers.WithoutReuse())
	c := newClient(t, newLog(), "many", drivers.All[0], addrsOf(list), false, redlock.WithTTL(time.Minute))
	locks := make([]*redlock.Lock, readers)
	each := func(f func(i int) error) {
		var wg sync.WaitGroup
		for from := range 64 {
			wg.Go(func() {
				for i := from; i < readers; i += 64 {
					if err := f(i); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	}
	start := time.Now()
	each(func(i int) (err error) {
		locks[i], err = c.locker.RLock(t.Context(), key)
		return err
	})
	if t.Failed() {
		return
	}
	t.Logf("%d readers locked in %v", readers, time.Since(start).Round(time.Millisecond))
	if status, err := c.locker.Inspect(t.Context(), key); err != nil || status.Reading != readers {
		t.Errorf("%d readers, %v, want %d", status.Reading, err, readers)
	}
	start = time.Now()
	each(func(i int) error { return locks[i].Unlock(t.Context()) })
	t.Logf("and unlocked in %v", time.Since(start).Round(time.Millisecond))
	servers.WaitEmpty(t, 10*time.Second, list...)
}
