// Package lease knows how long a lock that was acquired is held by this process: its
// validity, what extends it, and what ends it.
//
// A [Lease] is one lock on the servers. One or several [Handle]s share it, and each
// handle has [Context]s. A [Keeper] has what the leases of a Locker share. The package
// acquires nothing: it begins with an attempt that has won. It has no error texts and
// calls no hooks, because that is the part of the [Owner].
//
// It is for developers of this library.
//
// # Goroutines and timers
//
// A lease that nobody watches has neither. Otherwise:
//
//   - The expiry timer of a lease ends it at the end of its validity. [Handle.Bind] and
//     the extensions start it, and the end of the lease stops it.
//   - The timer of the watch compares the two clocks once a second. A Keeper has one. It
//     runs while a lease has an expiry timer.
//   - The timer of the extender starts a sweep, which extends the leases that are due. A
//     Keeper has one. It runs while the extensions of a lease are scheduled. A sweep is
//     one goroutine, and ends when the last of its extensions is decided.
//   - The timer of a parked lease deletes it at the end of its minimum hold. It runs from
//     [Lease.Park] until then, or until [Keeper.Close].
//   - A Context has a goroutine only if package context needs one to follow its parent, as
//     for a parent of a foreign type. It ends with the Context or its parent.
//
// # Locks
//
// A lease has one mutex, which its handles share. It is locked before those of the watch
// and the extender, and after that of the register. No method of an Owner is called while
// one of them is locked.
package lease
