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
	// brakeAfter is how many calls in a row must fail before the brake is applied. One or
	// two failures are often just connections that were idle for too long, which an
	// operation and its repetition meet. One time-out is enough by itself.
	brakeAfter = 3

	// Probes of a node that fails at once come at intervals that double from firstPause
	// to longestPause.
	firstPause   = 5 * time.Millisecond
	longestPause = 250 * time.Millisecond

	// minWindow is how many operations may be under way when a node answers again. Each
	// call that fills the window and is answered in time doubles it. A call that takes
	// far too long halves it. A new sender starts with one full call.
	minWindow = 32

	// A call takes far too long if it takes slowCall more than two round trips. Most
	// callers have given up by then, and sending more only makes it worse.
	slowCall = 50 * time.Millisecond
)

// A brake is what is known about a node that does not answer. Such a node hangs, refuses
// or breaks connections, or replies only with errors that say "not now". All are handled
// in the same way, because in each case sending more costs the client and the server
// more.
//
// While the brake is on, one probe at a time replaces all calls. After an answered probe,
// a window limits the operations under way, so that the backlog does not bring the node
// down again. The window grows as fast as the node answers in time.
type brake struct {
	failures int       // calls in a row without an answer
	failed   time.Time // when the last of them ended
	on       bool
	hung     bool      // the last failure was a time-out
	probe    time.Time // while on: the earliest time of the next probe
	why      error     // while on: the error of operations that are not sent
	window   int       // how many operations may be under way
	moved    time.Time // when the window last changed
}

// fail records a call that was not answered. It lasted from began to now, and ended with
// err.
func (b *brake) fail(err error, began, now time.Time) {
	hung := errors.Is(err, context.DeadlineExceeded)
	if !hung && began.Before(b.failed) {
		return // an earlier failure has already counted this fault
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
	case hung && backend.NotExecuted(err): // it got no connection in time
		b.why = backend.MarkNotExecuted(hungError("not sent: " + err.Error()))
		return
	case hung:
		b.why = errHung
		return
	}
	b.why = backend.MarkNotExecuted(fmt.Errorf("not sent: the node has just failed: %w", err))
}

// hang records that nothing has been answered for too long. The next probe begins at
// once, on a new connection.
func (b *brake) hang(now time.Time) {
	b.fail(errLost, now, now)
	b.probe = now
}

// answer records a call that was answered, and reports whether this ended an outage.
// filled says that the call left no room for another operation. slow says that it took
// far too long. full is the maximum number of operations under way on this node.
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

// room returns how many more operations may be under way, but not more than most.
func (b *brake) room(flying, most int) int { return min(most, max(b.window-flying, 0)) }
