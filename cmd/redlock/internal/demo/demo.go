package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
)

const (
	driverGoRedis = "go-redis"
	driverRedigo  = "redigo"
)

// Limits of a [Config].
const (
	MinDuration = 3 * time.Second
	MaxWorkers  = 64
)

// ErrLost says that updates of the counter were lost: that the lock did not do
// its work.
var ErrLost = errors.New("updates were lost")

// Config says how the demo runs.
type Config struct {
	Out      io.Writer
	Duration time.Duration // MinDuration at least
	Workers  int           // from 2 to MaxWorkers
}

// Run runs the demo, and prints to cfg.Out what happens. If ctx ends before, it
// closes with the table of what happened until then, and returns no error for
// that. An error that matches [ErrLost] says that updates were lost; any other
// says what else went wrong.
func Run(ctx context.Context, cfg Config) error {
	d := newDemo(cfg)
	defer d.stop()
	if err := d.start(); err != nil {
		return fmt.Errorf("the demo could not start: %w", err)
	}
	d.say.text(fmt.Sprintf(`%d workers add 1 to one counter, again and again. Each reads it, takes some
milliseconds, and writes it back: if two do so at the same time, an update is lost.

`, cfg.Workers))
	d.without(ctx)
	return d.with(ctx)
}

type demo struct {
	cfg     Config
	ttl     time.Duration
	say     *narrator
	servers []server
	workers []*worker
	tally   *tally
}

// server is one of the servers, and how the workers reach it.
type server struct {
	*embedded.Server
	label  string // A, B, C
	driver string
}

func newDemo(cfg Config) *demo {
	return &demo{
		cfg: cfg,
		ttl: min(2*time.Second, cfg.Duration/8),
		say: &narrator{out: cfg.Out, start: time.Now(), every: cfg.Duration / 18},
	}
}

// start starts the servers and connects the workers.
func (d *demo) start() error {
	for _, s := range []struct{ label, driver string }{{"A", driverGoRedis}, {"B", driverRedigo}, {"C", driverGoRedis}} {
		started, err := embedded.Start()
		if err != nil {
			return err
		}
		d.servers = append(d.servers, server{started, s.label, s.driver})
	}
	d.tally = newTally(len(d.servers))
	for i := range d.cfg.Workers {
		w, err := newWorker(i+1, d.servers, d.ttl, d.tally.outcomes)
		if err != nil {
			return err
		}
		d.workers = append(d.workers, w)
	}
	return nil
}

// stop ends all that start has started.
func (d *demo) stop() {
	var closing sync.WaitGroup
	for _, w := range d.workers {
		closing.Go(w.close)
	}
	closing.Wait()
	for _, s := range d.servers {
		s.Close()
	}
}

// without shows what happens without a lock.
func (d *demo) without(ctx context.Context) {
	d.say.say("First without a lock, for a moment.")
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Duration/30)
	defer cancel()
	var (
		c    counter
		t    = newTally(0)
		work sync.WaitGroup
	)
	for range d.workers {
		work.Go(func() {
			for ctx.Err() == nil {
				c.add(func() bool { return true })
				t.addition()
			}
		})
	}
	work.Wait()
	d.say.say("They added %d times, and the counter says %d: %d updates are lost.", t.added, c.value.Load(), t.added-c.value.Load())
}

// with shows what happens with a lock.
func (d *demo) with(ctx context.Context) error {
	a, b, c := d.servers[0], d.servers[1], d.servers[2]
	d.say.say("Now with a lock that ends by itself after %v unless it is released before (its TTL).", d.ttl)
	d.say.say("Three Redis servers keep it, and who gets it from two of them has it:")
	for _, s := range d.servers {
		d.say.say("   %s at %s, through the driver %s", s.label, s.Addr(), s.driver)
	}

	limited, cancel := context.WithTimeout(ctx, d.cfg.Duration-time.Since(d.say.start))
	defer cancel()
	var (
		total counter
		work  sync.WaitGroup
		mu    sync.Mutex
		errs  []error
	)
	fail := func(err error) {
		if err == nil {
			return
		}
		d.say.event("FAILED: %v", err)
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
	}
	d.tally.begin("all three servers up")
	for _, w := range d.workers {
		work.Go(func() { fail(w.work(limited, &total, d.tally, d.say)) })
	}
	fail(d.outages(limited, b, c))
	<-limited.Done()
	d.say.hush()
	work.Wait()
	d.tally.end()
	if ctx.Err() != nil {
		d.say.say("Interrupted.")
	}

	lost := d.tally.added - total.value.Load()
	d.say.text(d.table(total.value.Load(), lost))
	switch {
	case lost != 0:
		return fmt.Errorf("%w: the workers added %d times, and the counter says %d", ErrLost, d.tally.added, total.value.Load())
	case len(errs) > 0:
		return errors.Join(errs...)
	case d.tally.added == 0 && ctx.Err() == nil:
		return fmt.Errorf("no worker ever got the lock from servers %s, %s and %s", a.label, b.label, c.label)
	}
	return d.say.err
}

