package quorum

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/round"
)

// A limited is a caller that makes a limited number of attempts, and keeps their results.
type limited struct {
	caller
	most      int // 0: any number
	results   []round.Result
	attempted func(round.Result) // nil, or told each result
}

func (c *limited) Attempted(res round.Result) {
	c.results = append(c.results, res)
	if c.attempted != nil {
		c.attempted(res)
	}
}

func (c *limited) Pause(bool) (time.Duration, bool) {
	return pollPace, c.most == 0 || len(c.results) < c.most
}

// How a call ends that does not get the lock: with which verdict, by which context, and
// after how many attempts.
func TestLockVerdicts(t *testing.T) {
	hang := func(s *lockScene) { s.after(200*time.Millisecond, func() { s.p.set(faulty.Hang()) }) }
	for _, tc := range []struct {
		name     string
		prepare  func(*lockScene)
		deadline time.Duration // of the context; 0: none
		most     int           // attempts
		verdict  round.Verdict
		ctx      bool // it ended the call
		attempts int
		after    time.Duration
	}{
		{name: "held by another, one attempt", prepare: (*lockScene).held, most: 1, verdict: round.Lost, attempts: 1},
		{name: "held by another until the end", prepare: (*lockScene).held, deadline: time.Second, verdict: round.Lost, ctx: true, attempts: 3, after: time.Second},
		{name: "held by another, the last attempt is cut off", prepare: func(s *lockScene) { s.held(); hang(s) },
			deadline: time.Second, verdict: round.Lost, ctx: true, attempts: 3, after: time.Second},
		{name: "refused for good", prepare: func(s *lockScene) { s.p.set(denied) }, verdict: round.Unavailable, attempts: 1},
		{name: "all nodes are down, one attempt", prepare: func(s *lockScene) { s.p.set(dead) }, most: 1, verdict: round.Unavailable, attempts: 1},
		{name: "granted too late", prepare: func(s *lockScene) { s.p.set(faulty.DelayReply(s.request.TTL - time.Millisecond)) },
			most: 1, verdict: round.Late, attempts: 1, after: lockSceneTTL - time.Millisecond},
		{name: "behind another caller", prepare: (*lockScene).behind, deadline: time.Second, verdict: round.Behind, ctx: true, after: time.Second},
		{name: "closed while it waits", prepare: func(s *lockScene) { s.held(); s.after(700*time.Millisecond, s.p.Close) },
			verdict: round.Closed, attempts: 2, after: 700 * time.Millisecond},
		{name: "closed while it is behind another caller", prepare: func(s *lockScene) { s.behind(); s.after(700*time.Millisecond, s.p.Close) },
			verdict: round.Closed, after: 700 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				s := &lockScene{t: t, w: w, p: w.process(full)}
				c := &limited{caller: caller{token: w.token}, most: tc.most}
				s.request = s.p.waiting("k", lockSceneTTL, lockSceneTTL, c)
				tc.prepare(s)
				ctx := context.Background()
				if tc.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, tc.deadline)
					defer cancel()
				}
				start := time.Now()
				s.request.Start = s.p.Config.Clock.Now()
				h, res := s.p.Lock(ctx, s.request)
				if res.Verdict != tc.verdict || h.Attempt != nil || time.Since(start) != tc.after {
					t.Errorf("%v after %v, want %v after %v", res, time.Since(start), tc.verdict, tc.after)
				}
				if ended := errors.Is(res.CtxErr, context.DeadlineExceeded); ended != tc.ctx || ended != (res.Ctx == ctx) {
					t.Errorf("ended by a context: %v, its own: %v, want %v", res.CtxErr, res.Ctx == ctx, tc.ctx)
				}
				if len(c.results) != tc.attempts {
					t.Errorf("%d attempts, want %d: %v", len(c.results), tc.attempts, c.results)
				}
				s.p.set()
				for _, end := range s.ends {
					end()
				}
			})
		})
	}
}

// A waiter that was granted the lock too late tries again soon. It has left the queues, so
// nobody would notify it.
func TestLockAfterALateGrant(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		const life, busy = 200 * time.Millisecond, 100 * time.Millisecond
		held, p := w.process(full).mustAcquire("k"), w.process(full)
		synctest.Wait()
		time.AfterFunc(busy, func() {
			p.set(faulty.On(runs(lua.Acquire), faulty.DelayReply(life-time.Millisecond)))
			release(held)
		})
		c := &limited{caller: caller{token: w.token}}
		c.attempted = func(res round.Result) {
			if res.Verdict == round.Late {
				p.set()
			}
		}
		start := time.Now()
		h, res := p.Lock(t.Context(), p.waiting("k", life, life, c))
		var verdicts []round.Verdict
		for _, res := range c.results {
			verdicts = append(verdicts, res.Verdict)
		}
		if took := time.Since(start); res.Verdict != round.Won || !slices.Contains(verdicts, round.Late) || took > busy+life+2*pollPace {
			t.Errorf("%v after %v, attempts %v, want the lock soon after a late grant", res, took, verdicts)
		}
		if res.Verdict == round.Won {
			release(h.Attempt)
		}
	})
}

const lockSceneTTL = 2 * time.Second

// A lockScene is what happens around a call of Lock.
type lockScene struct {
	t       *testing.T
	w       *world
	p       *process
	request Request
	ends    []func()
}

func (s *lockScene) after(d time.Duration, f func()) { time.AfterFunc(d, f) }

// held has another process hold the lock.
func (s *lockScene) held() {
	a := s.w.process(full).mustAcquire("k")
	synctest.Wait()
	s.ends = append(s.ends, func() { release(a) })
}

// behind has another process hold the lock, and another caller of this one wait for it.
func (s *lockScene) behind() {
	s.held()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(done)
		if a, err := s.p.lock(ctx, "k"); err == nil {
			release(a)
		}
	}()
	synctest.Wait()
	s.ends = append(s.ends, func() { cancel(); <-done })
}
