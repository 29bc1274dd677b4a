package election_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/redlock"
)

var errMine = errors.New("mine")

// A parliament is candidates on the same servers, each with connections of its own.
type parliament struct {
	t       *testing.T
	servers []*memory.Node
	done    sync.WaitGroup

	mu      sync.Mutex
	leading int      // how many lead at the moment
	twice   bool     // two have led at a time
	terms   []uint64 // in the order in which they began
	leaders []string
	began   []time.Time
}

// on runs f in virtual time with that many servers. Nothing may be left afterwards.
func on(t *testing.T, n int, f func(*testing.T, *parliament)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &parliament{t: t}
		for i := range n {
			p.servers = append(p.servers, memory.New(memory.WithName(string(rune('a'+i)))))
		}
		f(t, p)
		p.done.Wait()
		time.Sleep(time.Minute) // calls that hang and unused subscriptions end
		for i, s := range p.servers {
			for _, key := range s.Keys() {
				if !strings.HasSuffix(key, ":fence") {
					t.Errorf("server %d has %q", i, key)
				}
			}
		}
	})
}

// A candidate is one process.
type candidate struct {
	*redlock.Locker
	name  string
	wires []*faulty.FaultNode
}

func (p *parliament) candidate(name string) *candidate {
	p.t.Helper()
	c := &candidate{name: name}
	var nodes []backend.Node
	for _, s := range p.servers {
		wire := faulty.NewFaultNode(s)
		c.wires, nodes = append(c.wires, wire), append(nodes, wire)
	}
	var err error
	if c.Locker, err = redlock.New(nodes, redlock.WithOwner(name)); err != nil {
		p.t.Fatal(err)
	}
	return c
}

// cut breaks the connections of c to the servers from first on, or repairs all.
func (c *candidate) cut(first int, faults ...faulty.Fault) {
	for _, w := range c.wires[first:] {
		w.Set(faults...)
		if len(faults) > 0 {
			w.Disconnect()
		}
	}
}

// leads notes that somebody leads while work runs.
func (p *parliament) leads(name string, work func(ctx context.Context, term uint64) error) func(context.Context, uint64) error {
	return func(ctx context.Context, term uint64) error {
		p.mu.Lock()
		p.leading++
		p.twice = p.twice || p.leading > 1
		p.terms, p.leaders, p.began = append(p.terms, term), append(p.leaders, name), append(p.began, time.Now())
		p.mu.Unlock()
		defer func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.leading--
		}()
		return work(ctx, term)
	}
}

// campaign starts a campaign of c. The result arrives in the channel.
func (p *parliament) campaign(ctx context.Context, c *candidate, calls election.Callbacks, opts ...redlock.LockOption) <-chan error {
	calls.Lead = p.leads(c.name, calls.Lead)
	ended := make(chan error, 1)
	p.done.Go(func() { ended <- election.Campaign(ctx, c.Locker, "boss", calls, opts...) })
	time.Sleep(100 * time.Millisecond) // it leads, or waits
	return ended
}

// order fails the test unless these have led, one after the other, in rising terms.
func (p *parliament) order(want ...string) {
	p.t.Helper()
	synctest.Wait() // so that the test may read what callbacks have written
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.leaders, want) {
		p.t.Errorf("leaders %q, want %q", p.leaders, want)
	}
	if p.twice {
		p.t.Error("unsafe: two led at a time")
	}
	for i, term := range p.terms {
		if term == 0 || i > 0 && term <= p.terms[i-1] {
			p.t.Errorf("terms %d do not rise", p.terms)
			break
		}
	}
}

func untilEnd(ctx context.Context, _ uint64) error { <-ctx.Done(); return ctx.Err() }

