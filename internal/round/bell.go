package round

import (
	"context"
	"time"
)

// A Bell wakes one goroutine that waits for rounds. A round rings it with its place when
// it is decided, or with every vote. The end of the time rings it with NoRound: that of
// Set, or of the [Deadline] to which the bell belongs.
type Bell struct {
	rung  chan int    // has room for one ring of every round; a ring beyond that is dropped
	timer *time.Timer // of Set; nil: not used so far
}

// NoRound is what a bell rings when the time is over.
const NoRound = -1

func NewBell(room int) Bell { return Bell{rung: make(chan int, room)} }

// ring wakes the goroutine that waits. A nil bell means that nobody does.
func (b *Bell) ring(place int) {
	if b == nil {
		return
	}
	select {
	case b.rung <- place:
	default: // it has not looked since an earlier ring
	}
}

// Wait waits until the bell is rung, wake has a value or ctx ends. It returns the place of
// the round that rang, and NoRound in all other cases. A nil wake never has a value.
func (b *Bell) Wait(ctx context.Context, wake <-chan struct{}) int {
	done := ctx.Done()
	if done == nil && wake == nil { // the common case; a plain receive is cheaper
		return <-b.rung
	}
	select {
	case place := <-b.rung:
		return place
	case <-wake:
	case <-done:
	}
	return NoRound
}

// Set makes the bell ring after d, instead of when it was set to ring before.
func (b *Bell) Set(d time.Duration) {
	if b.timer == nil {
		b.timer = time.AfterFunc(d, func() { b.ring(NoRound) })
	} else {
		b.timer.Reset(d)
	}
}

// Stop ends the use of Set.
func (b *Bell) Stop() {
	if b.timer != nil {
		b.timer.Stop()
	}
}
