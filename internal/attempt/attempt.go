package attempt

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/quorumlock/quorumlock/internal/clock"
	"github.com/quorumlock/quorumlock/internal/ending"
	"github.com/quorumlock/quorumlock/internal/mono"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

// An Attempt is one token on every node. [New] makes one for each token that is tried, and
// [Nodes.Adopt] makes one for a token that was acquired elsewhere. Its methods may be
// called concurrently.
type Attempt struct {
	nodes      *Nodes
	key, token string

	// Set only if the attempt waits in a local queue: where it is notified, and what it
	// asks for.
	local   Queue
	asked   mono.Time // when its caller began to wait
	ttl     time.Duration
	timeout time.Duration

	voting *voting // for its fencing token; nil: none is wanted

	mu     sync.Mutex
	states []*nodeState  // node states; nil once released and no longer needed
	room   [3]*nodeState // for states; most groups have no more nodes
	gone   bool          // an extension found that a quorum does not have the token
	reads  bool          // it was made to read; constant
	slot   bool          // the key is that of a slot; constant
	shared *sharing      // nil: the mode is not shared; it does not change once a is released
	until  clock.Instant // end of the lease, if it won in a local queue; zero: it has ended

	// The keys and arguments of a release without a ticket: see name.
	plain struct {
		keys [2]string // the second is that of the queue; "": the key has none
		room [1]string
		args []string // uses room, unless the release is announced
	}

	// Space for the two rounds that every attempt has; allocated separately, they would
	// be most of what a lock allocates. Each is used for one round. Its votes do not
	// change after the verdict, because they then belong to the caller, as part of a
	// Result.
	acquired, released round.Round
}

// A lone is an attempt on one node with all that belongs to it. Allocated separately, its
// parts would be half of the allocations of a lock. None could be freed earlier: a waiting
// deletion needs the node state and the attempt.
type lone struct {
	Attempt
	state nodeState
	votes [2]round.Vote
}

// New returns the attempt to get key with token, which was never used before. It does no
// I/O.
func New(ns *Nodes, key, token string) *Attempt {
	n := len(ns.Members)
	_, _, slot := proto.Slot(key)
	if n == 1 {
		l := &lone{Attempt: Attempt{nodes: ns, key: key, token: token, slot: slot}}
		l.state.attempt, l.state.member = &l.Attempt, ns.Members[0].Of(key)
		l.room[0] = &l.state
		l.states = l.room[:1]
		l.acquired.Votes, l.released.Votes = l.votes[:1:1], l.votes[1:]
		return &l.Attempt
	}
	a := &Attempt{nodes: ns, key: key, token: token, slot: slot}
	votes := make([]round.Vote, 2*n)
	a.acquired.Votes, a.released.Votes = votes[:n:n], votes[n:]
	a.states = a.room[:0]
	for i := range n {
		a.states = append(a.states, &nodeState{attempt: a, member: ns.Members[i].Of(key), index: i})
	}
	return a
}

// Adopt returns the attempt of a token that was acquired elsewhere, perhaps by another
// process. It does no I/O. life is how long a key with that token can still live, and so
// how long its deletion is worth repeating.
func (ns *Nodes) Adopt(key, token string, life time.Duration) *Attempt {
	a := New(ns, key, token)
	now := time.Now()
	a.acquired.Start = now // the best guess
	for i := range a.states {
		a.states[i].token = held
		a.states[i].mayLive(life, false, now)
	}
	return a
}

// Acquire asks every node to grant the token for ttl, in whole milliseconds. It returns as
// soon as the verdict is known, and at the latest after timeout, the time to wait for a
// node, or when ctx ends. (A fencing token may take a second round.) Unless it won, it
// releases the token in the background. It may be called once.
func (a *Attempt) Acquire(ctx context.Context, ttl, timeout time.Duration) (res round.Result) {
	defer func() {
		if res.Verdict != round.Won { // or a hook has panicked
			a.Abandon()
		}
	}()
	won := a.round(ctx, request{kind: round.Acquiring, ttl: ttl, timeout: timeout})
	if won.Verdict == round.Won {
		won = a.Agree(ctx, won, timeout)
	}
	return won
}

// Key returns the key.
func (a *Attempt) Key() string { return a.key }

