package stall

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestWithin(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(int64(ms)) }
	w := &Watch{stalls: []span{{at(10), at(20)}, {at(50), at(60)}}}
	for _, test := range []struct{ from, to, want int }{
		{0, 100, 20},
		{0, 15, 5},
		{15, 55, 10},
		{20, 50, 0},
		{52, 58, 6},
	} {
		if got := w.Within(at(test.from), at(test.to)); got != time.Duration(test.want)*time.Millisecond {
			t.Errorf("from %d to %d ms: %v, want %d ms", test.from, test.to, got, test.want)
		}
	}
}

// If time passes evenly, there is no stall.
func TestNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := Begin()
		time.Sleep(time.Second)
		if got := w.End(); got != 0 {
			t.Errorf("a stall of %v in even time", got)
		}
		if got := w.End(); got != 0 {
			t.Errorf("a second end: %v", got)
		}
	})
}