// outages kills one server, and when it is back lets another one hang.
func (d *demo) outages(ctx context.Context, killed, hung server) error {
	// When, in hundredths of the duration.
	rest := d.cfg.Duration - time.Since(d.say.start)
	at := func(share time.Duration) time.Time { return time.Now().Add(rest * share / 100) }
	kill, back, hang, resume := at(20), at(45), at(60), at(80)

	if !sleep(ctx, time.Until(kill)) {
		return nil
	}
	d.say.event("Server %s is KILLED: connections to it are refused.", killed.label)
	d.tally.begin(killed.label + " dead")
	killed.Kill()
	down := time.Now()
	// A server that forgets its locks must stay away until they have ended, or
	// it would grant them once more.
	if safe := down.Add(d.ttl + d.ttl/4); back.Before(safe) {
		back = safe
	}
	if !sleep(ctx, time.Until(back)) {
		return nil
	}
	if err := killed.Restart(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("server %s does not come back: %w", killed.label, err)
	}
	d.tally.begin(killed.label + " back, all up")
	d.say.event("Server %s is BACK, and empty: it has forgotten all locks. That is safe since it was", killed.label)
	d.say.event("away for %.1f s, more than the TTL: none that it had granted can be held any more.", time.Since(down).Seconds())
	if !sleep(ctx, time.Until(hang)) {
		return nil
	}
	d.say.event("Server %s HANGS: it takes connections and commands, and does not answer.", hung.label)
	d.tally.begin(hung.label + " hangs")
	hung.Hang()
	resumed := sleep(ctx, time.Until(resume))
	hung.Resume()
	if resumed {
		d.tally.begin(hung.label + " answers, all up")
		d.say.event("Server %s ANSWERS again, also what it was sent meanwhile: the workers clean up after that.", hung.label)
	}
	return nil
}

// table is the account of all that happened.
func (d *demo) table(value, lost int64) string {
	var b strings.Builder
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(cells ...string) { _, _ = fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") }
	phases := append(d.tally.phases, d.tally.total())
	row(pad("", phases), "acquisitions", "a second", "wait p50", "wait p99", "longest stall")
	for _, p := range phases {
		rate := float64(len(p.waits)) / p.end.Sub(p.start).Seconds()
		row(pad(p.title, phases), fmt.Sprint(len(p.waits)), fmt.Sprintf("%.0f", rate),
			milliseconds(p.wait(0.5)), milliseconds(p.wait(0.99)), milliseconds(p.stall))
	}
	_ = w.Flush()
	b.WriteString("  (wait: from asking for the lock to having it; stall: a time in which nobody got it)\n\n")

	row(pad("", phases), "commands", "answers used", "not waited for", "failed")
	for i, s := range d.servers {
		n := d.tally.nodes[i]
		row(pad(fmt.Sprintf("server %s, %s", s.label, s.driver), phases), fmt.Sprint(s.Commands()), fmt.Sprint(n.inTime), fmt.Sprint(n.late), fmt.Sprint(n.failed))
	}
	_ = w.Flush()
	b.WriteString("  (not waited for: the answers of the other two had decided already)\n\n")

	w = tabwriter.NewWriter(&b, 2, 0, 2, ' ', 0)
	row("  additions made", fmt.Sprint(d.tally.added))
	row("  the counter says", fmt.Sprint(value))
	row("  LOST UPDATES", fmt.Sprint(lost))
	if d.tally.failed > 0 {
		row("  times without two servers", fmt.Sprint(d.tally.failed))
	}
	if d.tally.skipped > 0 {
		row("  not added, the lock ran out", fmt.Sprint(d.tally.skipped))
	}
	_ = w.Flush()
	lines := strings.Split(b.String(), "\n")
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return strings.Join(lines, "\n")
}

// pad makes a title as wide as the widest, so that a column that is aligned to
// the right looks aligned to the left.
func pad(title string, phases []*phase) string {
	width := 0
	for _, p := range phases {
		width = max(width, len(p.title))
	}
	return fmt.Sprintf("%-*s", width, title)
}

// sleep pauses for d, and reports whether ctx let it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
