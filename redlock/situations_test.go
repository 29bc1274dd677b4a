package redlock

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/long"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/sender"
)

var (
	situations = flag.Int("situations", 100, "how many random situations to run")
	firstSeed  = flag.Uint64("seed", 1, "the first situation's seed")
)

// A situation is what waiting callers find on each node, and what happens then, in virtual time.
// Every situation is checked for the same things:
//
//   - No caller spins. Neither in any second nor on average are there more attempts, or more
//     commands on a node, than docs/waiting.md gives reasons for.
//   - No caller sleeps while the lock is free. When a quorum of nodes is free, a caller has the
//     lock within the time that docs/waiting.md gives, and the others follow.
//   - A call ends at once, with the right error, when its ctx ends, when too many nodes refuse,
//     or when too many have been unavailable for one TTL. Only a quarantine takes longer.
//   - Nothing is left: no token, no goroutine, and no ticket except where a node could not be
//     reached.
type situation struct {
	seed    uint64
	places  []place
	fate    fate
	waiters int // waiting processes

	// The seed decides these.
	trip    time.Duration
	fencing bool
	at      time.Duration    // when the fate happens
	leases  [2]time.Duration // of the owners a and b

	need, spare int
	quarantine  time.Duration // 0: none
	retry       RetryPolicy   // replaces the default way of waiting, if set
	mem         []*memory.Node
	problems    []string
}

// A place is one node in a situation: its conduct and what it holds.
type place struct {
	conduct *conduct
	holding holding
}

func (p place) String() string { return p.conduct.name + "/" + string(p.holding) }

// A conduct is how a node behaves towards waiters.
type conduct struct {
	name     string
	scripts  bool // runs scripts, which report the holder and the lease
	notifies bool // can notify waiters
	flaps    bool // can notify waiters, but subscriptions end again and again
	fails    bool // does not answer an acquire in time
	refuses  bool // rejects every acquire
	slow     bool // an attempt waits for it
	doubt    bool // the outcome of an acquire is unknown
	dress    func(*faulty.FaultNode) backend.Node
	fault    faulty.Fault
}

var (
	noPermission = faulty.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions")))
	subscribing  = faulty.Kind(faulty.OpSubscribe)

	working         = &conduct{name: "works", scripts: true, notifies: true}
	bare            = &conduct{name: "bare", dress: func(f *faulty.FaultNode) backend.Node { return faulty.Bare(f) }}
	noSubscriptions = &conduct{name: "no subscriptions", scripts: true, dress: func(f *faulty.FaultNode) backend.Node {
		return struct {
			backend.Node
			backend.Scripter
		}{faulty.Bare(f), f}
	}}
	deaf        = &conduct{name: "subscriptions refused", scripts: true, fault: faulty.On(subscribing, noPermission)}
	unheard     = &conduct{name: "subscriptions hang", scripts: true, slow: true, fault: faulty.On(subscribing, faulty.Hang())}
	flapping    = &conduct{name: "subscriptions end", scripts: true, notifies: true, flaps: true, fault: faulty.On(subscribing, passing)}
	noScripts   = &conduct{name: "scripts refused", fault: faulty.On(faulty.Kind(backend.OpEval), noPermission)}
	down        = &conduct{name: "down", fails: true, fault: faulty.Refuse(nil)}
	hung        = &conduct{name: "hangs", fails: true, slow: true, doubt: true, fault: faulty.Hang()}
	breaking    = &conduct{name: "connections break", fails: true, doubt: true, fault: faulty.LoseRequest(nil)}
	mute        = &conduct{name: "replies are lost", fails: true, doubt: true, fault: faulty.LoseReply(nil)}
	loading     = &conduct{name: "loads", fails: true, fault: faulty.Refuse(backend.MarkReply(errors.New("LOADING the dataset in memory")))}
	refusing    = &conduct{name: "refuses", fails: true, refuses: true, fault: noPermission}
	slow        = &conduct{name: "slow", scripts: true, notifies: true, fails: true, slow: true, doubt: true, fault: faulty.DelayReply(400 * time.Millisecond)}
	quarantined = &conduct{name: "quarantined", scripts: true, notifies: true, fails: true}

	conducts = []*conduct{
		working, bare, noSubscriptions, deaf, unheard, flapping, noScripts,
		down, hung, breaking, mute, loading, refusing, slow, quarantined,
	}
)

