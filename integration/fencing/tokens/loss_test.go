package tokens

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// apart is how far apart locks must be for their tokens to be in order where servers
// lose counters: twice by how much a counter follows a hint. The servers share a clock.
const apart = 2*250*time.Millisecond + 50*time.Millisecond

// mustLock returns a lock and its grant, with times since start.
func mustLock(t testing.TB, locker *redlock.Locker, start time.Time) (*redlock.Lock, grant) {
	t.Helper()
	asked := time.Since(start)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	lock, err := locker.Lock(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	return lock, grant{asked, time.Since(start), lock.Fence()}
}

// Every server loses all that it has. Tokens go on from the clocks, so that it takes a
// second fault, counters that some clock had moved ahead of those of the servers, to
// begin again from below.
func TestTokensAfterLoss(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		for _, secondFault := range []bool{false, true} {
			t.Run(fmt.Sprintf("N=%d, second fault %v", n, secondFault), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n, servers.WithOutages(), servers.WithoutReuse())
				if secondFault {
					ahead(t, list)
				}
				start := time.Now()
				_, first := mustLock(t, newLocker(t, list, 0), start)
				for _, s := range list {
					s.Restart(t)
				}
				time.Sleep(first.got + apart - time.Since(start))
				_, second := mustLock(t, newLocker(t, list, 1), start)
				if wrong := disorder([]grant{first, second}); (len(wrong) > 0) != secondFault {
					t.Errorf("first %v, then %v: %q", first, second, wrong)
				}
			})
		}
	}
}

// Two hold the lock, since a server of the first one's quorum has forgotten it. The
// second has the higher token, and the resource refuses the first.
func TestOverlap(t *testing.T) {
	for _, tc := range []struct {
		name   string
		forget func(t *testing.T, s *servers.Server)
	}{
		// As when its clock jumps ahead: the lock's time is up there.
		{"too early an expiry", func(t *testing.T, s *servers.Server) {
			s.Do(t, "PEXPIRE", key, 1)
			for s.Do(t, "EXISTS", key) != int64(0) {
				time.Sleep(time.Millisecond)
			}
		}},
		{"a restart without persistence", func(t *testing.T, s *servers.Server) { s.Restart(t) }},
		{"everything deleted", func(t *testing.T, s *servers.Server) { s.Flush(t) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			list := servers.Start(t, servers.Any, 5, servers.WithOutages(), servers.WithoutReuse())
			start := time.Now()
			const long = redlock.DefaultTTL * 6

			kill(t, list[3:])
			a, first := mustLock(t, newLocker(t, list, 0, redlock.WithTTL(long)), start)
			time.Sleep(apart) // the first has also given up on the rest
			for _, s := range list[3:] {
				s.Start(t)
			}
			tc.forget(t, list[2])
			kill(t, list[:2])
			b, second := mustLock(t, newLocker(t, list, 1, redlock.WithTTL(long)), start)

			if !time.Now().Before(a.Until()) {
				t.Fatal("the first lock is over: nothing is shown")
			}
			for _, s := range disorder([]grant{first, second}) {
				t.Error(s)
			}
			var resource fence.Guard
			if err := resource.Announce(b.Fence()); err != nil {
				t.Error(err)
			}
			err := resource.Do(a.Fence(), func() error { t.Error("written by the first"); return nil })
			if !errors.Is(err, fence.ErrStale) {
				t.Errorf("the first is told %v, want fence.ErrStale", err)
			}
		})
	}
}

func kill(t testing.TB, list []*servers.Server) {
	t.Helper()
	for _, s := range list {
		s.Kill(t)
	}
}
