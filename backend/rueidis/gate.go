package rueidis

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

// A gate keeps calls from a server that may not answer.
//
// The driver honours a deadline everywhere but in one place: a call that finds
// its connection gone while another call is opening a new one waits for that,
// whatever its own deadline. And each call that gives up waiting for its answer
// leaves a goroutine that goes on waiting. So while the last thing heard of the
// server is bad, or nothing is, calls do not go to the driver. One goroutine
// asks the server for a sign of life, and the calls wait for what it finds,
// each no longer than its own ctx allows. What waits here was not sent, which
// its error can then say for certain; and a new connection gets the time that
// it needs, however little the calls have.
//
// The zero gate is shut.
type gate struct {
	open    atomic.Bool
	aside   atomic.Bool   // while shut: calls take connections of their own
	answers atomic.Uint64 // how often the server has answered

	mu    sync.Mutex
	trial *trial // under way, nil if none
}

// A trial is one question to the server.
type trial struct {
	done chan struct{}
	err  error // once done is closed
}

// trialTime is how long one trial may take. The driver gives up sooner, but
// where it was told to wait for ever.
const trialTime = 10 * time.Second

// try puts the question ask to the server, unless one is under way.
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

// wait returns nil when the server has answered, and otherwise an error marked
// as not executed.
func (t *trial) wait(ctx context.Context) error {
	select {
	case <-t.done:
		return backend.MarkNotExecuted(t.err)
	case <-ctx.Done():
		return backend.MarkNotExecuted(ctx.Err())
	}
}

// answered says that the server has answered.
func (g *gate) answered() {
	g.answers.Add(1)
	if !g.open.Load() {
		g.aside.Store(false)
		g.open.Store(true)
	}
}

// failed says that a call under ctx got no answer. It was sent when the server
// had answered so many times as before.
func (g *gate) failed(ctx context.Context, before uint64) {
	// A call that runs out of time says something about the server only if the
	// server has answered nobody else meanwhile.
	if ended(ctx) && (ctx.Err() == context.Canceled || g.answers.Load() != before) {
		return
	}
	g.open.Store(false)
}
