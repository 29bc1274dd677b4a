package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/notify"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

// A rush is many processes whose callers wait for a few keys, in virtual time, with
// a seed that says how. Each process has a link to each node; links delay, and some
// lose and double requests, replies and messages, and break. Callers give up,
// processes die, nodes forget what they had. What is checked:
//
//   - two never hold a key at the same time (unless nodes forget);
//   - a gap, the time for which nobody holds a key for which a live caller waits,
//     is short, or there is something that explains it;
//   - everybody comes to an end;
//   - in the end nothing is left: no key, no queue, no inbox, no line.
type rush struct {
	bug   rushBug
	calm  bool // never rough
	rough bool // links lose, double and break, processes die
	loss  bool // nodes forget, and there is no quarantine
	slots int  // how many may hold a key; 0: one, without slots
	reads int  // how many percent of the callers only read, and may hold it together
	trip  time.Duration
	ttl   time.Duration
	hold  time.Duration // for about how long callers hold a key

	restarts   bool          // nodes forget, and nothing else goes wrong
	quarantine time.Duration // 0: none

	nodes     []*memory.Node
	inner     []backend.Node // what the links lead to
	need      int
	processes []*rusher
	keys      []*contested

	mu       sync.Mutex
	over     bool
	tokens   int
	events   []rushEvent // what may explain a gap
	problems []string
	gaps     []time.Duration
	reasons  map[string]int // of long gaps: how often
	stats    rushStats
}

type rushStats struct {
	won, read, together, downgraded, extended, sharesLost, rejoined, gaveUp, died, crashed, faults, lostMessages, disconnects, flushes int
}

func (s *rushStats) add(o rushStats) {
	s.won += o.won
	s.read += o.read
	s.together += o.together
	s.downgraded += o.downgraded
	s.extended += o.extended
	s.sharesLost += o.sharesLost
	s.rejoined += o.rejoined
	s.gaveUp += o.gaveUp
	s.died += o.died
	s.crashed += o.crashed
	s.faults += o.faults
	s.lostMessages += o.lostMessages
	s.disconnects += o.disconnects
	s.flushes += o.flushes
}

// A rushEvent is something that makes a gap longer: a fault, or a process that died.
type rushEvent struct {
	at    time.Time
	lasts time.Duration // how much later a caller may come and suffer from it
	what  string
	p     *rusher // whose waiters may have lost their places by it; nil: everybody's
}

// contested is a key and who holds it, and waits for it.
type contested struct {
	name    string
	waiting int // live callers
	waits   []*rushWait
	holds   []*hold    // that were granted
	free    *time.Time // since when there is a gap
}

// A rushWait is one caller's wait for a key.
type rushWait struct {
	p           *rusher
	begin, over time.Time // over is zero as long as it waits
	shared      bool
}

// A hold is a lock that somebody holds.
type hold struct {
	p          *rusher
	key, token string
	until      time.Time
	released   bool      // or its release has begun
	over       time.Time // when that was
	found      bool      // not to have ended
	shared     bool
	lowered    time.Time // when it became that of a reader; zero: not since it was granted
	on         []loss    // by node
}

func (h *hold) valid(now time.Time) bool { return !h.released && now.Before(h.until) }

// rushBug is a mistake that is made on purpose, to show that it would be noticed.
type rushBug string

const (
	noRushBug        rushBug = ""
	quitsSilently    rushBug = "no RELEASE at giving up"
	clearsLate       rushBug = "calls cleared after the ask rather than before"
	neverCalls       rushBug = "rollbacks that never call"
	releasesSilently rushBug = "a release without a call"
	staleTicket      rushBug = "a RELEASE with the ticket after a newer ACQUIRE"
	healsSilently    rushBug = "no wake after a subscription that broke"

	// With slots.
	seesNone      rushBug = "no look for free slots"
	countsOnNodes rushBug = "each node counts"
)

func (s *rush) problem(format string, args ...any) {
	if len(s.problems) < 5 {
		s.problems = append(s.problems, time.Now().Format("05.000000 ")+fmt.Sprintf(format, args...))
	}
}

// A rusher is a process: a group, and links to the nodes.
type rusher struct {
	*Group
	rush  *rush
	slots map[string]*Slots // by key
	dead  context.Context   // ended when it has died
	die   context.CancelFunc
	link  []*link
}

