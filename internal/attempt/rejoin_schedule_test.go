package attempt_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

// longTTL is how many times as long as the usual one some TTLs are where locks are
// extended often.
const longTTL = 12

// misjoin makes the mistakes of rejoining, after an extension with this result.
func misjoin(a *attempt.Attempt, bug ballotBug, res round.Result, ttl, timeout time.Duration) {
	switch {
	case bug == rejoinLost && res.Verdict != round.Won:
		a.RejoinAnyway(ttl, timeout)
	case bug == rejoinHasty:
		a.Confirm()
	}
}

// simulateRejoin runs the ballot of a seed in which locks are extended again and again
// while nodes lose what they have, with a quarantine and a mistake.
func simulateRejoin(t *testing.T, seed uint64, b ballotBug) *ballot {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 30))
	s := &ballot{
		bug: b, long: true, wipe: true, rng: rand.New(rand.NewPCG(seed, 31)), raised: map[string]bool{},
		loss: &loss{quarantine: true},
		trip: 2*time.Millisecond + time.Duration(rng.IntN(2)), ttl: 400 * time.Millisecond, keys: []string{"k0"},
	}
	s.run(t, rng, []int{3, 3, 3, 5}[rng.IntN(4)], false)
	s.judge()
	s.judgeHolders()
	return s
}

// Nodes that have lost a lock get it back, and no two have it at once; the tokens stay
// in order.
func TestRejoinSchedules(t *testing.T) {
	n := (*testnodes.Schedules + 79) / 80
	if testing.Short() {
		n = min(n, 10)
	}
	var total ballotStats
	testnodes.Each(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulateRejoin(t, seed, noBallotBug)
		return testnodes.Over{Problems: s.problems, What: fmt.Sprintf("%d nodes", len(s.nodes)), Note: func() { total.add(s.stats) }}
	})
	t.Logf("%d schedules, no violation: %v; %+v", n, !t.Failed(), total)
	if n >= 25 && (total.grants < 5*n || total.wipes < n || total.rejoins < n) {
		t.Error("too little has happened")
	}
}

// A siege is one holder that extends its lock for as long as it can, and contenders whose
// rounds take several TTLs of the holder's lock. The holder is cut off from one node after the
// other, for about its TTL, so that contenders get that node, and some nodes restart empty
// when the holder reaches them again. With a quarantine no two have the lock at once.
type siege struct {
	*ballot
	holds []grant
}

const (
	holderTTL    = 400 * time.Millisecond
	contenderTTL = 8 * holderTTL
	phases       = 60
)

func simulateSiege(t *testing.T, seed uint64, b ballotBug) *siege {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 40))
	s := &siege{ballot: &ballot{bug: b, calm: true, long: true, ttl: holderTTL, keys: []string{"k0"},
		trip: 2 * time.Millisecond, rng: rand.New(rand.NewPCG(seed, 41)), raised: map[string]bool{}, loss: &loss{quarantine: true}}}
	synctest.Test(t, func(*testing.T) {
		for range 3 {
			s.newVoter()
		}
		holder := s.newElector()
		over := make(chan struct{})
		var everybody sync.WaitGroup
		everybody.Go(func() { s.hold(holder, over) })
		for range 1 {
			p, rng := s.newElector(), rand.New(rand.NewPCG(rng.Uint64(), 42))
			for _, link := range p.links {
				link.Set(func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
					return faulty.Late(s.draw(contenderTTL/2))(ctx, ops, next)
				})
			}
			everybody.Go(func() { s.contend(p, rng, over) })
		}
		for cut := 0; cut < phases; cut++ {
			i := rng.IntN(len(s.nodes))
			holder.links[i].Set(testnodes.Dead)
			time.Sleep(holderTTL/2 + testnodes.Draw(rng, 2*holderTTL))
			if rng.IntN(8) == 0 {
				s.count(&s.stats.wipes)
				s.nodes[i].lose()
				s.nodes[i].Restart()
			}
			holder.links[i].Set(holder.network)
			time.Sleep(testnodes.Draw(rng, holderTTL)) // mostly enough to rejoin
		}
		close(over)
		everybody.Wait()
		for _, p := range s.processes {
			for _, link := range p.links {
				link.Clear()
			}
		}
		s.end()
	})
	s.grants = s.holds
	s.judgeHolders()
	return s
}

