package redlock

import "time"

// Hooks are functions that observe a [Locker], for metrics and tracing. Any may
// be nil. They run on the goroutine that does the work, several at a time, and
// must not block. A call that is refused before any I/O tells nobody.
type Hooks struct {
	Locked   func(Event) // Lock, TryLock, Do or Resume ended
	Extended func(Event) // an extension ended, an automatic one too
	Unlocked func(Event) // Unlock or Release ended

	// Lost is told once of each lock that ended before it was unlocked: at once if
	// it has a context or extends itself, else when a method of it finds out, Unlock
	// at the latest.
	Lost func(Event)
}

// An Event is what a hook is told.
type Event struct {
	Key     string        // as it is on the servers, with the prefix
	Tries   int           // how many rounds there were
	Elapsed time.Duration // how long it took; of Lost: how long the lock was held
	Report  Report        // what the nodes did in the last round
	Err     error         // nil on success
}
