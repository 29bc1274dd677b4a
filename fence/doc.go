// Package fence is the resource's side of fencing tokens: it keeps the writes of
// a holder that lost its lock, and does not know it yet, away from what the lock
// protects.
//
// A lock with a time limit cannot do that alone. Its holder may be paused, or its
// request delayed, until somebody else has the lock. A fencing token is a number
// that comes with each grant of a lock and is higher than those of all grants
// before. The holder shows it with every access, and the resource refuses
// whoever comes with a lower one than it has seen.
//
//	err := guard.Do(token, func() error { … })                                 // in this process
//	err := table.Do(ctx, db, "orders/42", token, func(tx *sql.Tx) error { … }) // in SQL
//
// [Guard] is for a resource of this process, [Guards] for many of them by name,
// [Table] and [Column] for what lies in an SQL database. docs/fencing.md has
// recipes for object storage, HTTP and others. The package depends on the
// standard library alone, and not on where the tokens come from: any number that is
// above 0, different for each grant, and higher for later grants will do.
//
// # Announce before you read
//
// To refuse low tokens in writes alone is not enough. A new holder that reads
// before the resource has seen its token may read what the old holder is
// about to overwrite: its late write is still accepted, since nothing higher was seen,
// and the new holder then writes over it what it made from the old value. Nobody was
// refused, and one write is lost. So a holder announces its token before it
// reads. Do does that by itself, everywhere in this package: all that has to be
// remembered is to read inside of it.
//
// # Guarantees
//
// Once a token was accepted, nothing is written with a lower one, and what was
// being written with a lower one had ended before. This holds however long
// processes pause and messages take, and whatever the clocks say.
//
// # What a token does not do
//
//   - It orders the grants of one lock. Tokens of different locks say nothing
//     about each other, so a resource belongs to one lock key.
//   - It does not tell two accesses of one holder apart. A request of the holder's
//     own that comes late, or twice, has the same token and is accepted.
//   - It does not undo what an earlier holder left half done.
//   - It protects what looks at it. E-mail that was sent is sent.
package fence
