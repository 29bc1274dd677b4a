// Package election elects a leader among processes, on the locks of package redlock.
//
//	locker, err := redlock.New(nodes, redlock.WithOwner(hostname))
//	err = election.Campaign(ctx, locker, "scheduler", election.Callbacks{
//		Lead: func(ctx context.Context, term uint64) error {
//			return schedule(ctx, term) // until ctx ends, because this process no longer leads
//		},
//	})
//
// Candidates wait in the queue of a lock, first come, first served. The leader holds the
// lock, which extends itself. If it resigns or its process ends in order, the next
// candidate leads within about two round trips. If it dies, that takes one TTL of the
// Locker ([redlock.WithTTL]).
//
// # What is promised
//
//   - At most one process leads at a time, under the assumptions of a lock. A leader that
//     loses its quorum is told to stop [Callbacks.Grace] before anybody else can lead.
//   - A restart of a minority of the servers changes nothing, and neither do restarts of all
//     of them one after the other: the leader stays the leader.
//   - Each term has a number that is higher than that of all earlier terms. It is the fencing
//     token of the lock: a resource that compares it rejects a leader that was deposed
//     without noticing, for example because its machine stood still. See package fence.
//
// A leader whose work ignores its ctx cannot be stopped. [Callbacks.Overstays] reports it.
//
// # Names
//
// For users of etcd and of client-go: [Campaign] is Campaign and RunOrDie. Resign is a return
// of Lead. [Current] is Leader, and [Observe] is Observe and OnNewLeader. The identity is the
// label of the Locker. The TTL is the LeaseDuration, and the TTL less the grace is the
// RenewDeadline.
package election