// A link is the way from a process to a node and back.
type link struct {
	*faulty.FaultNode
	p     *rusher
	index int
	mem   *memory.Node

	mu      sync.Mutex
	rng     *rand.Rand
	rejoins map[string]backend.Op // by token, for a mistake
}

func (s *rush) newRusher(seed uint64) *rusher {
	p := &rusher{rush: s, slots: make(map[string]*Slots)}
	for _, key := range s.keys {
		p.slots[key.name] = NewSlots(s.slots)
	}
	p.dead, p.die = context.WithCancel(context.Background())
	id := len(s.processes)
	var nodes []backend.Node
	for i, mem := range s.nodes {
		l := &link{p: p, index: i, mem: mem, rng: rand.New(rand.NewPCG(seed, uint64(i))), rejoins: make(map[string]backend.Op)}
		l.FaultNode = faulty.NewFaultNode(s.inner[i])
		l.Set(l.network)
		p.link, nodes = append(p.link, l), append(nodes, l)
	}
	inboxes := 0
	g, err := NewGroup(nodes, Config{
		Config: attempt.Config{Quarantine: s.quarantine, Marker: "marker"},
		Inbox: func() string {
			inboxes++
			return fmt.Sprintf("inbox-%d-%d", id, inboxes)
		},
	})
	if err != nil {
		panic(err)
	}
	p.Group = g
	s.processes = append(s.processes, p)
	s.need = g.Need()
	return p
}

func (l *link) draw(d time.Duration) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return draw(l.rng, d)
}

func (l *link) percent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rng.IntN(1000)
}

// lostEcho is a message by which the inbox would have known that it hears the node.
const lostEcho = "a lost echo"

// aftermath returns for how long callers that come later may suffer from a fault. After a node has
// forgotten, a holder or the quarantine keeps them out, although nobody has a quorum. After
// a lost echo, the inbox does not hear the node for a minute.
func (s *rush) aftermath(what string) time.Duration {
	switch {
	case s.restarts:
		return max(s.ttl, s.quarantine)
	case what == lostEcho:
		return notify.MuteAgain + notify.EchoLate
	}
	return 0
}

// event notes what may explain a gap.
func (s *rush) event(what string, p *rusher, count *int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, rushEvent{time.Now(), s.aftermath(what), what, p})
	*count++
}

func (s *rush) rules() (over bool, rough bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over, s.rough
}

// network is the way of requests and replies.
func (l *link) network(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
	s := l.p.rush
	half := s.trip / 2
	there, back := half+l.draw(half/2+1), half+l.draw(half/2+1)
	over, rough := s.rules()
	fault := faulty.Chain(faulty.Delay(there), faulty.DelayReply(back))
	if l.p.dead.Err() != nil { // nothing leaves a dead process
		return faulty.Refuse(nil)(ctx, ops, next)
	}
	if rough && !over && ops[0].Kind != faulty.OpSubscribe {
		switch what := l.percent(); {
		case what < 5:
			s.event("a lost request", l.p, &s.stats.faults)
			fault = faulty.Chain(faulty.Delay(there), faulty.LoseRequest(nil))
		case what < 10:
			s.event("a lost reply", l.p, &s.stats.faults)
			fault = faulty.Chain(faulty.Delay(there), faulty.LoseReply(io.ErrUnexpectedEOF))
		case what < 13:
			s.event("a slow request", l.p, &s.stats.faults)
			fault = faulty.Chain(faulty.Late(l.draw(20*s.trip)), faulty.DelayReply(back))
		case what < 16:
			s.event("a slow reply", l.p, &s.stats.faults)
			fault = faulty.Chain(faulty.Delay(there), faulty.DelayReply(l.draw(20*s.trip)))
		case what < 19:
			s.event("a doubled request", l.p, &s.stats.faults)
			fault = faulty.Chain(fault, faulty.Duplicate(l.draw(20*s.trip)))
		}
	}
	return fault(ctx, ops, next)
}

