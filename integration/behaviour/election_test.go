package behaviour

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/election"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// office is the key of the elections here.
const office = "office"

// A reign is the time for which a candidate leads: from the call of Lead until its ctx ends or it
// resigns.
type reign struct {
	leader      string
	term        uint64
	began, over time.Time // over is zero while it leads
}

// An electorate notes who leads.
type electorate struct {
	ttl   time.Duration
	watch *stall.Watch
	end   context.CancelFunc
	ctx   context.Context
	all   sync.WaitGroup

	mu     sync.Mutex
	reigns []reign
}

func newElectorate(t testing.TB, ttl time.Duration) *electorate {
	e := &electorate{ttl: ttl, watch: stall.Begin()}
	e.ctx, e.end = context.WithCancel(t.Context())
	t.Cleanup(func() {
		e.end()
		e.all.Wait()
		e.watch.End()
	})
	return e
}

// join makes a process a candidate. It leads for as long as it can, or resigns after a time.
func (e *electorate) join(t testing.TB, name string, nodes []backend.Node, resigns time.Duration) {
	t.Helper()
	locker := newLocker(t, nodes, redlock.WithTTL(e.ttl), redlock.WithOwner(name))
	e.all.Go(func() {
		err := election.Campaign(e.ctx, locker, office, election.Callbacks{Lead: func(ctx context.Context, term uint64) error {
			i := e.begins(name, term)
			defer e.ends(i)
			if resigns == 0 {
				<-ctx.Done()
				return nil
			}
			select {
			case <-ctx.Done():
			case <-time.After(resigns):
			}
			return nil
		}})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the campaign of %s: %v", name, err)
		}
	})
}

func (e *electorate) begins(name string, term uint64) int {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reigns = append(e.reigns, reign{leader: name, term: term, began: time.Now()})
	return len(e.reigns) - 1
}

func (e *electorate) ends(i int) {
	now := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.reigns[i].over = now
}

// so returns the reigns so far.
func (e *electorate) so() []reign {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]reign(nil), e.reigns...)
}

// await waits until that many have led.
func (e *electorate) await(t testing.TB, n int, within time.Duration) []reign {
	t.Helper()
	eventually(t, within, func() error {
		if got := len(e.so()); got < n {
			return fmt.Errorf("%d have led, want %d", got, n)
		}
		return nil
	})
	list := e.so()
	if len(list) < n {
		t.FailNow()
	}
	return list
}

// check fails the test if two led at a time, if terms do not rise, or if nobody led for longer
// than a gap. Time for which the machine stood still does not count: a timer that fires late
// ends a ctx late.
func (e *electorate) check(t testing.TB, gap time.Duration) {
	t.Helper()
	eventually(t, slack, func() error { // the goroutine of a leader may run late
		list := e.so()
		for _, r := range list[:len(list)-1] {
			if r.over.IsZero() {
				return fmt.Errorf("%s still leads in term %d, although another one does", r.leader, r.term)
			}
		}
		return nil
	})
	list := e.so()
	for i, next := range list[1:] {
		last := list[i]
		if next.term <= last.term {
			// A leader whose lock had ended before it began to lead comes late into the list.
			stood := e.watch.Within(last.began.Add(-e.ttl), next.began)
			t.Errorf("%sterm %d of %s follows term %d of %s", unsafeIf(next.term == last.term || stood < e.ttl/2), next.term, next.leader, last.term, last.leader)
		}
		if last.over.IsZero() {
			continue
		}
		if both := last.over.Sub(next.began); both > e.watch.Within(next.began.Add(-e.ttl), last.over) {
			t.Errorf("unsafe: %s and %s led at a time, for %v", last.leader, next.leader, both)
		}
		if none := next.began.Sub(last.over); none > gap+e.watch.Within(last.over, next.began) {
			t.Errorf("nobody led for %v between %s and %s, want %v at most", none, last.leader, next.leader, gap)
		}
	}
}

// slack is how much longer than on an idle machine something may take here, in addition to the
// time for which this process does not run: the servers may not run either.
const slack = time.Second

