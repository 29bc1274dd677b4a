package main

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/redlock"
)

// inFlight knows whether all servers have answered. A quorum decides without the slowest
// ones. A process that ended then would take along what it has not sent yet, and the lock
// would never be on those servers.
type inFlight struct {
	mu     sync.Mutex
	silent int           // servers that have answered nothing yet
	n      int           // commands on their way
	idle   chan struct{} // closed when both are 0; nil: nobody waits for that
}

// follow watches the commands of c from now on.
func (f *inFlight) follow(c *connection) {
	f.silent = len(c.clients)
	for _, client := range c.clients {
		client.AddHook(&answerHook{flight: f})
	}
}

// settle waits until all servers have answered. It does not wait for servers that are much
// slower than the others.
func (f *inFlight) settle(r redlock.Report) {
	f.mu.Lock()
	if f.silent+f.n == 0 {
		f.mu.Unlock()
		return
	}
	patience, _ := answers(r)
	idle := make(chan struct{})
	f.idle = idle
	f.mu.Unlock()
	select {
	case <-idle:
	case <-time.After(patience):
	}
}

// An answerHook is the part of an inFlight for one server. It implements [redis.Hook].
type answerHook struct {
	flight   *inFlight
	answered bool // guarded by the mutex of flight
}

func (h *answerHook) begin() {
	h.flight.mu.Lock()
	defer h.flight.mu.Unlock()
	h.flight.n++
}

func (h *answerHook) end() {
	f := h.flight
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n--
	if !h.answered {
		h.answered = true
		f.silent--
	}
	if f.silent+f.n == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

// DialHook implements [redis.Hook]. A dial is part of the command that needs it.
func (h *answerHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements [redis.Hook].
func (h *answerHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		h.begin()
		defer h.end()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements [redis.Hook].
func (h *answerHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		h.begin()
		defer h.end()
		return next(ctx, cmds)
	}
}
