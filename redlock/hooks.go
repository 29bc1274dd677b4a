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
// The ctx is that of the method that was called, so a span that a hook starts has the
// caller's span as its parent. An automatic extension and Lost have no caller. Their ctx
// carries the values of the ctx with which the lock was acquired, and never ends.
//
// A hook must not panic. The library does not recover the panic: in a call it reaches the
// caller, and on a goroutine of the library it ends the program. See docs/options.md.
type Hooks struct {
	// Waiting is called when Lock or Do begins to wait, at most once in a call. That is
	// after the first attempt has failed, or before it if other callers of the Locker
	// already wait. Err says why. Locked follows, with Waited set.
	Waiting func(context.Context, Event)

	Locked   func(context.Context, Event) // Lock, TryLock, Do, TryDo or Resume ended
	Extended func(context.Context, Event) // an extension ended, including an automatic one
	Unlocked func(context.Context, Event) // Unlock or Release ended

	// Lost is called once for each lock that ended before it was unlocked. The contexts
	// of the lock have ended by then. It is called at once if the lock has a context or
	// extends itself, otherwise when a method of the lock finds out, at the latest
	// Unlock.
	Lost func(context.Context, Event)
}

// An Event describes to a hook a call, or a lock that was lost.
type Event struct {
	Key     string        // as it is on the servers, with the prefix
	Tries   int           // the number of rounds
	Elapsed time.Duration // how long the call has taken so far; 0 in Lost, which has no call
	Waited  bool          // in Waiting and Locked: this call has invoked Waiting

	// Held is how long the lock was held. It is set in one event of each lock, Unlocked or
	// Lost, and is 0 in all others. [Locker.Release] does not know it.
	Held time.Duration

	Report Report // what the nodes did in the last round; in Lost, in the last that succeeded
	Err    error  // nil on success
}

// and returns hooks that call first those of h and then those of next.
func (h Hooks) and(next Hooks) Hooks {
	return Hooks{
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
