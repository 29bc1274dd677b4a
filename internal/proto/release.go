package proto

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// A Release deletes the lock if the lock holds the token, and notifies the next waiter.
// With a ticket it also leaves the queue. Without a token it only notifies, if the lock
// is free.
type Release struct {
	Lock, Queue, Token string
	Readers            string    // the set of readers, if the token is to read; then no tombstone
	Ticket             string    // of the waiter that leaves
	Announce           string    // channel for waiters of another library
	Tombstone          Tombstone // to add; zero: none
}

// A Tombstone says on a server that a token will not be granted.
type Tombstone struct {
	Key  string        // "": none
	Life time.Duration // whole milliseconds
}

// Op returns the operation of r. It uses the capacity of keys and args as [Acquire.Op] does.
func (r *Release) Op(keys, args []string) backend.Op {
	script := lua.Release
	keys = append(room(keys), r.Lock, r.Queue)
	if r.Readers != "" {
		script, keys = lua.ReleaseShared, append(keys, r.Readers)
	}
	args = append(room(args), r.Token) // the common case: empty arguments cost the server time
	switch {
	case r.Tombstone.Key != "":
		keys, args = append(keys, r.Tombstone.Key), append(args, r.Ticket, r.Announce, milliseconds(r.Tombstone.Life))
	case r.Announce != "":
		args = append(args, r.Ticket, r.Announce)
	case r.Ticket != "":
		args = append(args, r.Ticket)
	}
	return backend.Op{Kind: backend.OpEval, Script: script, Keys: keys, Args: args}
}

// A Rollback deletes the lock if the lock holds the token, and queues the waiter, which
// continues to wait. It notifies the next waiter only if Notify is set and the lock held
// the token.
type Rollback struct {
	Lock, Token string
	Readers     string // the set of readers, if the token is to read; then no tombstone
	Wait        Wait   // the ticket may be empty; the queue may not
	Notify      bool
	Tombstone   Tombstone
}

// Op returns the operation of r. It uses the capacity of keys and args as [Acquire.Op] does.
func (r *Rollback) Op(keys, args []string) backend.Op {
	notify := "0"
	if r.Notify {
		notify = "1"
	}
	script := lua.Rollback
	keys = append(room(keys), r.Lock, r.Wait.Queue)
	if r.Readers != "" {
		script, keys = lua.RollbackShared, append(keys, r.Readers)
	}
	args = append(room(args), r.Token, r.Wait.Ticket, milliseconds(r.Wait.Waited), notify)
	if r.Tombstone.Key != "" {
		keys, args = append(keys, r.Tombstone.Key), append(args, milliseconds(r.Tombstone.Life))
	}
	return backend.Op{Kind: backend.OpEval, Script: script, Keys: keys, Args: args}
}

// A ReleaseReply is the answer to a [Release] or a [Rollback].
type ReleaseReply struct {
	Held bool   // the lock held the token
	Mute string // why the next waiter could not be notified: a command and its error
	More bool   // tickets of dead waiters were removed, and there may be more: repeat without a token
}

// ReadRelease reads the answer of a node to a [Release] or a [Rollback].
func ReadRelease(r backend.Reply) (ReleaseReply, error) {
	held, err := r.Int(0)
	if err != nil {
		return ReleaseReply{}, err
	}
	mute, _ := r.Text(1)
	more, _ := r.Int(2)
	return ReleaseReply{Held: held == 1, Mute: mute, More: more == 1}, nil
}
