package redlock

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/backendtest"
)

// Thousands of callers meet an outage. They ask a few times a second between them, and yet
// each gives up when that has lasted for one TTL.
func TestManyCallersGiveUpInTime(t *testing.T) {
	eachRig(t, func(t *testing.T, r *rig) {
		l := r.locker(WithTTL(2 * time.Second))
		r.setAll(backendtest.Refuse(nil))
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