// mistake makes the mistakes that are made before op is sent.
func (l *link) mistake(op backend.Op) backend.Op {
	if l.p.rush.bug == countsOnNodes {
		return l.counted(op)
	}
	if l.p.rush.reads > 0 {
		return l.mistakeOfReaders(op)
	}
	if op.Kind != backend.OpEval || op.Script == lua.Acquire {
		return op
	}
	switch l.p.rush.bug {
	case quitsSilently: // what is no release of a lock is not sent
		if e, _ := l.mem.Inspect(context.Background(), op.Keys[0]); op.Script == lua.Release && e.Value != op.Args[0] {
			return nothing
		}
	case neverCalls:
		if op.Script == lua.Rollback {
			op.Args = []string{op.Args[0], op.Args[1], op.Args[2], "0"}
		}
	case releasesSilently:
		if op.Script == lua.Release {
			op = backend.Op{Kind: backend.OpEval, Script: lua.Delete, Keys: op.Keys[:1], Args: op.Args[:1]}
		}
	case staleTicket:
		ls := &l.p.locals
		ls.mu.Lock()
		if op.Script == lua.Release && ls.inbox != nil {
			op.Args = []string{op.Args[0], ls.inbox.ticket}
		}
		ls.mu.Unlock()
	}
	return op
}

// nothing is sent instead of what a mistake leaves out.
var nothing = backend.Op{Kind: backend.OpEval, Script: lua.Delete, Keys: []string{"nothing"}, Args: []string{"none"}}

// mistakeAfter makes those that are made when the answer is there.
func (l *link) mistakeAfter(ops []backend.Op) {
	for _, op := range ops {
		switch b := l.p.rush.bug; {
		case b == rejoinsLate && op.Script == lua.ReleaseShared:
			l.rejoinAgain(op)
		case b == clearsLate && op.Script == lua.Acquire:
			ls := &l.p.Group.locals
			ls.mu.Lock()
			if q := ls.byKey[op.Keys[0]]; q != nil && len(q.waiters) > 0 {
				q.waiters[0].notices[l.index] = false
			}
			ls.mu.Unlock()
		}
	}
}

// Eval and Batch make the mistakes.

func (l *link) Eval(ctx context.Context, script *backend.Script, keys, args []string) (backend.Reply, error) {
	if script == lua.Slots && l.p.rush.bug == seesNone {
		return allTaken(keys), nil
	}
	op := l.mistake(backend.Op{Kind: backend.OpEval, Script: script, Keys: keys, Args: args})
	reply, err := l.FaultNode.Eval(ctx, op.Script, op.Keys, op.Args)
	l.mistakeAfter([]backend.Op{op})
	l.Forget()
	return reply, err
}

func (l *link) Batch(ctx context.Context, ops []backend.Op) []backend.Result {
	own := make([]backend.Op, len(ops))
	for i, op := range ops {
		own[i] = l.mistake(op)
	}
	results := l.FaultNode.Batch(ctx, own)
	l.mistakeAfter(own)
	l.Forget()
	return results
}

// Subscribe delays messages, and loses some.
func (l *link) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	s := l.p.rush
	message := events.Message
	events.Message = func(payload string) {
		over, rough := s.rules()
		if rough && !over && l.percent() < 10 {
			what := "a lost message"
			if _, ok := proto.ParseMessage(payload); !ok {
				what = lostEcho
			}
			s.event(what, l.p, &s.stats.lostMessages)
			return
		}
		time.Sleep(s.trip/2 + l.draw(s.trip/4+1))
		message(payload)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(l.p.dead, stop)()
	if s.bug != healsSilently {
		return l.FaultNode.Subscribe(ctx, channel, events)
	}
	first := true
	ready := events.Ready
	events.Ready = func() {
		if first {
			ready()
		}
		first = false
	}
	for {
		err := l.FaultNode.Subscribe(ctx, channel, events)
		if !errors.Is(err, faulty.ErrDisconnected) {
			return err
		}
		time.Sleep(notify.MinResubscribe)
	}
}

// simulateRush runs the rush of a seed, with a mistake. Calm says that there are no
// faults in any case.
func simulateRush(t *testing.T, seed uint64, b rushBug, calm bool) *rush {
	t.Helper()
	return simulateSlots(t, seed, b, calm, 0)
}

// simulateSlots is simulateRush for keys that so many may hold.
func simulateSlots(t *testing.T, seed uint64, b rushBug, calm bool, slots int) *rush {
	t.Helper()
	s := &rush{bug: b, calm: calm, slots: slots, reasons: map[string]int{}}
	s.bubble(t, seed)
	return s
}

// bubble runs the rush in virtual time.
func (s *rush) bubble(t *testing.T, seed uint64) {
	t.Helper()
	synctest.Test(t, func(*testing.T) { s.run(rand.New(rand.NewPCG(seed, 7))) })
}

