package work

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/bench/internal/measure"
	"github.com/quorumlock/quorumlock/bench/internal/server"
)

const (
	hungNodes = 3 // one of which hangs

	// settling is how long a library has, after a hung node goes on, to notice that.
	settling = 300 * time.Millisecond
)

var hung = Work{
	Name: "hung",
	About: "One goroutine locks and unlocks keys that nobody else uses, on three healthy nodes, and then while one of them is stopped (SIGSTOP). " +
		"The node goes on after a second: a call that has not returned by then took longer than that.",
	Run: func(ctx context.Context, b *Bench) error {
		if len(b.Servers) < hungNodes {
			b.note("hung: needs %d servers", hungNodes)
			return nil
		}
		nodes := b.Servers[:hungNodes]
		last := nodes[hungNodes-1]
		if err := last.Resume(ctx); errors.Is(err, server.ErrGiven) { // has no effect otherwise
			b.note("hung: %v", err)
			return nil
		}
		runners, closeAll := b.open(b.entrants(hungNodes), measure.Cell{Work: "hung", Nodes: hungNodes, Clients: 1}, server.Addrs(nodes))
		defer closeAll()
		b.Progress("hung: %d nodes, %d implementations, %d rounds of %v", hungNodes, len(runners), b.Plan.HungRounds, b.Plan.Hung)
		turns := newRotation(runners, func(r *runner, err error) { b.dropped(r.cell, err) })
		return turns.run(ctx, b.Plan.HungRounds, func(r *runner) error {
			healthy := r.cell
			healthy.Work = "healthy"
			if _, err := r.timed(b, warmUp, time.Second); err != nil {
				return err
			}
			l, err := r.timed(b, 0, b.Plan.Hung)
			if err != nil {
				return err
			}
			l.add(b, healthy)

			if err := last.Stop(ctx); err != nil {
				return err
			}
			resumed := make(chan error, 1)
			time.AfterFunc(b.Plan.Hung, func() { resumed <- last.Resume(context.WithoutCancel(ctx)) })
			l, err = r.timed(b, 0, b.Plan.Hung)
			if e := errors.Join(err, <-resumed); e != nil {
				return e
			}
			l.add(b, r.cell)
			time.Sleep(settling)
			return nil
		})
	},
}

// latencies are the durations of successful calls, and the number of failed ones.
type latencies struct {
	locks, unlocks []time.Duration
	failed         int
	last           error
}

// timed locks and unlocks a fresh key each time. It makes at most n pairs if n is not 0, and
// begins none after d. It gives up if everything fails.
func (r *runner) timed(b *Bench, n int, d time.Duration) (latencies, error) {
	defer r.guard(d)()
	var (
		l      latencies
		prefix = b.freshKey(r.cell) + ":"
		end    = time.Now().Add(d)
	)
	for i := 0; (n == 0 || i < n) && time.Now().Before(end); i++ {
		var locked time.Time
		start := time.Now()
		if err := r.client.Hold(context.Background(), prefix+strconv.Itoa(i), func() { locked = time.Now() }); err != nil {
			l.failed++
			l.last = err
			continue
		}
		l.locks = append(l.locks, locked.Sub(start))
		l.unlocks = append(l.unlocks, time.Since(locked))
	}
	if len(l.locks) == 0 {
		return l, l.last
	}
	return l, nil
}

func (l latencies) add(b *Bench, cell measure.Cell) {
	b.Results.Add(cell, measure.LockMiddle, micros(measure.Quantile(l.locks, 0.5)))
	b.Results.Add(cell, measure.LockTail, micros(measure.Quantile(l.locks, 0.99)))
	b.Results.Add(cell, measure.UnlockMiddle, micros(measure.Quantile(l.unlocks, 0.5)))
	b.Results.Add(cell, measure.UnlockTail, micros(measure.Quantile(l.unlocks, 0.99)))
	b.Results.Add(cell, measure.Pairs, float64(len(l.locks)))
	b.Results.Add(cell, measure.Errors, float64(l.failed))
	b.noteFailures(cell, int64(l.failed), l.last)
}