// A leader that resigns hands over at once, to the next in the order in which they came. It then
// campaigns again, behind the others.
func TestResign(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		on(t, n, func(t *testing.T, p *parliament) {
			ctx, cancel := context.WithCancel(t.Context())
			turn := func(ctx context.Context, _ uint64) error {
				select {
				case <-time.After(time.Minute):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			var ends []<-chan error
			for _, name := range []string{"x", "y", "z"} {
				ends = append(ends, p.campaign(ctx, p.candidate(name), election.Callbacks{Lead: turn}))
			}
			time.Sleep(4*time.Minute - time.Second)
			p.order("x", "y", "z", "x")
			for i := range p.began[1:] {
				if gap := p.began[i+1].Sub(p.began[i]) - time.Minute; gap > 20*time.Millisecond {
					t.Errorf("%d servers: nobody led for %v", n, gap)
				}
			}
			cancel()
			for _, end := range ends {
				if err := <-end; !errors.Is(err, context.Canceled) {
					t.Errorf("Campaign: %v", err)
				}
			}
		})
	}
}

// A leader that no longer reaches a quorum is told to stop a grace before anybody else leads. When
// it reaches the servers again, it is a candidate again.
func TestLostQuorum(t *testing.T) {
	for _, n := range []int{1, 3, 5} {
		on(t, n, func(t *testing.T, p *parliament) {
			ctx, cancel := context.WithCancel(t.Context())
			x, y := p.candidate("x"), p.candidate("y")
			var told time.Time
			var why error
			p.campaign(ctx, x, election.Callbacks{
				Lead: func(ctx context.Context, _ uint64) error {
					<-ctx.Done()
					told = time.Now()
					time.Sleep(900 * time.Millisecond) // it needs time to stop
					return nil
				},
				Overstays: func(uint64) { t.Error("it stopped within the grace") },
				Deposed:   func(_ uint64, err error) { why = err },
			})
			p.campaign(ctx, y, election.Callbacks{Lead: untilEnd})
			time.Sleep(time.Minute)
			p.order("x")
			x.cut(n/2, faulty.Hang())
			time.Sleep(20 * time.Second)
			p.order("x", "y")
			if lead := p.began[1].Sub(told); lead < time.Second {
				t.Errorf("%d servers: told to stop %v before the next one led, want a second", n, lead)
			}
			if !errors.Is(why, election.ErrStepsDown) || !errors.Is(why, redlock.ErrNotHeld) {
				t.Errorf("deposed because of %v", why)
			}
			x.cut(0)
			time.Sleep(20 * time.Second)
			y.cut(n/2, faulty.Refuse(nil))
			time.Sleep(20 * time.Second)
			p.order("x", "y", "x")
			y.cut(0)
			time.Sleep(5 * time.Second)
			cancel()
		})
	}
}

// Work that ignores its ctx is reported, once in its term, while another leads already. (This is
// also the negative control of the other tests: they notice two leaders.)
func TestOverstays(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		x, y := p.candidate("x"), p.candidate("y")
		var overstays []uint64
		deposed := 0
		p.campaign(ctx, x, election.Callbacks{
			Lead:      func(context.Context, uint64) error { time.Sleep(2 * time.Minute); return nil },
			Overstays: func(term uint64) { overstays = append(overstays, term) },
			Deposed:   func(uint64, error) { deposed++ },
		})
		p.campaign(ctx, y, election.Callbacks{Lead: untilEnd})
		x.cut(1, faulty.Hang())
		time.Sleep(time.Minute)
		x.cut(0)
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if !p.twice {
			t.Error("two leaders were not noticed")
		}
		if !slices.Equal(overstays, p.terms[:1]) || deposed != 1 {
			t.Errorf("reported terms %d, deposed %d times", overstays, deposed)
		}
		cancel()
	})
}

// Servers that restart one after the other, and lose their data, do not change the leader.
func TestRollingRestart(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		x, y := p.candidate("x"), p.candidate("y")
		p.campaign(ctx, x, election.Callbacks{Lead: untilEnd, Deposed: func(_ uint64, why error) { t.Error(why) }})
		p.campaign(ctx, y, election.Callbacks{Lead: untilEnd})
		for range 2 {
			for i, s := range p.servers {
				x.wires[i].Set(faulty.Refuse(nil))
				y.wires[i].Set(faulty.Refuse(nil))
				s.Flush()
				s.Restart()
				time.Sleep(3 * time.Second)
				x.wires[i].Set()
				y.wires[i].Set()
				time.Sleep(15 * time.Second)
			}
		}
		p.order("x")
		cancel()
		time.Sleep(time.Second)
	})
	// If all lose their data at once, another leads: the test notices a change of leaders.
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		deposed := 0
		p.campaign(ctx, p.candidate("x"), election.Callbacks{Lead: untilEnd, Deposed: func(uint64, error) { deposed++ }})
		for _, s := range p.servers {
			s.Flush()
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if deposed != 1 || len(p.leaders) != 2 {
			t.Errorf("deposed %d times, leaders %q", deposed, p.leaders)
		}
		cancel()
	})
}

// A leader that dies is replaced after one TTL at the latest.
func TestDeadLeader(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithCancel(t.Context())
		x, y := p.candidate("x"), p.candidate("y")
		p.campaign(ctx, x, election.Callbacks{Lead: untilEnd}, redlock.WithTTL(4*time.Second))
		p.campaign(ctx, y, election.Callbacks{Lead: untilEnd}, redlock.WithTTL(4*time.Second))
		time.Sleep(10 * time.Second)
		died := time.Now()
		x.cut(0, faulty.Refuse(nil))
		time.Sleep(10 * time.Second)
		p.order("x", "y")
		if gap := p.began[1].Sub(died); gap > 4*time.Second+100*time.Millisecond {
			t.Errorf("nobody led for %v", gap)
		}
		x.cut(0)
		cancel()
	})
}