func (s *rush) String() string {
	return fmt.Sprintf("%d nodes, %d processes, %d keys, %v away, rough: %v, nodes that forget: %v, a quarantine: %v",
		len(s.nodes), len(s.processes), len(s.keys), s.trip, s.rough, s.loss || s.restarts, s.quarantine)
}

func (s *rush) run(rng *rand.Rand) {
	n := []int{1, 1, 2, 3, 3, 5}[rng.IntN(6)]
	s.rough = rng.IntN(2) == 0 && !s.calm
	s.loss = s.rough && rng.IntN(4) == 0
	s.trip = []time.Duration{200 * time.Microsecond, time.Millisecond, 2 * time.Millisecond}[rng.IntN(3)]
	s.ttl = 2 * time.Second
	if s.restarts {
		if s.loss = rng.IntN(2) == 0; !s.loss {
			s.quarantine = s.ttl + 100*time.Millisecond
		}
	}
	for i := range n {
		mem := memory.New(memory.WithName(fmt.Sprint("n", i)))
		s.nodes, s.inner = append(s.nodes, mem), append(s.inner, mem)
		if s.restarts {
			s.inner[i] = s.newWitness(mem)
		}
	}
	for k := range 1 + rng.IntN(2) {
		s.keys = append(s.keys, &contested{name: fmt.Sprint("k", k)})
	}
	s.hold = []time.Duration{time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond}[rng.IntN(3)]
	var everybody sync.WaitGroup
	for range 2 + rng.IntN(5) {
		p := s.newRusher(rng.Uint64())
		if s.quarantine > 0 && len(s.processes) == 1 {
			p.Mark(context.Background())
		}
		for range 1 + rng.IntN(2) {
			c := &rushCaller{p: p, hold: s.hold, rng: rand.New(rand.NewPCG(rng.Uint64(), 8))}
			everybody.Go(c.work)
		}
	}
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.watch(ended)
	}()
	nemesis := rand.New(rand.NewPCG(rng.Uint64(), 9))
	everybody.Go(func() { s.trouble(nemesis) })
	finished := make(chan struct{})
	go func() {
		everybody.Wait()
		close(finished)
	}()
	select {
	case <-finished:
	case <-time.After(20 * time.Minute):
		s.mu.Lock()
		s.problem("somebody waits for ever")
		s.mu.Unlock()
		for _, p := range s.processes {
			p.die()
		}
		<-finished
	}
	close(ended)
	<-watched
	s.end()
}

// trouble breaks subscriptions, lets nodes forget, and kills processes.
func (s *rush) trouble(rng *rand.Rand) {
	if s.restarts {
		s.forget(rng)
		return
	}
	if !s.rough && s.bug != healsSilently {
		return // what heals is broken here all the same, and is no reason
	}
	for range 2 + rng.IntN(6) {
		time.Sleep(draw(rng, 100*time.Millisecond))
		p := s.processes[rng.IntN(len(s.processes))]
		switch what := rng.IntN(5); {
		case what == 0 && s.loss:
			s.event("a node that forgets", nil, &s.stats.flushes)
			s.nodes[rng.IntN(len(s.nodes))].Flush()
		case what == 1 && s.rough:
			s.event("a process that dies", p, &s.stats.died)
			p.die()
		default:
			if s.bug != healsSilently {
				s.event("a disconnected inbox", p, &s.stats.disconnects)
			}
			for _, l := range p.link {
				l.Disconnect()
			}
		}
	}
}

// A rushCaller locks and unlocks at random.
type rushCaller struct {
	p    *rusher
	hold time.Duration
	rng  *rand.Rand
}

func (c *rushCaller) work() {
	for range 3 + c.rng.IntN(4) {
		time.Sleep(draw(c.rng, c.hold))
		if c.p.dead.Err() != nil {
			return
		}
		c.lock()
	}
}

func (s *rush) token() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens++
	return fmt.Sprint("t", s.tokens)
}

