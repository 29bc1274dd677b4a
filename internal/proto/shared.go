package proto

import (
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// SharedValue is the value of a lock that others read. No ticket makes a reservation like
// it.
const SharedValue = reservation + "shared"

// reads is the argument of a token that already reads elsewhere.
const reads = "1"

// sharedOp is Op of an acquire to read. Its queue is needed in any case.
func (a *Acquire) sharedOp(keys, args []string) backend.Op {
	keys = append(room(keys), a.Lock, a.Wait.Queue, a.Readers)
	args = append(room(args), a.Token, milliseconds(a.TTL))
	switch {
	case a.Wait.Ticket != "":
		args = append(args, a.Wait.Ticket, milliseconds(a.Wait.Waited))
	case a.Check.Marker != "" || a.Reads:
		args = append(args, "", "")
	}
	keys, args = a.Check.append(keys, args)
	switch {
	case a.Reads && a.Check.Marker != "":
		args = append(args, reads)
	case a.Reads:
		args = append(args, "", reads)
	}
	return backend.Op{Kind: backend.OpEval, Script: lua.AcquireShared, Keys: keys, Args: args}
}

// An ExtendShared extends the share of a reader, or makes a reader of a token that has the
// lock for itself.
type ExtendShared struct {
	Lock, Queue, Readers, Token string
	TTL                         time.Duration // whole milliseconds
}

// Op returns the operation of x. It uses the capacity of keys and args as [Acquire.Op] does.
func (x *ExtendShared) Op(keys, args []string) backend.Op {
	return backend.Op{
		Kind: backend.OpEval, Script: lua.ExtendShared,
		Keys: append(room(keys), x.Lock, x.Queue, x.Readers),
		Args: append(room(args), x.Token, milliseconds(x.TTL)),
	}
}

// ParseAcquireShared returns the request that [Acquire.Op] made with readers.
func ParseAcquireShared(keys, args []string) (Acquire, error) {
	if len(keys) < 3 || len(args) < 2 {
		return Acquire{}, errArguments
	}
	ttl, ok := parseMillis(args[1])
	if !ok || ttl == 0 {
		return Acquire{}, errAcquire
	}
	wait, err := parseWait(keys[1], args[2:], errAcquire)
	if err != nil {
		return Acquire{}, err
	}
	wait.Queue = keys[1]
	check, err := parseCheck(keys, args, 3, 4)
	return Acquire{
		Lock: keys[0], Readers: keys[2], Token: args[0], TTL: ttl, Wait: wait, Check: check,
		Reads: optional(args, 5) == reads,
	}, err
}

// ParseExtendShared returns the request that [ExtendShared.Op] made.
func ParseExtendShared(keys, args []string) (ExtendShared, error) {
	if len(keys) < 3 || len(args) < 2 {
		return ExtendShared{}, errArguments
	}
	ttl, ok := parseMillis(args[1])
	if !ok || ttl == 0 {
		return ExtendShared{}, errProlong
	}
	return ExtendShared{keys[0], keys[1], keys[2], args[0], ttl}, nil
}

// ParseReleaseShared returns the request that [Release.Op] made with readers.
func ParseReleaseShared(keys, args []string) (Release, error) {
	if len(keys) < 3 {
		return Release{}, errArguments
	}
	r, err := ParseRelease(keys[:2], args)
	r.Readers = keys[2]
	return r, err
}

// ParseRollbackShared returns the request that [Rollback.Op] made with readers.
func ParseRollbackShared(keys, args []string) (Rollback, error) {
	if len(keys) < 3 {
		return Rollback{}, errArguments
	}
	r, err := ParseRollback(keys[:2], args)
	r.Readers = keys[2]
	return r, err
}
