package mono_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/internal/mono"
)

func TestTime(t *testing.T) {
	check := func(t *testing.T) {
		now := time.Now()
		later := now.Add(time.Second)
		m := mono.Of(now)
		if m <= 0 {
			t.Errorf("now is %d, want it after the zero Time", m)
		}
		if got := mono.Of(later).Sub(m); got != time.Second {
			t.Errorf("got a difference of %v, want 1s", got)
		}
		if m.Add(time.Second) != mono.Of(later) {
			t.Error("Add differs from that of package time")
		}
		if !m.Time().Equal(now) {
			t.Errorf("got %v back, want %v", m.Time(), now)
		}
	}
	t.Run("real", check)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, check) })
}