func (c *rushCaller) lock() {
	s, p := c.p.rush, c.p
	key := s.keys[c.rng.IntN(len(s.keys))]
	ctx, cancel := context.WithCancel(p.dead)
	defer cancel()
	switch c.rng.IntN(8) {
	case 0:
		time.AfterFunc(draw(c.rng, 10*c.hold), cancel)
	case 1:
		ctx, cancel = context.WithTimeout(ctx, draw(c.rng, 10*c.hold)+1)
		defer cancel()
	}
	shared := s.reads > 0 && c.rng.IntN(100) < s.reads
	wait := s.waits(key, p, shared)
	stop := sync.OnceFunc(func() { s.ends(key, wait) })
	defer context.AfterFunc(ctx, stop)()
	r := p.waiting(key.name, s.ttl, 100*time.Millisecond, caller{token: s.token})
	if s.slots > 0 {
		r.Key, _ = proto.PermitsKey(key.name)
		r.Slots = p.slots[key.name]
	}
	r.Shared = shared
	held, res := p.Lock(ctx, r)
	stop()
	if res.Verdict != round.Won {
		s.mu.Lock()
		s.stats.gaveUp++
		s.mu.Unlock()
		return
	}
	h := s.granted(key, held, p, shared)
	time.Sleep(draw(c.rng, c.hold))
	if s.reads > 0 && !shared && c.rng.IntN(4) == 0 {
		s.downgrade(h, held)
		time.Sleep(draw(c.rng, c.hold))
		shared = true
	}
	if shared && c.rng.IntN(2) == 0 {
		c.keep(h, held)
	}
	s.mu.Lock()
	crashed := p.dead.Err() != nil
	if s.rough && c.rng.IntN(50) == 0 {
		s.stats.crashed++
		crashed = true
	}
	if !crashed {
		h.released, h.over = true, time.Now()
	}
	until := h.until
	s.mu.Unlock()
	if crashed { // a lease does this. Of a process that has died, nothing arrives
		time.AfterFunc(time.Until(until), held.Lose)
	} else {
		held.Release(context.Background(), 100*time.Millisecond)
	}
}

func (s *rush) waits(key *contested, p *rusher, shared bool) *rushWait {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &rushWait{p: p, begin: time.Now(), shared: shared}
	key.waits = append(key.waits, w)
	key.waiting++
	return w
}

func (s *rush) ends(key *contested, w *rushWait) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.over = time.Now()
	key.waiting--
}

func (s *rush) granted(key *contested, a Held, p *rusher, shared bool) *hold {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.won++
	now := time.Now()
	others := 0
	for _, other := range key.holds {
		switch {
		case !other.valid(now):
		case shared && other.shared:
			s.stats.together++
		default:
			others++
		}
	}
	if shared {
		s.stats.read++
	}
	if others >= max(s.slots, 1) && !s.loss {
		s.problem("%s is granted to %s while %d others hold it", key.name, a.Token(), others)
	}
	h := &hold{p: p, key: key.name, token: a.Token(), until: a.Begun.Time().Add(s.ttl), shared: shared, on: make([]loss, len(s.nodes))}
	if shared {
		h.until = h.until.Add(-shareSlack)
	}
	key.holds = append(key.holds, h)
	return h
}

// full reports whether as many hold the key as may.
func (s *rush) full(key string) bool {
	if s.reads > 0 {
		return s.ownedOrRead(key)
	}
	if s.slots == 0 {
		return s.owned(key)
	}
	name, _ := proto.PermitsKey(key)
	for i := range s.slots {
		if !s.owned(proto.SlotKey(name, i+1)) {
			return false
		}
	}
	return true
}

// owned reports whether somebody stands on a quorum of nodes.
func (s *rush) owned(key string) bool {
	count := map[string]int{}
	for _, n := range s.nodes {
		e, _ := n.Inspect(context.Background(), key)
		if !e.Found || strings.HasPrefix(e.Value, "~") {
			continue
		}
		if count[e.Value]++; count[e.Value] >= s.need {
			return true
		}
	}
	return false
}

// tick is how often the gaps are looked at.
const tick = time.Millisecond

// What gaps may be. Without a fault the one that is reserved for comes in a round
// trip, or the one behind it in little more than the grace, and split votes are
// rare; far longer ones need a reason.
const (
	usualGap = minGrace      // 99 % are no longer
	longGap  = 3 * minGrace  // 99.9 % are no longer
	oddGap   = 10 * minGrace // longer ones have a reason each
)

// watch measures the gaps.
func (s *rush) watch(ended <-chan struct{}) {
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ended:
			return
		case <-ticker.C:
		}
		s.mu.Lock()
		for _, key := range s.keys {
			now := time.Now()
			if s.reads > 0 && !s.rough {
				s.overdue(key)
			}
			switch gap := key.waiting > 0 && !s.full(key.name) || s.idleReader(key); {
			case gap && key.free == nil:
				key.free = &now
			case !gap && key.free != nil:
				s.gap(key, *key.free, now)
				key.free = nil
			}
		}
		s.mu.Unlock()
	}
}

