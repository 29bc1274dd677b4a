package redlock

import (
	"context"
	"time"
)

// Hooks are functions that observe a [Locker], for metrics and tracing. Any may be nil.
// Several may run at a time, and none must block: they run on the goroutine that does the
// work. A call that is rejected before any I/O invokes no hook.
//
// The ctx is the one that the method was called with, so a span that a hook makes has the
// caller's span as its parent. An automatic extension and Lost have no caller: theirs
// carries the values of the ctx with which the lock was acquired, and does not end.
//
// A hook must not panic. In a call, the panic reaches the caller: if Locked panics, the lock
// is released first. On a goroutine of the library, as in an automatic extension and often
// in Lost, it ends the program, as in a function that [time.AfterFunc] runs. The library
// does not recover, because a hook that panics may have left a mutex locked: the next one
// would then hold up the extensions of all locks, without a word. A hook that may panic
// recovers itself.
type Hooks struct {
	// Waiting is told when Lock or Do begins to wait, at most once in a call: after a first
	// attempt that failed, or before it if other callers of the Locker wait already. Err
	// says why. Locked follows, with Waited set.
	Waiting func(context.Context, Event)

	Locked   func(context.Context, Event) // Lock, TryLock, Do, TryDo or Resume ended
	Extended func(context.Context, Event) // an extension ended, an automatic one too
	Unlocked func(context.Context, Event) // Unlock or Release ended

	// Lost is told once of each lock that ended before it was unlocked: at once if
	// it has a context or extends itself, else when a method of it finds out, Unlock
	// at the latest. The contexts of the lock have ended by then.
	Lost func(context.Context, Event)
}

// An Event is what a hook is told.
type Event struct {
	Key     string        // as it is on the servers, with the prefix
	Tries   int           // how many rounds there were
	Elapsed time.Duration // how long the call took so far; 0 of Lost, which is of no call
	Waited  bool          // of Waiting and Locked: Waiting was told of this call

	// Held is for how long the lock was held. It is set in one event of each lock, the one
	// that ended it, which is Unlocked or Lost, and 0 in all others. It is not known to
	// [Locker.Release].
	Held time.Duration

	Report Report // what the nodes did in the last round; of Lost in the last that succeeded
	Err    error  // nil on success
}

// and returns hooks that call those of h and then those of next.
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
