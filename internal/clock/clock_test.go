package clock

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestInstant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead time.Duration // of the wall clock
		c := Clock{Wall: func() time.Time { return time.Now().Add(ahead) }}
		for _, tc := range []struct {
			name   string
			sleep  time.Duration // both clocks
			jump   time.Duration // the wall clock alone
			past   bool
			parted bool
		}{
			{"at once", 0, 0, false, false},
			{"a moment before", time.Second - 1, 0, false, false},
			{"then", time.Second, 0, true, false},
			{"after", 2 * time.Second, 0, true, false},
			{"suspended for that time", 0, time.Second, true, true},
			{"suspended for less", 0, time.Second - 1, false, true},
			{"suspended for some of it", time.Second / 2, time.Second / 2, true, true},
			{"wall clock slewed", 0, 10 * time.Millisecond, false, false},
			{"wall clock set back", time.Second, -time.Hour, true, false},
			{"wall clock set back before", time.Second - 1, -time.Hour, false, false},
		} {
			ahead = 0
			start := c.Now()
			end := start.Add(time.Second)
			time.Sleep(tc.sleep)
			ahead = tc.jump
			now := c.Now()
			if got := end.Past(now); got != tc.past {
				t.Errorf("%s: past: %v", tc.name, got)
			}
			parted := time.Duration(0)
			if tc.parted {
				parted = tc.jump
			}
			if got := start.Parted(now); got != parted {
				t.Errorf("%s: parted by %v, want %v", tc.name, got, parted)
			}
			want := time.Second - tc.sleep - max(0, tc.jump)
			if got := end.Until(now); got != want || (got <= 0) != tc.past {
				t.Errorf("%s: %v left, want %v", tc.name, got, want)
			}
			if got := end.Time().Sub(start.Time()); got != time.Second {
				t.Errorf("%s: a second is %v", tc.name, got)
			}
		}
	})
}

// The wall clock is read without a monotonic reading, or it would stand still
// with that.
func TestSystemClock(t *testing.T) {
	now := new(Clock).Now()
	if now.Wall() != now.Wall().Round(0) || !now.Wall().Equal(now.Time()) || now.Time() == now.Time().Round(0) {
		t.Errorf("now is %+v", now)
	}
}