// Campaign ends with ctx, with an error of Lead, or with the Locker. It resigns before it returns.
func TestCampaignEnds(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		c := p.candidate("x")
		ctx, cancel := context.WithCancelCause(t.Context())
		end := p.campaign(ctx, c, election.Callbacks{Lead: func(ctx context.Context, _ uint64) error { <-ctx.Done(); return nil }})
		cancel(errMine)
		if err := <-end; !errors.Is(err, errMine) {
			t.Errorf("after the end of ctx: %v", err)
		}
		end = p.campaign(t.Context(), c, election.Callbacks{Lead: func(context.Context, uint64) error { return errMine }})
		if err := <-end; !errors.Is(err, errMine) {
			t.Errorf("after an error of Lead: %v", err)
		}
		other := errors.Join(errMine, redlock.ErrNotHeld) // of a lock of its own
		end = p.campaign(t.Context(), c, election.Callbacks{Lead: func(context.Context, uint64) error { return other }})
		if err := <-end; !errors.Is(err, errMine) {
			t.Errorf("after an error of Lead about another lock: %v", err)
		}
		leading := p.campaign(t.Context(), c, election.Callbacks{Lead: untilEnd, Deposed: func(uint64, error) { t.Error("deposed by Shutdown") }})
		waiting := p.campaign(t.Context(), c, election.Callbacks{Lead: untilEnd})
		if err := c.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		for _, end := range []<-chan error{leading, waiting} {
			if err := <-end; !errors.Is(err, redlock.ErrClosed) {
				t.Errorf("after Shutdown: %v", err)
			}
		}
	})
}

// A Lead that returns at once campaigns again a few times a second, and not more.
func TestResignAtOnce(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		<-p.campaign(ctx, p.candidate("x"), election.Callbacks{Lead: func(context.Context, uint64) error { return nil }})
		synctest.Wait()
		if n := len(p.terms); n < 30 || n > 45 {
			t.Errorf("%d terms in 10 s", n)
		}
	})
}

// Bad arguments fail before any I/O. So does a grace that does not fit the lease.
func TestBadArguments(t *testing.T) {
	on(t, 1, func(t *testing.T, p *parliament) {
		c := p.candidate("x")
		for name, err := range map[string]error{
			"no Lead":          election.Campaign(t.Context(), c.Locker, "boss", election.Callbacks{}),
			"a negative grace": election.Campaign(t.Context(), c.Locker, "boss", election.Callbacks{Lead: untilEnd, Grace: -1}),
			"an empty key":     election.Campaign(t.Context(), c.Locker, "", election.Callbacks{Lead: untilEnd}),
			"no Locker":        election.Campaign(t.Context(), nil, "boss", election.Callbacks{Lead: untilEnd}),
			"a bad option":     election.Campaign(t.Context(), c.Locker, "boss", election.Callbacks{Lead: untilEnd}, redlock.WithTTL(-1)),
			"a long grace":     election.Campaign(t.Context(), c.Locker, "boss", election.Callbacks{Lead: untilEnd, Grace: 4950 * time.Millisecond}),
			"a short TTL":      election.Campaign(t.Context(), c.Locker, "boss", election.Callbacks{Lead: untilEnd, Grace: time.Second}, redlock.WithTTL(2*time.Second)),
		} {
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		}
		if n := len(c.wires[0].Calls()); n != 0 {
			t.Errorf("%d calls, want none", n)
		}
	})
}

// Others see who leads, and each change.
func TestObserve(t *testing.T) {
	on(t, 3, func(t *testing.T, p *parliament) {
		watcher := p.candidate("watcher")
		if leader, err := election.Current(t.Context(), watcher.Locker, "boss"); err != nil || leader.Owner != "" {
			t.Errorf("%+v, %v, want nobody", leader, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var seen []string
		p.done.Go(func() {
			for leader := range election.Observe(ctx, watcher.Locker, "boss", time.Second) {
				seen = append(seen, leader.Owner)
			}
		})
		turn := func(ctx context.Context, _ uint64) error { time.Sleep(30 * time.Second); return ctx.Err() }
		p.campaign(ctx, p.candidate("x"), election.Callbacks{Lead: turn})
		p.campaign(ctx, p.candidate("y"), election.Callbacks{Lead: turn})
		time.Sleep(10 * time.Second)
		if leader, err := election.Current(t.Context(), watcher.Locker, "boss"); err != nil || leader.Owner != "x" || leader.Fingerprint == "" || leader.Candidates != 1 {
			t.Errorf("%+v, %v, want x, and one candidate", leader, err)
		}
		time.Sleep(35 * time.Second)
		watcher.cut(1, faulty.Refuse(nil))
		if _, err := election.Current(t.Context(), watcher.Locker, "boss"); !errors.Is(err, redlock.ErrUnavailable) || strings.Count(err.Error(), "unknown: ") != 2 {
			t.Errorf("without a quorum: %v, want the reason of each of two nodes", err)
		}
		watcher.cut(0)
		cancel()
		p.done.Wait()
		if !slices.Equal(seen, []string{"x", "y"}) {
			t.Errorf("seen %q", seen)
		}
	})
}
