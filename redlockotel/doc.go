// Package redlockotel reports what package redlock does to OpenTelemetry: a span for each
// call, and metrics of waits, holds, losses and nodes.
//
//	hooks, err := redlockotel.Hooks(redlockotel.WithKeyClass(class)) // uses the global providers
//	locker, err := redlock.New(nodes, redlock.WithHooks(hooks))
//	cleanups, err := redlockotel.ObserveCleanups(locker)
//	defer cleanups.Unregister()
//
// It is a module of its own, so that package redlock depends on nothing. Nothing here
// blocks on the network: what is exported, and when, is up to the providers.
//
// # Metrics
//
// Durations are in seconds. docs/observability.md says what each metric means, and has
// alerts and a dashboard.
//
//	redlock.lock.wait.duration     histogram  how long Lock, TryLock and Resume took, granted or not
//	redlock.lock.hold.duration     histogram  how long locks were held
//	redlock.lock.attempts          counter    rounds of calls that lock
//	redlock.lock.waiters           gauge      calls that wait (an UpDownCounter)
//	redlock.lock.extensions        counter    extensions
//	redlock.lock.losses            counter    locks that ended before they were unlocked
//	redlock.lock.unlocks           counter    calls of Unlock and Release
//	redlock.node.request.duration  histogram  how long a node took to answer, by outcome
//	redlock.node.rejoins           counter    nodes that had lost a lock and got it back
//	redlock.cleanups               gauge      deletions under way (ObserveCleanups)
//
// The attributes are redlock.operation, redlock.key.class (see [WithKeyClass]),
// redlock.shared, redlock.automatic, redlock.loss.cause, redlock.outcome, and from
// OpenTelemetry's semantic conventions error.type, server.address, server.port,
// db.operation.name and db.system.name. redlock.shared is true for a shared lock
// ([redlock.Locker.RLock]), and missing for any other. error.type is "taken",
// "unavailable", "not_held", "closed", or "_OTHER" for anything else, and is missing if the
// call succeeded. If the caller's ctx ended a call, error.type says what the nodes had
// answered until then. In metrics and events of nodes it is "failed" or "timed_out".
//
// Neither keys nor tokens are attributes of metrics, so the number of time series does not
// depend on the number of keys.
//
// # Traces
//
// A call of Lock, TryLock, Do, TryDo, Resume, Extend, Unlock or Release that asks nodes is
// a span, whose parent is the span in the caller's ctx. (Do has a span for locking and one
// for unlocking. The span in the ctx of its function is the caller's.) Its events are the
// beginning of the wait, and the answer of each node in each attempt. The status of a span
// is an error if the call failed, except that it found the lock taken. RLock, TryRLock and
// DoShared have the spans and metrics of Lock, TryLock and Do, and Downgrade has those of
// Extend, with redlock.shared.
//
// An automatic extension is an event of the span in whose ctx the lock was acquired, if
// that has not ended. A lock that was lost is a span without duration, whose parent is that
// same span.
//
// There is no link from a waiter to the span of the previous holder, because the servers do
// not store, and a waiter is not told, in which trace a holder acquired its lock.
package redlockotel
