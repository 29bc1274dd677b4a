package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

const (
	// brakeAfter is how many calls in a row have to fail for the brake. One or two are
	// often no more than connections that were idle for too long, which an operation
	// and its repetition meet. One that timed out is enough by itself.
	brakeAfter = 3

	// Probes of a node that fails at once come at intervals that double from the first
	// to the longest.
	firstPause   = 5 * time.Millisecond
	longestPause = 250 * time.Millisecond

	// minWindow is how many operations may be under way when a node answers again. Each
	// call that fills the window and is answered in time doubles it, one that takes far
	// too long halves it. A new sender begins with one full call.
	minWindow = 32

	// slowCall is by how much a call may take longer than two round trips before it is
	// one that took far too long. Most callers have given up by then, and sending more
	// only makes it worse.
	slowCall = 50 * time.Millisecond
)

// A brake is what is known of a node that does not answer: it hangs, refuses or breaks
// connections, or replies only with errors that say "not now". All of these are handled in
// the same way, because each of them costs the client and the server more the more is sent.
//
// While the brake is on, one probe at a time replaces all calls. When one was answered,
// a window limits the operations under way, so that what has gathered meanwhile does not
// bring the node down again. It opens as fast as the node answers in time.
type brake struct {
	failures int       // calls in a row that were not answered
	failed   time.Time // when the last of them ended
	on       bool
	hung     bool      // the last failure was a time-out
	probe    time.Time // while on: no probe begins before
	why      error     // while on: for what is not sent
	window   int       // how many operations may be under way
	moved    time.Time // when that last changed
}

// fail notes a call that began then, was not answered, and ended now with err.
func (b *brake) fail(err error, began, now time.Time) {
	hung := errors.Is(err, context.DeadlineExceeded)
	if !hung && began.Before(b.failed) {
		return // it met the same fault as the one before
	}
	b.failures++
	b.failed, b.hung = now, hung
	if !hung && b.failures < brakeAfter {
		return
	}
	b.on, b.window = true, minWindow
	pause := min(firstPause<<min(max(b.failures-brakeAfter, 0), 16), longestPause)
	b.probe = now.Add(pause/2 + rand.N(pause/2))
	switch {
	case hung && backend.NotExecuted(err): // a connection is what it did not get in time
		b.why = backend.MarkNotExecuted(errors.New("not sent: " + err.Error()))
		return
	case hung:
		b.why = errHung
		return
	}
	b.why = backend.MarkNotExecuted(fmt.Errorf("not sent: the node has just failed: %w", err))
}

// hang notes that nothing has been answered for too long. The probe that follows begins at
// once, on a new connection.
func (b *brake) hang(now time.Time) {
	b.fail(errLost, now, now)
	b.probe = now
}

// answer notes a call that was answered, and returns whether that ended an outage. Filled
// says that it was as much as could be sent, slow that it took far too long, and full is
// how many operations the node may have under way at most.
func (b *brake) answer(began, now time.Time, filled, slow bool, full int) (recovered bool) {
	recovered = b.failures > 0
	b.failures, b.on, b.hung, b.why = 0, false, false, nil
	if began.Before(b.moved) || !filled && !slow {
		return recovered
	}
	b.moved = now
	if slow {
		b.window = max(b.window/2, minWindow)
	} else {
		b.window = min(2*b.window, full)
	}
	return recovered
}

// room returns how many more operations may be under way, up to most.
func (b *brake) room(flying, most int) int { return min(most, max(b.window-flying, 0)) }
