package proto

import (
	"errors"
	"strconv"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// An Acquire takes a lock, or finds that its token already has it. It may be sent again.
// Fields with zero values are not requested, and are omitted from the request if
// possible.
type Acquire struct {
	Lock, Token string
	TTL         time.Duration // whole milliseconds
	Readers     string        // the set of readers: take the lock to read; needs the queue, and no vote
	Reads       bool          // with Readers: the token already reads on a quorum of other nodes
	Wait        Wait
	Vote        Vote
	Check       Check
}

// A Wait is a waiter's place in the queue of a lock.
type Wait struct {
	Queue, Ticket string
	Waited        time.Duration // since its caller began to wait; whole milliseconds
}

// A Vote is what a vote for a fencing token needs. With it, [Acquire] uses the script
// vote.
type Vote struct {
	Counter, Tombstone string
	Hint               int64         // the value to vote for, in microseconds since 1970
	Keep               time.Duration // how long the counter is kept; 0: forever
}

// A Check makes the server check whether it may have lost what it had granted.
type Check struct {
	Marker     string
	Quarantine time.Duration // whole milliseconds
}

// Op returns the operation of a. It uses the capacity of keys and args, which may be nil.
// From then on they belong to the operation.
func (a *Acquire) Op(keys, args []string) backend.Op {
	if a.Readers != "" {
		return a.sharedOp(keys, args)
	}
	script := lua.Acquire
	keys = append(room(keys), a.Lock)
	args = append(room(args), a.Token, milliseconds(a.TTL))
	if a.Vote.Counter != "" {
		script = lua.Vote
		keys = append(keys, a.Vote.Counter, a.Vote.Tombstone)
		args = append(args, strconv.FormatInt(a.Vote.Hint, 10), milliseconds(a.Vote.Keep))
	}
	switch {
	case a.Wait.Ticket != "":
		keys = append(keys, a.Wait.Queue)
		args = append(args, a.Wait.Ticket, milliseconds(a.Wait.Waited))
	case a.Check.Marker != "": // the marker comes after the queue, which can then be any key
		keys = append(keys, a.Lock)
		args = append(args, "", "")
	}
	keys, args = a.Check.append(keys, args)
	return backend.Op{Kind: backend.OpEval, Script: script, Keys: keys, Args: args}
}

// append adds the marker and the length of the quarantine. They come last in every script
// that grants.
func (c Check) append(keys, args []string) (k, a []string) {
	if c.Marker == "" {
		return keys, args
	}
	return append(keys, c.Marker), append(args, milliseconds(c.Quarantine))
}

// most is the largest number of keys or arguments of any script.
const most = 7

// room returns an empty slice with the capacity of s, or one with enough of it if s is nil.
func room(s []string) []string {
	if s == nil {
		return make([]string, 0, most)
	}
	return s[:0]
}

// Forever is the time to live of a key that does not expire.
const Forever = time.Duration(1) << 62

// An AcquireReply is the answer to an [Acquire].
type AcquireReply struct {
	Granted bool
	Refusal Refusal // if it is not granted

	// Only of an answer to a vote.
	Counter int64 // the vote, or in a refusal the value of the counter
	Clock   int64 // the server's time in microseconds since 1970
}

// A Refusal says why a node did not grant a lock.
type Refusal struct {
	Left  time.Duration // how long the lock is still taken; [Forever] if that is not known
	Rank  int           // the waiter's place in the queue, from 0; -1: it is not queued
	Owner string        // the end of the lock's value
	Why   string        // the failed command and its error, if that is why the waiter is not queued
}

// Taken is the refusal of a node that gives no details.
var Taken = Refusal{Left: Forever, Rank: -1}

// ReadAcquire reads the answer of a node to an [Acquire] without a vote.
func ReadAcquire(r backend.Reply) (AcquireReply, error) {
	granted, err := r.Int(0)
	if err != nil {
		return AcquireReply{}, err
	}
	a := AcquireReply{Granted: granted == 1}
	if !a.Granted {
		a.Refusal = readRefusal(r, 1)
	}
	return a, nil
}

// ReadVote reads the answer of a node to an [Acquire] with a vote for hint.
func ReadVote(r backend.Reply, hint int64) (AcquireReply, error) {
	granted, err := r.Int(0)
	if err != nil {
		return AcquireReply{}, err
	}
	if len(r) == 1 && granted > 1 { // the time alone: the vote is for the hint
		return AcquireReply{Granted: true, Counter: hint, Clock: granted}, nil
	}
	a := AcquireReply{Granted: granted == 1}
	if a.Counter, err = r.Int(1); err != nil {
		return AcquireReply{}, err
	}
	if a.Clock, err = r.Int(2); err != nil {
		return AcquireReply{}, err
	}
	switch {
	case !a.Granted:
		a.Refusal = readRefusal(r, 3)
	case a.Counter < 1:
		return AcquireReply{}, errors.New("the node granted with a vote for " + strconv.FormatInt(a.Counter, 10))
	}
	return a, nil
}

// readRefusal reads the part of a reply that begins with element i. It treats missing
// elements as unknown.
func readRefusal(r backend.Reply, i int) Refusal {
	refusal := Taken
	if left, err := r.Int(i); err == nil && left >= 0 {
		refusal.Left = duration(left)
	}
	if rank, err := r.Int(i + 1); err == nil {
		refusal.Rank = int(rank)
	}
	if owner, err := r.Text(i + 2); err == nil {
		refusal.Owner = owner
	}
	if why, err := r.Text(i + 3); err == nil {
		refusal.Why = why
	}
	return refusal
}
