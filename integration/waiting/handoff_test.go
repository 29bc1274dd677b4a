package waiting

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A peer is a Locker that keeps its log lines and counts its attempts.
type peer struct {
	*redlock.Locker
	rounds atomic.Int64 // attempts of Lock, and rounds of other calls

	mu    sync.Mutex
	tries int
	lines []string // of the log
}

func newPeer(t testing.TB, nodes []backend.Node, opts ...redlock.Option) *peer {
	t.Helper()
	p := &peer{}
	p.Locker = newLocker(t, nodes, append(opts,
		redlock.WithLogger(slog.New(p)),
		redlock.WithHooks(redlock.Hooks{
			Round: func(context.Context, redlock.Event) { p.rounds.Add(1) },
			Locked: func(_ context.Context, e redlock.Event) {
				p.mu.Lock()
				defer p.mu.Unlock()
				p.tries = e.Tries
			},
		}))...)
	return p
}

// Enabled, Handle, WithAttrs and WithGroup make a peer the handler of its log.
func (p *peer) Enabled(context.Context, slog.Level) bool { return true }

func (p *peer) Handle(_ context.Context, r slog.Record) error {
	line := r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.String()
		return true
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lines = append(p.lines, line)
	return nil
}

func (p *peer) WithAttrs([]slog.Attr) slog.Handler { return p }
func (p *peer) WithGroup(string) slog.Handler      { return p }

// polling returns the log lines about nodes that have to be polled.
func (p *peer) polling() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []string
	for _, line := range p.lines {
		if strings.Contains(line, "does not notify waiters") {
			list = append(list, line)
		}
	}
	return list
}

// lastTries returns the number of attempts for its last lock.
func (p *peer) lastTries() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tries
}

// handOff makes first hold the lock on key for hold, while second waits for it and then locks it.
// It returns the time from the release until second has the lock, without the time for which the
// machine stood still, and the number of attempts. Second asks only once all these servers hold
// the lock. Otherwise it may get the last server first, and split the vote.
func handOff(t testing.TB, first, second *peer, key string, hold time.Duration, on ...*servers.Server) (took time.Duration, tries int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	lock, err := first.Lock(ctx, key)
	if err != nil {
		t.Fatal("the first: ", err)
	}
	for _, s := range on {
		for s.Do(t, "EXISTS", key) == int64(0) && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	type result struct {
		lock *redlock.Lock
		err  error
		at   time.Time
	}
	second.mu.Lock()
	second.tries = 0
	second.mu.Unlock()
	got := make(chan result, 1)
	go func() {
		lock, err := second.Lock(ctx, key)
		got <- result{lock, err, time.Now()}
	}()
	time.Sleep(hold) // the work, and the wait
	watch := stall.Begin()
	start := time.Now()
	if err := lock.Unlock(ctx); err != nil {
		t.Error("the first unlocks: ", err)
	}
	r := <-got
	watch.End()
	took = r.at.Sub(start) - watch.Within(start, r.at)
	if r.err != nil {
		t.Fatal("the second: ", r.err)
	}
	if err := r.lock.Unlock(ctx); err != nil {
		t.Error("the second unlocks: ", err)
	}
	return took, second.lastTries()
}

// notifiedWithin is more than a notified waiter needs on a busy machine. One that is not notified
// looks after 1.5 s at the earliest.
const notifiedWithin = 500 * time.Millisecond

// notified fails the test unless the attempts of a wait are those of a waiter that was notified
// once: a plain attempt, one that queued, one after the notification, and one to spare. A single
// attempt is that of a caller that came after the release.
func notified(t testing.TB, took time.Duration, tries int) {
	t.Helper()
	if tries < 2 {
		t.Errorf("locked with the first of %d attempts: nobody waited", tries)
	}
	if tries > 4 || took > notifiedWithin {
		t.Errorf("locked after %d attempts, %v after the release: the waiter was not notified", tries, took)
	}
}

// polled fails the test unless a wait for a lock that was held for slightly more than half a
// second was a polling one, and not much longer than that.
func polled(t testing.TB, took time.Duration, tries int) {
	t.Helper()
	const pace = 250 * time.Millisecond // the longest default pause
	if tries < 5 || took > pace+150*time.Millisecond {
		t.Errorf("locked after %d attempts, %v after the release: the waiter did not poll", tries, took)
	}
}