// passing is a server, or a proxy, that acknowledges subscriptions and then ends them at once.
func passing(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	ctx, cancel := context.WithTimeout(ctx, time.Millisecond)
	defer cancel()
	return next(ctx, ops)
}

// A holding is what a node holds in the lock's key.
type holding string

const (
	free      holding = "free"
	ownerA    holding = "a"            // with a lease
	ownerB    holding = "b"            // an owner that uses another library, with a lease
	forEver   holding = "for ever"     // an owner without a lease
	otherType holding = "another type" // a value that is not a string
	reserved  holding = "reserved"     // for a dead waiter
)

// token returns the lock's value. Owner a and the owner without a lease use this library.
func (h holding) token() string {
	if h == ownerB {
		return string(h)
	}
	return string(h) + ":ABCDEFGHIJKLMNOPQRSTUVWXYZ"
}

var holdings = []holding{free, ownerA, ownerB, forEver, otherType, reserved}

const (
	situationTTL = DefaultTTL
	reservedFor  = time.Second      // the longest grace
	longLease    = 20 * time.Minute // longer than any caller waits
	never        = time.Duration(1) << 62
)

// A fate is the event in a situation.
type fate string

const (
	released         fate = "the owners release and notify"
	deleted          fate = "the owners delete and notify nobody"
	expires          fate = "the leases end"
	returns          fate = "the nodes work again"
	releasedReturned fate = "the owners release when the nodes work again"
	cancelled        fate = "ctx is cancelled"
	late             fate = "ctx has a deadline"
)

var fates = []fate{released, deleted, expires, returns, releasedReturned, cancelled, late}

func (s *situation) String() string {
	return fmt.Sprintf("seed %d: %v, %d waiters, fencing %v, %v away, after %v %s", s.seed, s.places, s.waiters, s.fencing, s.trip, s.at, s.fate)
}

// newSituation fills in what the seed decides.
func newSituation(seed uint64, f fate, waiters int, places []place) *situation {
	rng := rand.New(rand.NewPCG(seed, 11))
	s := &situation{seed: seed, fate: f, waiters: waiters, places: slices.Clone(places)}
	rng.Shuffle(len(places), func(i, j int) { s.places[i], s.places[j] = s.places[j], s.places[i] })
	s.need = len(places)/2 + 1
	s.spare = len(places) - s.need
	s.trip = []time.Duration{100 * time.Microsecond, time.Millisecond, 20 * time.Millisecond}[rng.IntN(3)]
	s.fencing = rng.IntN(3) == 0 && s.count(func(p place) bool { return p.conduct == bare }) == 0
	if s.count(func(p place) bool { return p.conduct == quarantined }) > 0 {
		s.quarantine = situationTTL + 2*time.Second
	}
	s.at = 12*time.Second + time.Duration(rng.IntN(3000))*time.Millisecond
	if s.quarantine == 0 && s.count(s.fails) > s.spare {
		s.at = situationTTL / 2 // before the callers give up
	}
	s.leases = [2]time.Duration{never, never}
	if f == expires {
		s.leases = [2]time.Duration{s.at, s.at - time.Duration(rng.IntN(3))*time.Second}
	}
	return s
}

func (s *situation) count(which func(place) bool) int {
	n := 0
	for _, p := range s.places {
		if which(p) {
			n++
		}
	}
	return n
}

// possible reports whether the situation can exist: a Locker with a quarantine needs scripts on
// every node.
func (s *situation) possible() bool {
	return s.quarantine == 0 || s.count(func(p place) bool { return p.conduct == bare }) == 0
}

// scripted reports whether every acquire is a script, without a fallback to plain commands.
func (s *situation) scripted() bool { return s.fencing || s.quarantine > 0 }

// fails reports whether p does not answer acquires in time at first.
func (s *situation) fails(p place) bool {
	return p.conduct.fails || p.conduct == noScripts && s.scripted()
}

// refuses reports whether p rejects every acquire.
func (s *situation) refuses(p place) bool {
	return p.conduct.refuses || p.conduct == noScripts && s.scripted()
}

// answers returns the time from which p answers acquires.
func (s *situation) answers(p place) time.Duration {
	switch {
	case !s.fails(p):
		return 0
	case p.conduct == quarantined:
		return s.quarantine
	case s.fate == returns || s.fate == releasedReturned:
		return s.at
	}
	return never
}

// frees returns the time from which the lock is free on p.
func (s *situation) frees(p place) time.Duration {
	end := never
	switch p.holding {
	case free:
		return 0
	case ownerA:
		end = s.leases[0]
	case ownerB:
		end = s.leases[1]
	case reserved:
		end = reservedFor
	}
	if s.fate == released || s.fate == deleted || s.fate == releasedReturned {
		end = min(end, s.at)
	}
	return end
}

