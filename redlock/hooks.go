package redlock

import (
	"context"
	"time"
)

// Hooks are functions that observe a [Locker], for metrics and tracing. Any of them may
// be nil. They run on the goroutine that does the work, several at a time, so they must
// be safe for concurrent use and must not block. Calls rejected before any I/O invoke no
// hook.
//
// The ctx of Begin is that of the method that was called, so a span that Begin starts has
// the caller's span as its parent. An automatic extension and Lost have no caller. Their
// ctx carries the values of the ctx with which the lock was acquired, and never ends.
//
// Package redlockotel, a module of its own, has hooks for OpenTelemetry.
//
// Unlock ends the handle before it calls a hook, and decides whether a minimum hold
// ([WithMinHold]) keeps the lock on the nodes. Then it calls Lost if the validity was over, Begin,
// Round if it asks the nodes, and Unlocked. [Locks.Unlock] does each of these steps for all
// keys before the next one; only Unlocked of a key that stays on the nodes follows its Begin.
//
// A hook must not panic. The library does not recover the panic: in a call it reaches the
// caller, and on a goroutine of the library it ends the program. A call in which a hook
// panics leaves no key locked that nobody has a handle on. See docs/options.md.
type Hooks struct {
	// Begin is called when a call begins, before it asks a node, and when an automatic
	// extension does. The ctx that it returns goes to the other hooks of that call, and
	// nowhere else; it should derive from the one that Begin got. Of the Event only Op, Key,
	// Shared and Automatic are set. Exactly one of Locked, Extended and Unlocked follows, unless a
	// hook panics. If Begin is nil, the other hooks get its ctx unchanged.
	Begin func(context.Context, Event) context.Context

	// Waiting is called when Lock or Do begins to wait, at most once in a call. That is
	// after the first attempt has failed, or before it if other callers of the Locker
	// already wait. Err says why. Locked follows, with Waited set.
	Waiting func(context.Context, Event)

	// Round is called when a round of a call has ended: after each attempt of Lock, and
	// before Extended and Unlocked. Report and Err are those of the round.
	Round func(context.Context, Event)

	Locked   func(context.Context, Event) // Lock, TryLock, Do, TryDo or Resume ended
	Extended func(context.Context, Event) // an extension ended, including an automatic one
	Unlocked func(context.Context, Event) // Unlock or Release ended

	// Lost is called once for each lock that ended before it was unlocked. The contexts
	// of the lock have ended by then. It is called at once if the lock has a context or
	// extends itself, otherwise when a method of the lock finds out, at the latest
	// Unlock.
	Lost func(context.Context, Event)

	// Node is called with the answer of one node to each request that was sent to it. In
	// contrast to a Report, that includes answers that came after the round was decided,
	// deletions in the background, and requests to grant a lost lock again. So it measures
	// how fast nodes are, and which of them fail. It belongs to the nodes, which Lockers
	// may share: [New] uses it, and [Locker.With] ignores it.
	Node func(NodeEvent)
}

// An Event describes to a hook a call, or a lock that was lost.
type Event struct {
	// Op is "lock", "try lock" (a call that does not wait), "resume", "extend", "unlock" or
	// "release". It is empty in Lost.
	Op        string
	Automatic bool // an extension that [WithAutoExtend] or [Locker.Do] made

	Key     string        // as it is on the servers, with the prefix
	Shared  bool          // the lock is a shared one ([Locker.RLock])
	Tries   int           // the number of rounds
	Elapsed time.Duration // how long the call has taken so far; 0 in Lost, which has no call
	Waited  bool          // in Waiting and Locked: this call has invoked Waiting

	// Held is how long the lock was held. It is set in one event of each lock, Unlocked or
	// Lost, and is 0 in all others. [Locker.Release] does not know it.
	Held time.Duration

	Report Report // what the nodes did in the last round; in Lost, in the last that succeeded
	Err    error  // nil on success
}

// A NodeEvent describes to the hook Node what one node answered to one request.
type NodeEvent struct {
	Op string // what it was asked to do: "lock", "extend" or "unlock"

	// Rejoined is not set. Latency is the time from when the request was ready to be sent.
	NodeReport
}

// outliveCalls reports whether a hook may need the ctx of a call that has ended.
func (h *Hooks) outliveCalls() bool {
	return h.Begin != nil || h.Round != nil || h.Extended != nil || h.Lost != nil
}

// and returns hooks that call first those of h and then those of next.
func (h Hooks) and(next Hooks) Hooks {
	return Hooks{
		Begin:    bothBegin(h.Begin, next.Begin),
		Round:    both(h.Round, next.Round),
		Node:     bothNode(h.Node, next.Node),
		Waiting:  both(h.Waiting, next.Waiting),
		Locked:   both(h.Locked, next.Locked),
		Extended: both(h.Extended, next.Extended),
		Unlocked: both(h.Unlocked, next.Unlocked),
		Lost:     both(h.Lost, next.Lost),
	}
}

func both(first, second func(context.Context, Event)) func(context.Context, Event) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, e Event) {
		first(ctx, e)
		second(ctx, e)
	}
}

func bothBegin(first, second func(context.Context, Event) context.Context) func(context.Context, Event) context.Context {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(ctx context.Context, e Event) context.Context { return second(first(ctx, e), e) }
}

func bothNode(first, second func(NodeEvent)) func(NodeEvent) {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(e NodeEvent) {
		first(e)
		second(e)
	}
}