// Name returns what the attempt has in common with others that use the same ticket: for a
// slot the name of its permits, otherwise the key. What is sent for a name is ordered.
func (a *Attempt) Name() string {
	if !a.slot { // the usual case
		return a.key
	}
	name, _, _ := proto.Slot(a.key)
	return name
}

// Begun returns when the token was first asked for.
func (a *Attempt) Begun() time.Time { return a.acquired.Start }

// Token returns the token.
func (a *Attempt) Token() string { return a.token }

// Extend makes the token live for at least ttl more, in whole milliseconds, on every node
// that has it. It returns as soon as the verdict is known, and at the latest after timeout,
// the time to wait for a node, or when ctx ends. It never shortens the life of a key, and
// never brings a key back.
func (a *Attempt) Extend(ctx context.Context, ttl, timeout time.Duration) round.Result {
	return a.round(ctx, request{kind: round.Extending, ttl: ttl, timeout: timeout})
}

// Release deletes the token from every node that has it or may have it. It returns when
// Extend does, except that a ctx that has already ended does not shorten the wait.
// Deletions that have not succeeded by then continue in the background until they do, or
// until no key of the token can be alive.
func (a *Attempt) Release(ctx context.Context, timeout time.Duration) round.Result {
	return a.drop(ctx, request{kind: round.Releasing, timeout: timeout})
}

// ReleaseAll is Release, but its verdict waits for every node. So its votes show the answer
// of each node, or why there is none.
func (a *Attempt) ReleaseAll(ctx context.Context, timeout time.Duration) round.Result {
	return a.drop(ctx, request{kind: round.Releasing, timeout: timeout, all: true})
}

func (a *Attempt) drop(ctx context.Context, req request) round.Result {
	defer a.nodes.releasing(a)
	if ctx.Err() != nil {
		ctx = context.WithoutCancel(ctx)
	}
	if a.nodes.releases.Enter(ctx, a.acquired.Start) {
		defer a.nodes.releases.Leave()
	}
	return a.round(ctx, req)
}

// shed frees what a released attempt no longer needs. A deletion may wait for its node
// for a long time; it should keep only its own node state and a alive. The caller holds
// the mutex.
func (a *Attempt) shed() {
	if a.local != nil {
		return // it may still have to remove its ticket from a queue
	}
	clear(a.room[:])
	a.states = nil
	a.acquired.Votes, a.released.Votes = nil, nil
}

// start asks every node for req.
func (a *Attempt) start(req request) {
	if req.kind == round.Releasing {
		a.clean(req, req.round.Start)
	} else {
		a.ask(req, req.round.Start)
	}
}

func (a *Attempt) ask(req request, now time.Time) {
	for _, s := range a.states {
		s.ask(req, now)
	}
	a.skip(req, now)
}

