package work

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/peer"
)

// lockOf is a client of an ideal lock, which is a channel with one place.
type lockOf struct {
	place chan struct{}
	extra time.Duration // the time that this client needs to enter
}

func (c lockOf) Hold(ctx context.Context, _ string, inside func()) error {
	time.Sleep(c.extra)
	select {
	case c.place <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	inside()
	<-c.place
	return nil
}

func (lockOf) Close() {}

// noLock lets all callers in.
type noLock struct{}

func (noLock) Hold(_ context.Context, _ string, inside func()) error {
	inside()
	return nil
}

func (noLock) Close() {}

// never lets no caller in.
type never struct{}

func (never) Hold(ctx context.Context, _ string, _ func()) error {
	<-ctx.Done()
	return errors.New("gave up")
}

func (never) Close() {}

// stubborn does not release.
type stubborn struct{}

func (stubborn) Hold(_ context.Context, _ string, inside func()) error {
	inside()
	return errors.New("still there")
}

func (stubborn) Close() {}

func fleetOf(clients ...peer.Client) *fleet {
	return &fleet{clients: clients, hold: time.Millisecond, key: func() string { return "key" }}
}

func TestDrain(t *testing.T) {
	lock := lockOf{} // its channel is made later
	for _, test := range []struct {
		name    string
		clients []peer.Client
		want    drained
		err     string
	}{
		{"one after another", []peer.Client{lock, lock, lock}, drained{3 * time.Millisecond, 2 * time.Millisecond, 0}, ""},
		{"one is left waiting", []peer.Client{lock, never{}, lock}, drained{time.Second, time.Second, 1}, ""},
		{"no exclusion", []peer.Client{noLock{}, noLock{}}, drained{}, errTwoInside.Error()},
		{"no release", []peer.Client{stubborn{}}, drained{}, "a client had the lock and failed to release it: still there"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				place := make(chan struct{}, 1) // a channel of this bubble
				for i, c := range test.clients {
					if _, ok := c.(lockOf); ok {
						test.clients[i] = lockOf{place: place}
					}
				}
				got, err := fleetOf(test.clients...).drain(t.Context(), time.Second)
				if test.err != "" {
					if fmt.Sprint(err) != test.err {
						t.Errorf("error %v, want %s", err, test.err)
					}
					return
				}
				if err != nil || got != test.want {
					t.Errorf("%+v, %v, want %+v", got, err, test.want)
				}
			})
		})
	}
}

func TestLoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		place := make(chan struct{}, 1)
		l, err := fleetOf(lockOf{place, time.Millisecond}, never{}, lockOf{place, 9 * time.Millisecond}).loop(t.Context(), 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		if l.shares[0] < 40 || l.shares[0] > 52 || l.shares[1] != 0 || l.shares[2] < 8 || l.shares[2] > 12 {
			t.Errorf("the shares are %v, want about 45 to 50, 0 and about 10", l.shares)
		}
		if l.longestWait != 100*time.Millisecond {
			t.Errorf("the longest wait is %v, want that of the client that waited until the end, 100ms", l.longestWait)
		}
		if l.all() != l.shares[0]+l.shares[2] {
			t.Errorf("all = %d of %v", l.all(), l.shares)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		if _, err := fleetOf(noLock{}, noLock{}).loop(t.Context(), 10*time.Millisecond); !errors.Is(err, errTwoInside) {
			t.Errorf("without exclusion the error is %v, want %v", err, errTwoInside)
		}
		if _, err := fleetOf(stubborn{}).loop(t.Context(), 10*time.Millisecond); err == nil {
			t.Error("no error although a release failed")
		}
	})
}

func TestRotation(t *testing.T) {
	var order, failed []string
	turns := newRotation([]string{"A", "B", "C"}, func(s string, err error) { failed = append(failed, s+" "+err.Error()) })
	turn := func(s string) error {
		order = append(order, s)
		if s == "B" && len(order) > 3 {
			return errors.New("broken")
		}
		return nil
	}
	for range 2 {
		if err := turns.run(t.Context(), 2, turn); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := fmt.Sprint(order), "[A B C B C A A C C A]"; got != want {
		t.Errorf("the order is %s, want %s: each round begins with another one, and B leaves after its failure", got, want)
	}
	if got, want := fmt.Sprint(failed), "[B broken]"; got != want {
		t.Errorf("%s failed, want %s", got, want)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := turns.run(ctx, 1, func(string) error { t.Error("called"); return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("the error of a ctx that has ended is %v", err)
	}
}

func TestCrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := func() error { time.Sleep(time.Millisecond); return nil }
		bad := func() error { time.Sleep(time.Millisecond); return errors.New("no") }
		tally, err := crowd{turns: []func() error{good, good, bad}, pairs: 2}.run(10 * time.Millisecond)
		if err != nil || tally.pairs != 2*2*10 || tally.errors != 10 || tally.took != 10*time.Millisecond || tally.last != "no" {
			t.Errorf("%+v, %v, want 40 pairs, 10 errors in 10ms", tally, err)
		}
		if _, err := (crowd{turns: []func() error{bad}, pairs: 1}).run(10 * time.Millisecond); err == nil {
			t.Error("no error although every turn failed")
		}
	})
	// A call that never returns ends with its client.
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		var once sync.Once
		hangs := crowd{pairs: 1, turns: []func() error{func() error { <-closed; return errors.New("closed") }},
			close: func() { once.Do(func() { close(closed) }) }}
		start := time.Now()
		if _, err := hangs.run(time.Second); err == nil {
			t.Error("no error although a call hung")
		}
		if took := time.Since(start); took != time.Second+stuck {
			t.Errorf("it took %v, want %v", took, time.Second+stuck)
		}
	})
}
