// Package fence is the resource's side of fencing tokens. It rejects the late writes of a
// holder that has lost its lock and does not know it yet.
//
// A lock with a time limit cannot do that alone. Its holder may be paused, or its request
// delayed, until somebody else has the lock. A fencing token is a number that comes with
// each grant of a lock and is higher than those of all earlier grants. The holder shows it
// with every access. The resource rejects an access whose token is lower than the highest
// that it has seen.
//
//	err := guard.Do(token, func() error { … })                                 // in this process
//	err := table.Do(ctx, db, "orders/42", token, func(tx *sql.Tx) error { … }) // in SQL
//
// Use [Guard] for a resource of this process, [Guards] for many of them by name, and
// [Table] or [Column] for data in an SQL database. docs/fencing.md has recipes for object
// storage, HTTP and others.
//
// The package depends on the standard library alone. Tokens may come from anywhere: any
// number will do that is above 0, different for each grant, and higher for later grants.
//
// # Announce before you read
//
// It is not enough to reject low tokens in writes. Suppose that a new holder reads before
// the resource has seen its token. Then the old holder's late write is still accepted,
// because the resource has seen no higher token. The new holder has not read that write,
// and writes over it. No access was rejected, and one write is lost.
//
// So a holder announces its token before it reads. In this package every Do announces the
// token first. You only have to remember to read inside of Do.
//
// # Guarantees
//
// Once a token has been accepted, nothing is written with a lower one, and every write
// with a lower one has ended before. This holds however long processes pause and messages
// take, and whatever the clocks say.
//
// # What a token does not do
//
//   - It orders the grants of one lock. Tokens of different locks say nothing about each
//     other, so a resource belongs to one lock key.
//   - It does not tell two accesses of one holder apart. If a holder's own request comes
//     late, or twice, it has the same token and is accepted.
//   - It does not undo what an earlier holder left half done.
//   - It protects only what checks it. An e-mail that was sent stays sent.
package fence