// Abandon releases the token in the background.
func (a *Attempt) Abandon() {
	defer a.nodes.releasing(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.clean(request{kind: round.Releasing}, time.Now())
}

// clean asks every node to delete the token.
func (a *Attempt) clean(req request, now time.Time) {
	for _, s := range a.states {
		s.clean(req, now)
	}
	a.skip(req, now)
}

// skip answers req if a has no node states any more, because then nothing is left to ask.
func (a *Attempt) skip(req request, now time.Time) {
	if a.states == nil {
		for i := range a.nodes.Members {
			req.round.Count(i, round.Vote{Outcome: round.Skipped}, now)
		}
	}
}

// Lasts sets when the lease of a, which has won, ends unless it is extended again. Until
// then, nodes that notify this process are added to the lock.
func (a *Attempt) Lasts(until clock.Instant) {
	if a.local == nil { // nobody notifies it
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until = until
}

// Lose says that the lease of a has ended although a was not released. From then on no
// node is added to it. Release still deletes the token from the nodes that have it, and
// counts them.
func (a *Attempt) Lose() {
	if a.local == nil {
		return
	}
	a.Lasts(clock.Instant{})
	a.nodes.dismiss(a)
}

// MayLeave reports whether a may leave the queue of node i before it is released: its token
// is not there and will not come there, or it has become a reader.
func (a *Attempt) MayLeave(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.lowered() || a.states[i].token == absent
}

// Join asks node i, which has notified this process, to grant a lock that a has won
// without it: the more nodes have a lock, the more of them may fail.
//
// It reports whether a uses the notification, now or when it is released. a does not if
// it is being released, or has become a reader: the notification is for its ticket, which is
// that of a caller that wants the lock for itself. It does not if its lease has ended either,
// because it would take the node from the next holder.
func (a *Attempt) Join(i int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[i]
	if s.released.Load() || a.lowered() || a.until.Past(a.nodes.Config.Clock.Now()) {
		return false
	}
	// A rejoin that is under way names no ticket, so the node rejects it while the lock
	// is reserved for us.
	rejoins := s.busy && isRejoin(s.current) && !slices.ContainsFunc(s.queue, isJoin)
	if (s.token == absent || rejoins) && !s.rejoin.bars(time.Now()) {
		s.ask(request{kind: round.Acquiring, joins: true, ttl: a.ttl, timeout: a.timeout}, time.Now())
	}
	return true
}

// LeaveQueue removes the ticket from the queue of node i. If a holds the lock, it does nothing,
// because its release does that, and a deletion would take the node from the lock. If a has
// become a reader, it removes the ticket alone.
func (a *Attempt) LeaveQueue(i int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch s := a.states[i]; {
	case a.lowered() && !s.released.Load():
		a.nodes.cleanup.Add(1) // until another attempt does it
		s.ask(request{kind: round.Releasing, leaves: true}, time.Now())
	case s.released.Load() || a.until.Past(a.nodes.Config.Clock.Now()):
		s.clean(request{kind: round.Releasing}, time.Now())
	}
}

func (a *Attempt) newRound(k round.Kind, start time.Time) *round.Round {
	a.mu.Lock()
	defer a.mu.Unlock()
	var r *round.Round
	switch {
	case k == round.Acquiring:
		r = &a.acquired // an attempt acquires only once
	case k == round.Releasing && a.released.Kind == 0:
		r = &a.released
	default:
		r = &round.Round{Votes: make([]round.Vote, len(a.nodes.Members))}
	}
	r.Kind, r.Need, r.Start = k, a.nodes.Need(), start
	return r
}

// round asks every node for req and waits for the verdict.
func (a *Attempt) round(ctx context.Context, req request) round.Result {
	req.round = a.newRound(req.kind, time.Now())
	req.round.All = req.all
	alone := a.nodes.alone(ctx, []*Attempt{a}, []request{req})
	return a.await(ctx, req, a.send(req, alone))
}

// send asks every node for req, unless that was done already. It returns the deadline of
// the round, or nil if there is a verdict.
func (a *Attempt) send(req request, done bool) (p *round.Deadline) {
	r := req.round
	a.mu.Lock()
	defer a.mu.Unlock()
	if !done {
		a.start(req)
	}
	if r.Verdict == round.Undecided {
		p = a.nodes.deadlines.Begin(r.Start, req.timeout)
		r.Bell = &p.Bell
	}
	return p
}

// await waits for the verdict of a round that was sent. p is what send returned.
func (a *Attempt) await(ctx context.Context, req request, p *round.Deadline) round.Result {
	r := req.round
	if p != nil {
		p.Wait(ctx, nil)
	}

	a.mu.Lock()
	defer a.mu.Unlock()
	if p != nil {
		r.Bell = nil
		a.nodes.deadlines.End(p)
	}
	if req.kind == round.Releasing {
		defer a.shed()
	}
	ctxErr := ending.Err(ctx)
	switch {
	case r.Verdict == round.Won || r.Verdict == round.Lost || r.Verdict == round.Gone:
		ctxErr = nil // the nodes decided, so ctx did not end the round
	case r.Verdict == round.Undecided && ctxErr != nil:
		r.Cut()
	case r.Verdict == round.Undecided:
		r.Expire(a.late(req.timeout))
	}
	return r.Result(ctxErr)
}

// late returns a function that returns the error of node i, which has not answered within
// timeout.
func (a *Attempt) late(timeout time.Duration) func(i int) error {
	return func(i int) error { return a.nodes.Members[i].Of(a.key).Late(context.DeadlineExceeded, timeout) }
}
