package behaviour

import (
	"errors"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// Check asks real servers through each adapter, without extending the lock.
func TestCheck(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 3)
		locker := newLocker(t, a.nodes(t, addrs(list)...))
		lock, err := locker.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		// A grant that arrives late would undo the following steps.
		eventually(t, time.Second, func() error { return onAll(t.Context(), locker, "k") })
		until := lock.Until()
		if report, err := lock.Check(t.Context()); err != nil || !lock.Until().Equal(until) {
			t.Errorf("%v, %v", report, err)
		}
		list[0].Do(t, "DEL", "k")
		if report, err := lock.Check(t.Context()); err != nil {
			t.Errorf("lost on one: %v, %v", report, err)
		}
		list[1].Do(t, "SET", "k", "theirs", "PX", time.Minute.Milliseconds())
		if report, err := lock.Check(t.Context()); !errors.Is(err, redlock.ErrNotHeld) || report.Count(redlock.Granted) > 1 {
			t.Errorf("lost on two: %v, %v", report, err)
		}
		if lock.Err() == nil {
			t.Error("the lock has not ended")
		}
	})
}