// grants returns the time from which p would grant the lock.
func (s *situation) grants(p place) time.Duration { return max(s.answers(p), s.frees(p)) }

// moment returns the time from which a quorum of nodes would grant the lock.
func (s *situation) moment() time.Duration { return s.quorum(s.grants) }

// soonest is moment if slow nodes happen to answer in time.
func (s *situation) soonest() time.Duration {
	quick := *s
	quick.places = slices.Clone(s.places)
	for i, p := range quick.places {
		if p.conduct == slow {
			quick.places[i].conduct = working
		}
	}
	return quick.moment()
}

// A way is how a caller waits.
type way string

const (
	unavailable way = "too many nodes are unavailable"
	polls       way = "polls"
	split       way = "splits the vote"
	asleep      way = "sleeps"
	unsure      way = "sleeps, or polls"
)

// way returns how a caller waits at a time at which no quorum is free, according to
// docs/waiting.md.
func (s *situation) way(at time.Duration) way {
	granted, failed, queued, flaps := 0, 0, 0, 0
	owners := make(map[holding]int)
	for _, p := range s.places {
		c := p.conduct
		notifies := c.notifies
		if s.answers(p) > at {
			failed++
			continue
		}
		if notifies {
			queued++
		}
		if c.flaps {
			flaps++
		}
		if s.frees(p) <= at {
			granted++
		} else if p.holding != otherType && (notifies || c.scripts && s.scripted()) {
			owners[p.holding]++
		}
	}
	most := 0
	for _, n := range owners {
		most = max(most, n)
	}
	switch {
	case failed > s.spare:
		return unavailable
	case queued <= s.spare:
		return polls
	case flaps > 0 || granted+failed > s.spare && most > s.spare: // at first it sleeps, and notifies
		return unsure
	case granted+failed > 0 && most <= s.spare:
		return split
	}
	return asleep
}

