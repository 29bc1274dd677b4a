package rueidis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A gate keeps calls away from a server that may not answer. The zero gate is shut.
//
// The driver honours deadlines with one exception: a call whose connection is gone, while
// another call is opening a new one, waits for that whatever its own deadline. In
// addition, each call that gives up leaves a goroutine that waits for the answer. So
// while the last sign of the server was bad, or there was none, the gate is shut and
// calls do not reach the driver.
//
// One goroutine then asks the server for a sign of life. The calls wait for the result,
// each no longer than its own ctx allows. They were not sent, and their errors can say so
// with certainty. A new connection gets the time that it needs, however short the
// deadlines of the calls are.
type gate struct {
	open    atomic.Bool
	aside   atomic.Bool   // while shut: calls take connections of their own
	back    func()        // called when calls share a connection again; may be nil
	answers atomic.Uint64 // how often the server has answered

	mu    sync.Mutex
	trial *trial // the one under way, or nil
}

// A trial is one question to the server.
type trial struct {
	done chan struct{}
	err  error // set when done is closed
}

// trialTime is how long one trial may take. The driver gives up sooner, unless it has no
// time limit.
const trialTime = 10 * time.Second

// try calls ask, which asks the server, unless a trial is under way.
func (g *gate) try(ask func(context.Context) error) *trial {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trial != nil {
		return g.trial
	}
	t := &trial{done: make(chan struct{})}
	g.trial = t
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), trialTime)
		defer cancel()
		if t.err = ask(ctx); t.err == nil {
			g.answered()
		}
		g.mu.Lock()
		g.trial = nil
		g.mu.Unlock()
		close(t.done)
	}()
	return t
}

// wait returns nil when the server has answered, and otherwise an error marked as not
// executed.
func (t *trial) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return backend.MarkNotExecuted(t.err)
	case <-ctx.Done():
		return backend.MarkNotExecuted(ctx.Err())
	}
}

// answered records that the server has answered.
func (g *gate) answered() {
	g.answers.Add(1)
	if !g.open.Load() {
		back := g.aside.Swap(false)
		g.open.Store(true)
		if back && g.back != nil {
			g.back()
		}
	}
}

// failed records that a call under ctx got no answer. before is the number of answers of
// the server when the call was sent.
func (g *gate) failed(ctx context.Context, before uint64) {
	// If the time of a call is over, that says something about the server only if it has
	// answered no other call meanwhile.
	if ended(ctx) && (ctx.Err() == context.Canceled || g.answers.Load() != before) {
		return
	}
	g.open.Store(false)
}
