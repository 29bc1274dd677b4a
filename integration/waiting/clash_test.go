package waiting

import (
	"testing"
	"testing/synctest"
	"time"
)

// Two clients clash if both have a valid lock. A client that runs late has none.
func TestClash(t *testing.T) {
	const ttl = time.Second
	for _, tc := range []struct {
		name         string
		first, later time.Duration // from the return of Lock until the client goes on
		apart        time.Duration // between the locks
		want         int
	}{
		{"both valid", 0, 0, ttl / 2, 1},
		{"the first one's lock has ended", 0, 0, ttl, 0},
		{"the later one runs late", 0, ttl, ttl / 2, 0},
		{"the first one goes on after the later one", ttl - 1, 0, ttl / 2, 1},
		{"the first one goes on after its lock has ended", ttl, 0, ttl / 2, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLog()
				a, b := &client{label: "a"}, &client{label: "b"}
				enter := func(c *client, after, late time.Duration) {
					until := time.Now().Add(after + ttl)
					time.AfterFunc(after+late, func() { l.holds(c, until) })
				}
				enter(a, 0, tc.first)
				enter(b, tc.apart, tc.later)
				time.Sleep(3 * ttl)
				synctest.Wait()
				if len(l.clashes) != tc.want {
					t.Errorf("clashes: %q, want %d", l.clashes, tc.want)
				}
				l.releases(a)
				l.releases(b)
				if l.holders != 0 {
					t.Errorf("%d holders are left", l.holders)
				}
			})
		})
	}
}