// gap takes note of a gap. A long one must have a reason: a fault shortly before it
// or within, or one by which somebody who still waits may have lost its place, or
// its call. The timers of those who wait end it.
func (s *rush) gap(key *contested, from, to time.Time) {
	d := to.Sub(from)
	s.gaps = append(s.gaps, d)
	if d <= oddGap {
		return
	}
	var reasons []string
	for _, e := range s.events {
		recent := e.at.After(from.Add(-oddGap/2)) && e.at.Before(to)
		lasts := slices.ContainsFunc(key.waits, func(w *rushWait) bool {
			return (e.p == nil || e.p == w.p) && w.begin.Before(e.at.Add(e.lasts)) && (w.over.IsZero() || w.over.After(from)) && e.at.Before(to)
		})
		if (recent || lasts) && !slices.Contains(reasons, e.what) {
			reasons = append(reasons, e.what)
		}
	}
	if s.reads > 0 && s.diedReading(key, from) {
		reasons = append(reasons, "a reader that died")
	}
	for _, reason := range reasons {
		s.reasons[reason]++
	}
	if len(reasons) == 0 {
		s.problem("%s was free for %v while somebody waited, for no reason", key.name, d)
	}
	if most := 2 * time.Duration(len(s.processes)+1) * attempt.LookAgain; d > most {
		s.problem("%s was free for %v while somebody waited, longer than any timer (%q)", key.name, d, reasons)
	}
}

// end waits until everything is over, and looks at what is left.
func (s *rush) end() {
	s.mu.Lock()
	s.over = true
	s.mu.Unlock()
	for _, p := range s.processes {
		ctx, cancel := context.WithTimeout(context.Background(), 2*s.ttl+4*sender.CallTimeout)
		if err := p.Wait(ctx); err != nil {
			s.problem("%d cleanups do not end: %v", p.Cleanups(), err)
		}
		cancel()
	}
	time.Sleep(2*sender.CallTimeout + 2*linger)
	if s.rough {
		time.Sleep(11 * time.Minute) // what died, or was lost, leaves a ticket that expires with its queue
	}
	synctest.Wait()
	for _, n := range s.nodes {
		if keys := slices.DeleteFunc(n.Keys(), func(key string) bool { return key == "marker" }); len(keys) > 0 {
			s.problem("%q are left on %s", keys, n.Name())
		}
	}
	for i, p := range s.processes {
		if left := atRest(p.Group); left != "" {
			s.problem("process %d: %s", i, left)
		}
		p.die()
	}
}

func TestWaitingSchedules(t *testing.T) {
	n := (*schedules + 19) / 20 // each is as long as many of the others
	if testing.Short() {
		n = min(n, 10)
	}
	total, calm := rushes(t, n, func(seed uint64) *rush { return simulateRush(t, seed, noRushBug, false) })
	if n < 100 {
		return
	}
	if problem := gapsOf(calm, 100); problem != "" {
		t.Error(problem)
	}
	checkHappened(t, total, n/10)
}

// checkHappened fails the test unless what schedules are for has happened in them at least that
// often.
func checkHappened(t *testing.T, total rushStats, least int) {
	t.Helper()
	for what, count := range map[string]int{
		"granted": total.won / 10, "given up": total.gaveUp, "died": total.died, "crashed": total.crashed, "faults": total.faults,
		"lost messages": total.lostMessages, "disconnected": total.disconnects, "forgot": total.flushes * 10,
	} {
		if count < least {
			t.Errorf("%s: too rarely, %d, want at least %d", what, count, least)
		}
	}
}

// The schedules notice what they are to notice. A bug is noticed after some 50 schedules at the
// most, on average; which ones do differs between runs of the same seed. An acquire that
// overtakes a deletion, and a call that is not passed on, cost no more than a grace here:
// TestAcquireWaitsForTheDeletion and TestCallIsPassedOn notice those.
func TestWaitingSchedulesNoticeBugs(t *testing.T) {
	rushesNotice(t, 1000, 100, func(t *testing.T, seed uint64, b rushBug) *rush { return simulateRush(t, seed, b, true) },
		quitsSilently, clearsLate, neverCalls, releasesSilently, staleTicket, healsSilently)
}