// An election goes on while its three servers restart without their data, one after another: the
// leader stays, or is succeeded after one TTL at most.
func TestElectionRollingRestart(t *testing.T) {
	const ttl = 4 * time.Second
	eachFamily(t, func(t *testing.T, a adapter) {
		t.Parallel() // because it mostly sleeps
		list := servers.Start(t, servers.Any, 3, servers.WithOutages(), servers.WithoutReuse())
		e := newElectorate(t, ttl)
		for _, name := range []string{"x", "y", "z"} {
			e.join(t, name, a.nodes(t, addrs(list)...), 0)
		}
		e.await(t, 1, 20*time.Second)
		for _, s := range list {
			everywhere(t, list) // one may have missed the lock, and then the next restart would end it
			s.Restart(t)
			time.Sleep(ttl)
		}
		eventually(t, 2*ttl, func() error {
			if all := e.so(); !all[len(all)-1].over.IsZero() {
				return errors.New("nobody leads")
			}
			return nil
		})
		e.check(t, ttl+slack)
		if n := len(e.so()); n > 1 {
			t.Logf("%d have led", n)
		}
	})
}

// everywhere waits until all servers have the leader's lock. A candidate may have it for a moment
// on one that is empty.
func everywhere(t testing.TB, list []*servers.Server) {
	t.Helper()
	eventually(t, 20*time.Second, func() error {
		holders := make(map[any]bool)
		for _, s := range list {
			got, err := s.Query(t.Context(), "GET", office)
			if err != nil {
				return fmt.Errorf("%v: %w", s, err)
			}
			holders[got] = true
		}
		if len(holders) != 1 || holders[nil] {
			return fmt.Errorf("the servers have %d holders", len(holders))
		}
		return nil
	})
}

// A leader whose connections stop is succeeded within one TTL and two round trips. Its ctx has
// ended before.
func TestElectionFrozenLeader(t *testing.T) {
	const ttl = 4 * time.Second
	eachFamily(t, func(t *testing.T, a adapter) {
		t.Parallel() // because it mostly sleeps
		list := servers.Start(t, servers.Any, 3)
		proxies := proxied(t, list)
		e := newElectorate(t, ttl)
		e.join(t, "frozen", a.nodes(t, proxyAddrs(proxies)...), 0)
		e.await(t, 1, 20*time.Second)
		e.join(t, "next", a.nodes(t, addrs(list)...), 0)
		locker := newLocker(t, a.nodes(t, addrs(list)...))
		eventually(t, 20*time.Second, func() error {
			if leader, err := election.Current(t.Context(), locker, office); err != nil || leader.Owner != "frozen" || leader.Candidates != 1 {
				return fmt.Errorf("%+v, %v; want a leader and a candidate", leader, err)
			}
			return nil
		})
		before := time.Now()
		for _, p := range proxies {
			p.Hold(netfault.ToServer, netfault.ToClient)
		}
		frozen := time.Now()
		all := e.await(t, 2, 30*time.Second)
		if all[0].leader != "frozen" || all[1].leader != "next" {
			t.Fatalf("%+v", all)
		}
		took := all[1].began.Sub(frozen)
		t.Logf("the next one leads after %v", took)
		if stood := e.watch.Within(before, all[1].began); took > ttl+slack+stood {
			t.Errorf("the next one leads after %v, want %v and two round trips at most; the machine stood still for %v", took, ttl, stood)
		}
		e.check(t, ttl)
		for _, p := range proxies {
			if err := p.Resume(); err != nil {
				t.Error(err)
			}
		}
	})
}

// A leader that resigns hands over within a few round trips.
func TestElectionResignation(t *testing.T) {
	const (
		oneWay    = 25 * time.Millisecond
		roundTrip = 2 * oneWay
		times     = 11
	)
	eachFamily(t, func(t *testing.T, a adapter) {
		proxies := proxied(t, servers.Start(t, servers.Any, 3))
		e := newElectorate(t, 20*time.Second)
		for _, name := range []string{"x", "y"} {
			// The one that has resigned must be queued again before the other resigns.
			e.join(t, name, a.nodes(t, proxyAddrs(proxies)...), time.Second)
		}
		e.await(t, 1, 20*time.Second)
		for _, p := range proxies {
			p.Delay(netfault.ToServer, oneWay)
			p.Delay(netfault.ToClient, oneWay)
		}
		all := e.await(t, 2+times, time.Minute)
		e.check(t, 10*time.Second)
		var gaps []time.Duration
		for i, next := range all[2 : 2+times] { // before that, there was no delay
			from := all[i+1].over
			gaps = append(gaps, next.began.Sub(from)-e.watch.Within(from, next.began))
		}
		middle, longest := median(gaps)
		t.Logf("handed over after %v, %v at most", middle, longest)
		if middle > 5*roundTrip {
			t.Errorf("handed over after %v, want at most %v, which is five round trips", middle, 5*roundTrip)
		}
	})
}