// stages returns 0 and the times before end at which something changes.
func (s *situation) stages(end time.Duration) []time.Duration {
	all := []time.Duration{0}
	for _, p := range s.places {
		for _, at := range []time.Duration{s.answers(p), s.frees(p)} {
			if at < end {
				all = append(all, at)
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ways returns the ways in which a caller waits until end.
func (s *situation) ways(end time.Duration) []way {
	var all []way
	for _, at := range s.stages(end) {
		all = append(all, s.way(at))
	}
	return all
}

// heals returns the time from which the nodes that do not fail are a quorum.
func (s *situation) heals() time.Duration { return s.quorum(s.answers) }

// ails is heals without nodes in quarantine, because callers wait for its end.
func (s *situation) ails() time.Duration {
	return s.quorum(func(p place) time.Duration {
		if p.conduct == quarantined {
			return 0
		}
		return s.answers(p)
	})
}

// quorum returns the time from which something is true on a quorum of nodes.
func (s *situation) quorum(when func(place) time.Duration) time.Duration {
	var all []time.Duration
	for _, p := range s.places {
		all = append(all, when(p))
	}
	slices.Sort(all)
	return all[s.need-1]
}

// The delays that docs/waiting.md and the timeouts of calls allow.
const (
	pollPause   = 250 * time.Millisecond                    // while polling, and after split votes
	lookPause   = 2500 * time.Millisecond                   // until the first in the queue looks
	reopenPause = 1010 * time.Millisecond                   // until a subscription that ends repeatedly is back
	probePause  = 250 * time.Millisecond                    // between two probes of a node that has failed
	hangPause   = sender.CallTimeout + 500*time.Millisecond // until a call to a hung node has ended
)

// slack is the time for some attempts.
func (s *situation) slack() time.Duration {
	d := 60*time.Millisecond + 20*s.trip
	for _, p := range s.places {
		switch {
		case p.conduct.slow || p.conduct.doubt:
			d += 2 * DefaultNodeTimeout
		case p.conduct.flaps:
			d += reopenPause
		}
	}
	return d
}

// hangs returns the time until which calls hang that were made before the nodes worked again.
func (s *situation) hangs() time.Duration {
	until := time.Duration(0)
	for _, p := range s.places {
		if at := s.answers(p); p.conduct.slow && s.fails(p) && at < never {
			until = at + hangPause
		}
	}
	return until
}

// within returns the longest time from the moment until the first waiter has the lock. It is the
// longest delay of all ways in which the caller may have waited, because it may have fallen
// asleep before the last stage.
func (s *situation) within() time.Duration {
	moment := s.moment()
	d := s.slack()
	if moment == 0 {
		return d
	}
	if s.hangs() > moment {
		d += hangPause
	}
	if s.count(func(p place) bool { return p.conduct != quarantined && s.fails(p) && s.answers(p) == moment }) > 0 {
		d += probePause // attempts between two probes fail without a request
	}
	pause := time.Duration(0)
	for _, w := range s.ways(moment) {
		switch {
		case w == unavailable || w == polls || w == split:
			pause = max(pause, pollPause)
		case w == asleep && s.notified(moment):
		case w == asleep && s.told(moment) >= s.need:
			pause = max(pause, time.Millisecond)
		default:
			pause = max(pause, lookPause)
		}
	}
	if s.waiters > 1 { // waiters split votes with each other
		d += 2 * pollPause
		if s.count(func(p place) bool { return p.conduct.slow }) > 0 {
			d += lookPause // even more if attempts are slow
		}
	}
	return d + pause
}

// notified reports whether a sleeping waiter is notified at that moment, because an owner releases
// on a node where the waiter is queued.
func (s *situation) notified(moment time.Duration) bool {
	return s.fate == released && moment == s.at && s.count(func(p place) bool {
		return p.conduct.notifies && (p.holding == ownerA || p.holding == ownerB || p.holding == forEver)
	}) > 0
}

// told returns the number of nodes that reported from the beginning that they will be free by
// then.
func (s *situation) told(by time.Duration) int {
	return s.count(func(p place) bool {
		if s.answers(p) > 0 || s.frees(p) > by || s.frees(p) == s.at && s.fate != expires {
			return false
		}
		return p.conduct.notifies || p.holding == free || p.conduct.scripts && s.scripted()
	})
}

// A party is a waiting process and its result.
type party struct {
	link       []*faulty.FaultNode
	locker     *Locker
	begin, end time.Duration
	tries      int
	err        error
}

func (s *situation) problem(format string, args ...any) {
	if len(s.problems) < 5 {
		s.problems = append(s.problems, fmt.Sprintf(format, args...))
	}
}

// run plays the situation, and returns the problems.
func (s *situation) run(t *testing.T) []string {
	t.Helper()
	synctest.Test(t, s.play)
	return s.problems
}

func (s *situation) play(t *testing.T) {
	for i := range s.places {
		s.mem = append(s.mem, memory.New(memory.WithName(fmt.Sprint("n", i))))
	}
	s.hold(t)
	start := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if s.fate == late {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, s.at)
		defer stop()
	}
	var parties []*party
	var all sync.WaitGroup
	for i := range s.waiters {
		p := s.party(t)
		parties = append(parties, p)
		all.Go(func() {
			time.Sleep(time.Duration(i) * 7 * time.Millisecond)
			p.begin = time.Since(start)
			lock, err := p.locker.Lock(ctx, "k", WithRetry(s.retry))
			p.end, p.err = time.Since(start), err
			if err == nil {
				time.Sleep(5 * time.Millisecond)
				lock.Unlock(context.Background())
			}
		})
	}
	time.AfterFunc(s.at, func() { s.happen(t, parties) })
	end := s.at // of ctx
	switch {
	case s.fate == cancelled:
		time.AfterFunc(end, cancel)
	case s.fate == late:
	case s.moment() == never: // the event is not enough
		end += 4 * time.Second
		time.AfterFunc(end, cancel)
	default:
		end = never
		time.AfterFunc(s.moment()+2*time.Minute, cancel)
	}
	all.Wait()
	s.judge(parties, end)
	s.measure(parties, start)
	s.leave(t, parties)
}

// hold stores on the nodes what they hold.
func (s *situation) hold(t *testing.T) {
	for i, p := range s.places {
		m := s.mem[i]
		if s.quarantine > 0 && p.conduct != quarantined {
			if _, err := m.Eval(t.Context(), lua.Mark, []string{proto.MarkerKey("")}, nil); err != nil {
				t.Fatal(err)
			}
		}
		switch p.holding {
		case ownerA:
			m.Set("k", ownerA.token(), min(s.leases[0], longLease))
		case ownerB:
			m.Set("k", ownerB.token(), min(s.leases[1], longLease))
		case forEver:
			m.Set("k", forEver.token(), backend.NoExpiry)
		case otherType:
			m.Push("k", "x")
		case reserved:
			m.Set("k", proto.Reservation("1000:"+proto.Inbox("", "dead")), reservedFor)
		}
	}
}

// party returns a process with its own links to the nodes.
func (s *situation) party(t *testing.T) *party {
	p := &party{}
	var nodes []backend.Node
	for i, mem := range s.mem {
		link := faulty.NewFaultNode(mem)
		p.link = append(p.link, link)
		if dress := s.places[i].conduct.dress; dress != nil {
			nodes = append(nodes, dress(link))
		} else {
			nodes = append(nodes, link)
		}
	}
	s.links(p, false)
	opts := []Option{WithHooks(Hooks{Locked: func(_ context.Context, e Event) { p.tries = e.Tries }})}
	if s.fencing {
		opts = append(opts, WithFencing())
	}
	if s.quarantine > 0 {
		opts = append(opts, WithQuarantine(s.quarantine))
	}
	l, err := New(nodes, opts...)
	if err != nil {
		t.Fatalf("%v: %v", s, err)
	}
	p.locker = l
	return p
}

// links gives the links of p the conduct of their nodes. If work is set, nodes that failed work.
func (s *situation) links(p *party, work bool) {
	for i, link := range p.link {
		faults := []faulty.Fault{faulty.Delay(s.trip / 2), faulty.DelayReply(s.trip / 2)}
		switch c := s.places[i].conduct; {
		case c.fault == nil:
		case work && s.fails(s.places[i]):
			link.Disconnect() // a subscription that hangs is noticed at some time
		default:
			faults = append(faults, c.fault)
		}
		link.Set(faults...)
	}
}

// happen carries out the fate.
func (s *situation) happen(t *testing.T, parties []*party) {
	notify := s.fate == released || s.fate == releasedReturned
	for i, p := range s.places {
		m, token := s.mem[i], p.holding.token()
		switch {
		case !notify && s.fate != deleted || p.holding == free || p.holding == reserved:
		case p.holding == otherType:
			m.Set("k", "gone", time.Millisecond) // because there is no DEL
		case notify:
			if _, err := m.Eval(t.Context(), lua.Release, []string{"k", "k{k}:queue"}, []string{token}); err != nil {
				t.Error(err)
			}
		default:
			m.EvalDelete(t.Context(), "k", token)
		}
	}
	if s.fate == returns || s.fate == releasedReturned {
		for _, p := range parties {
			s.links(p, true)
		}
	}
}

// judge checks how the calls ended. End is the time at which their ctx ended.
func (s *situation) judge(parties []*party, end time.Duration) {
	moment, heals, slack := s.moment(), s.heals(), s.slack()
	var won []*party
	for i, p := range parties {
		took := p.end - p.begin
		switch {
		case p.err == nil:
			won = append(won, p)
			if p.end < s.soonest() {
				s.problem("waiter %d has the lock after %v, before it was free", i, p.end)
			}
		case s.count(s.refuses) > s.spare:
			most := slack
			if s.count(s.fails) > s.count(s.refuses) { // the other failures may decide before all have rejected
				most += situationTTL + pollPause
			}
			if took > most || !errors.Is(p.err, ErrUnavailable) {
				s.problem("waiter %d ends after %v because too many nodes refuse: %v", i, took, p.err)
			}
		case min(s.ails(), end) >= situationTTL:
			most := situationTTL + pollPause + slack
			if len(s.places) > 1 { // an attempt may have met another attempt's token first, and not counted the failures
				most += situationTTL
			}
			if s.quarantine > 0 { // or met the quarantine first, before so many nodes had failed
				most += s.quarantine
			}
			if took < situationTTL || took > most || !errors.Is(p.err, ErrUnavailable) && p.end != end {
				s.problem("waiter %d ends after %v because too many nodes have been unavailable: %v", i, took, p.err)
			}
		case moment+s.within() <= end:
			s.problem("waiter %d gives up after %v: %v", i, took, p.err)
		default:
			class, cause := ErrTaken, context.Canceled
			if heals > end {
				class = ErrUnavailable
			}
			if s.fate == late {
				cause = context.DeadlineExceeded
			}
			// The last attempt may have met another waiter's token, or slow nodes may have
			// answered in time.
			other := s.waiters > 1 || s.count(func(p place) bool { return p.conduct == slow }) > 0
			stale := heals <= end && heals+pollPause+slack > end // from before they worked
			if p.end != end || !errors.Is(p.err, class) && !(other && errors.Is(p.err, ErrTaken)) && !(stale && errors.Is(p.err, ErrUnavailable)) || !errors.Is(p.err, cause) {
				s.problem("waiter %d ends at %v, ctx at %v: %v, want %v and %v", i, p.end, end, p.err, class, cause)
			}
		}
	}
	slices.SortFunc(won, func(a, b *party) int { return int(a.end - b.end) })
	for i, p := range won {
		since, within := max(moment, p.begin), s.within()
		if i > 0 {
			since, within = max(moment, won[i-1].end), slack+3*pollPause
			if s.count(func(p place) bool { return p.conduct.slow }) > 0 {
				within += lookPause // as for the first one
			}
			if s.hangs() > since {
				within += hangPause
			}
		}
		if d := p.end - since; d > within {
			s.problem("a waiter has the lock %v after it was free, at %v, want within %v (%q)", d, since, within, s.ways(moment))
		}
	}
}

// Limits above which waiting counts as a storm. The pauses of a polling caller are 125 ms on
// average, so 8 attempts a second. More than 10 on average are very unlikely over a long time.
// The pauses begin at a few milliseconds and double, which adds about ten attempts each time that
// polling begins. More than 40 in one second are even less likely. A sleeping caller looks after
// 1.5 s at the earliest, or after 187 ms if the owner uses another library.
const (
	attemptsPolling  = 10 // a second, on average
	attemptsAtFirst  = 20
	attemptsInSecond = 40
	looksEach        = 1500 * time.Millisecond
	looksForeign     = 187 * time.Millisecond
	looksAtFirst     = 5
	reopensEach      = 300 * time.Millisecond // half of the average pause
	reopensAtOnce    = 20                     // in a second, because the first pauses are about 10 ms
	inDoubt          = 16                     // in a second and per attempt: deletions that are repeated or sent again
)

// measure counts attempts and commands.
func (s *situation) measure(parties []*party, start time.Time) {
	for i, p := range parties {
		took, ways := p.end-p.begin, s.ways(p.end)
		wakeful := slices.ContainsFunc(ways, func(w way) bool { return w != asleep })
		each := looksEach
		if s.count(func(p place) bool { return p.holding == ownerB }) > s.spare {
			each = looksForeign
		}
		most := looksAtFirst*(1+len(ways)) + int(took/each)
		if wakeful {
			most = attemptsAtFirst*len(ways) + int(attemptsPolling*took.Seconds())
			if each == looksForeign { // each look may begin a new series of split votes
				most += 3 * int(took/each)
			}
		}
		most += s.count(func(p place) bool { return p.conduct.flaps }) * int(took/reopensEach+10)
		switch {
		case slices.Contains(ways, unavailable):
			most *= s.waiters // a polling caller without a ticket notifies another one whenever it takes a grant back
		case s.waiters > 1:
			most += attemptsAtFirst // notifications
		}
		if p.tries > most {
			s.problem("waiter %d makes %d attempts in %v, want %d at most (%q)", i, p.tries, took, most, ways)
		}
		for j, link := range p.link {
			s.commands(fmt.Sprintf("waiter %d at %v", i, s.places[j]), s.places[j], p, link.Calls(), start)
			link.Forget()
		}
	}
}

// commands counts the commands that a waiter sent to a node.
func (s *situation) commands(who string, at place, p *party, calls []faulty.Call, start time.Time) {
	acquires, others, subscribes := make(map[int]int), make(map[int]int), make(map[int]int)
	subscribed := 0
	for _, c := range calls {
		second := int(c.Start.Sub(start) / time.Second)
		for _, op := range c.Ops {
			switch {
			case op.Kind == faulty.OpSubscribe:
				subscribes[second]++
				subscribed++
			case op.Kind == backend.OpSetNX, op.Kind == backend.OpEval && (op.Script == lua.Acquire || op.Script == lua.Vote):
				acquires[second]++
			default:
				others[second]++
			}
		}
	}
	tries, deletions := attemptsInSecond, attemptsInSecond
	if s.waiters > 1 { // they notify each other
		tries, deletions = 2*tries, 2*deletions
	}
	flaps := reopensAtOnce * s.count(func(p place) bool { return p.conduct.flaps }) // one attempt for each
	tries, deletions = tries+flaps, deletions+flaps
	if at.conduct.doubt { // a set is sent again as a script
		tries, deletions = 2*tries, 2*deletions+inDoubt*p.tries
	}
	for _, count := range []struct {
		what  string
		count map[int]int
		most  int
	}{{"acquires", acquires, tries}, {"other commands", others, deletions}, {"subscriptions", subscribes, reopensAtOnce}} {
		for second, n := range count.count {
			if n > count.most {
				s.problem("%s: %d %s in second %d, want %d at most", who, n, count.what, second, count.most)
			}
		}
	}
	if most := reopensAtOnce + int((p.end-p.begin+10*time.Second)/reopensEach); subscribed > most {
		s.problem("%s: %d subscriptions, want %d at most", who, subscribed, most)
	}
}

// leave checks what is left: after a second on nodes that worked, later on nodes that did not,
// and finally, when queues have expired, on all nodes.
func (s *situation) leave(t *testing.T, parties []*party) {
	time.Sleep(time.Second)
	for i, p := range s.places {
		if s.answers(p) <= s.at && !p.conduct.doubt {
			s.left(i, "a second after the end")
		}
	}
	for _, p := range parties {
		for _, link := range p.link {
			link.Clear()
			link.Disconnect()
		}
	}
	time.Sleep(3*situationTTL + 2*sender.CallTimeout) // a set in doubt may arrive up to one TTL later, and live for another
	for i, p := range parties {
		if n := p.locker.group.Cleanups(); n > 0 {
			s.problem("waiter %d still cleans up %d nodes long after the end", i, n)
		}
	}
	for i, p := range s.places {
		if s.answers(p) < never {
			s.left(i, "when all nodes work")
		}
	}
	time.Sleep(11 * time.Minute)
	for i := range s.places {
		s.left(i, "in the end")
	}
	for _, p := range parties {
		p.locker.Close(t.Context())
	}
}

// left checks that node i holds nothing except owners, counters, markers and tombstones.
func (s *situation) left(i int, when string) {
	for _, key := range s.mem[i].Keys() {
		e, _ := s.mem[i].Inspect(context.Background(), key)
		if key == "k" && slices.Contains([]string{ownerA.token(), ownerB.token(), forEver.token(), ""}, e.Value) ||
			key == proto.MarkerKey("") || strings.HasSuffix(key, ":fence") || strings.Contains(key, ":gone:") {
			continue
		}
		s.problem("%s %v has the key %q, which holds %q", when, s.places[i], key, e.Value)
	}
}

// A storm runs situations one after another.
type storm struct {
	t         *testing.T
	runs, bad int
}

func (st *storm) run(s *situation) {
	st.t.Helper()
	if !s.possible() || st.t.Failed() && st.bad > 10 {
		return
	}
	st.runs++
	if problems := s.run(st.t); len(problems) > 0 {
		st.bad++
		st.t.Errorf("%v:\n\t%s", s, strings.Join(problems, "\n\t"))
	}
}

// ran fails the test if fewer situations than least were possible.
func (st *storm) ran(least int) {
	st.t.Helper()
	st.t.Logf("%d situations", st.runs)
	if st.runs < least && st.bad == 0 {
		st.t.Errorf("%d situations, want at least %d, so that the test proves something", st.runs, least)
	}
}

func allPlaces() []place {
	var all []place
	for _, c := range conducts {
		for _, h := range holdings {
			all = append(all, place{c, h})
		}
	}
	return all
}

// All combinations of a conduct, a holding and a fate on a single node.
func TestSituationsOfOneNode(t *testing.T) {
	t.Parallel()
	st := &storm{t: t}
	seed := *firstSeed
	for _, p := range allPlaces() {
		for i, f := range fates {
			seed++
			st.run(newSituation(seed, f, 1+2*((i+int(seed))%2), []place{p}))
		}
	}
	st.ran(len(allPlaces()) * len(fates) / 2)
}

// All combinations of three of the places that differ most.
func TestSituationsOfThreeNodes(t *testing.T) {
	long.Test(t)
	t.Parallel()
	places := []place{
		{working, free}, {working, ownerA}, {working, ownerB}, {working, forEver}, {working, otherType}, {working, reserved},
		{bare, free}, {bare, ownerA}, {down, free}, {hung, free},
		{deaf, ownerA}, {noScripts, ownerA}, {flapping, ownerA}, {refusing, free},
	}
	st := &storm{t: t}
	seed := *firstSeed
	for i := range places {
		for j := range i + 1 {
			for k := range j + 1 {
				seed++
				st.run(newSituation(seed, fates[seed%uint64(len(fates))], 1+2*int(seed%2), []place{places[i], places[j], places[k]}))
			}
		}
	}
	st.ran(280) // half of all
}

// Random places on two to five nodes, of which at least half work.
func TestRandomSituations(t *testing.T) {
	t.Parallel()
	st := &storm{t: t}
	all := allPlaces()
	for seed := *firstSeed; seed < *firstSeed+uint64(*situations); seed++ {
		rng := rand.New(rand.NewPCG(seed, 12))
		var places []place
		for range []int{2, 3, 4, 5, 5}[rng.IntN(5)] {
			p := all[rng.IntN(len(all))]
			if rng.IntN(2) == 0 {
				p.conduct = working
			}
			places = append(places, p)
		}
		st.run(newSituation(seed, fates[rng.IntN(len(fates))], 1+2*rng.IntN(2), places))
	}
	st.ran(*situations / 2)
}

// Situations in which waiters once made hundreds or thousands of requests a second.
func TestSituationsThatWereStorms(t *testing.T) {
	st := &storm{t: t}
	for _, tc := range []struct {
		places  []place
		fate    fate
		waiters int
	}{
		// A vote that stays split because the owners do not release.
		{[]place{{working, free}, {working, ownerA}, {working, ownerB}}, expires, 1},
		{[]place{{working, free}, {working, ownerA}, {bare, ownerA}}, deleted, 1},
		// Losers with so many grants that others might sleep, so the losers notified them.
		{[]place{{working, free}, {down, free}, {working, ownerA}}, cancelled, 3},
		{[]place{{working, free}, {down, free}, {bare, ownerA}}, released, 3},
		{[]place{{working, free}, {down, free}, {working, forEver}, {working, ownerB}, {working, reserved}}, expires, 3},
		{[]place{{working, free}, {working, free}, {working, ownerA}, {working, ownerA}}, deleted, 3},
		// Sets with an unknown outcome, which are searched for wherever the lock is free.
		{[]place{{mute, reserved}, {noSubscriptions, ownerA}, {working, ownerA}}, returns, 1},
		{[]place{{mute, free}, {mute, ownerA}, {working, ownerA}}, returns, 1},
		{[]place{{breaking, free}, {breaking, ownerA}, {working, ownerA}}, returns, 3},
		// Subscriptions that end as soon as they begin.
		{[]place{{flapping, ownerA}}, released, 1},
		{[]place{{flapping, ownerA}, {flapping, ownerA}, {flapping, ownerA}}, deleted, 3},
	} {
		for seed := range uint64(4) {
			st.run(newSituation(*firstSeed+seed, tc.fate, tc.waiters, tc.places))
		}
	}
}

// The checks find the problems that they are made for.
func TestSituationChecksFindProblems(t *testing.T) {
	stubborn := &conduct{name: "deletes nothing", scripts: true, notifies: true, fault: faulty.On(func(op backend.Op) bool {
		return op.Kind == backend.OpEvalDelete || op.Kind == backend.OpEval && op.Script != lua.Acquire && op.Script != lua.Vote
	}, faulty.Refuse(errors.New("not now")))} // not for good, because then it would grant nothing
	held := []place{{working, ownerA}, {working, ownerA}, {working, ownerA}}
	for _, tc := range []struct {
		name   string
		places []place
		fate   fate
		retry  RetryPolicy
		notice string
	}{
		{"no problem", held, released, RetryPolicy{}, ""},
		{"a caller that spins", held, released, Fixed(time.Millisecond), "acquires in second"},
		{"a caller that asks too often", held, released, Fixed(30 * time.Millisecond), "attempts in"},
		{"a caller that sleeps while the lock is free", held, released, Fixed(11 * time.Second), "after it was free"},
		{"a caller that sleeps after a deletion", held, deleted, Fixed(11 * time.Second), "after it was free"},
		{"a caller that looks too rarely when leases end", held, expires, Fixed(11 * time.Second), "after it was free"},
		{"a key is left", []place{{stubborn, free}, {working, ownerA}, {working, ownerA}}, cancelled, RetryPolicy{}, "which holds"},
		{"a caller that gives up", held, released, Fixed(time.Second).Limit(2), "gives up"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newSituation(1, tc.fate, 1, tc.places)
			s.fencing, s.retry = false, tc.retry
			noticed := strings.Join(s.run(t), "\n")
			if !strings.Contains(noticed, tc.notice) || (noticed == "") != (tc.notice == "") {
				t.Errorf("%v: found %q, want %q", s, noticed, tc.notice)
			}
		})
	}
}
