package notify

import (
	"testing"
	"testing/synctest"
	"time"
)

// A node's notifications are doubted after some that were false, and believed again after
// as many that were true.
func TestRumoursAreCounted(t *testing.T) {
	var r Rumours
	for i := range 3 * mostRumours {
		if got, want := r.Doubted(), i >= fewRumours; got != want {
			t.Fatalf("doubted after %d false ones: %v, want %v", i, got, want)
		}
		r.Granted(false)
	}
	for i := range mostRumours {
		if got, want := r.Doubted(), mostRumours-i >= fewRumours; got != want {
			t.Fatalf("doubted after %d true ones: %v, want %v", i, got, want)
		}
		r.Granted(true)
	}
}

// Notifications that nobody waits for are passed on at a limited rate.
func TestPassesAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Rumours
		passed := 0
		for range 10_000 { // in a second
			if r.Pass(time.Now()) {
				passed++
			}
			time.Sleep(100 * time.Microsecond)
		}
		if passed < passRate || passed > passRate+passBurst+1 {
			t.Errorf("%d were passed on in a second, want about %d", passed, passRate)
		}
	})
}