// had notes that a lock was held.
func (s *siege) had(won, ended time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.grants++
	s.holds = append(s.holds, grant{key: "k0", won: won, ended: ended})
}

func (s *siege) token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens++
	return fmt.Sprint("t", s.tokens)
}

// hold locks, and extends the lock until it is lost, again and again.
func (s *siege) hold(p *elector, over <-chan struct{}) {
	for ctx := context.Background(); ; {
		select {
		case <-over:
			return
		case <-time.After(holderTTL / 8):
		}
		until := testnodes.Validity(time.Now(), holderTTL)
		a, res := p.acquire(ctx, nil, "k0", s.token(), holderTTL, holderTTL/8)
		if res.Verdict != round.Won {
			continue
		}
		for won, lost := time.Now(), false; !lost; {
			select {
			case <-over:
				until, lost = time.Now(), true
			case <-time.After(min(holderTTL/4, time.Until(until))):
				extended := testnodes.Validity(time.Now(), holderTTL)
				res := a.Extend(ctx, holderTTL, holderTTL/8)
				for _, v := range res.Votes {
					if v.Rejoined {
						s.count(&s.stats.rejoins)
					}
				}
				misjoin(a, s.bug, res, holderTTL, holderTTL/8)
				switch lost = !time.Now().Before(until) || res.Verdict == round.Gone; {
				case !lost && res.Verdict == round.Won:
					until = extended
				case res.Verdict == round.Gone:
					until = time.Now()
				case lost:
					s.count(&s.stats.failed)
				}
			}
			if lost {
				s.had(won, until)
			}
		}
		a.Abandon()
	}
}

// contend locks for a moment, again and again.
func (s *siege) contend(p *elector, rng *rand.Rand, over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(testnodes.Draw(rng, contenderTTL)):
		}
		until := testnodes.Validity(time.Now(), contenderTTL)
		a, res := p.acquire(context.Background(), nil, "k0", s.token(), contenderTTL, contenderTTL/2)
		if res.Verdict != round.Won {
			continue
		}
		if won := time.Now(); won.Before(until) {
			time.Sleep(min(testnodes.Draw(rng, holderTTL), time.Until(until)))
			s.had(won, time.Now())
		}
		a.Abandon()
	}
}

// A holder that is cut off from one node after the other keeps its lock, and no two
// have it at once, though nodes restart empty.
func TestSieges(t *testing.T) {
	n := (*testnodes.Schedules + 39) / 40
	if testing.Short() {
		n = min(n, 10)
	}
	var total ballotStats
	testnodes.Each(t, n, func(t *testing.T, seed uint64) testnodes.Over {
		s := simulateSiege(t, seed, noBallotBug)
		return testnodes.Over{Problems: s.problems, What: "three nodes", Note: func() { total.add(s.stats) }}
	})
	t.Logf("%d sieges, no violation: %v; %+v", n, !t.Failed(), total)
	if n >= 25 && (total.wipes < 2*n || total.rejoins < 10*n) {
		t.Error("too little has happened")
	}
}

// The schedules notice each mistake.
func TestRejoinSchedulesNoticeBugs(t *testing.T) {
	long.Test(t)
	for b, simulate := range map[ballotBug]func(seed uint64) []string{
		rejoinLost:   func(seed uint64) []string { return simulateRejoin(t, seed, rejoinLost).problems },
		rejoinCounts: func(seed uint64) []string { return simulateSiege(t, seed, rejoinCounts).problems },
		rejoinHasty:  func(seed uint64) []string { return simulateSiege(t, seed, rejoinHasty).problems },
	} {
		t.Run(string(b), func(t *testing.T) {
			const most = 2000
			noticed, seed := "", uint64(1)
			for ; seed <= most && noticed == ""; seed++ {
				if problems := simulate(seed); len(problems) > 0 {
					noticed = problems[0]
				}
			}
			t.Logf("after %d schedules: %s", seed-1, noticed)
			if noticed == "" {
				t.Errorf("%d schedules have not noticed the bug %q", most, b)
			}
		})
	}
}
