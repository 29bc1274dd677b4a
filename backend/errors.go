package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

var (
	// ErrRefused marks an error that trying again does not cure: the server will not do
	// this for this user, or not on this server. A refused operation was not executed.
	ErrRefused = errors.New("refused by the server")

	// ErrNotExecuted marks an error that proves that the operation had no effect and will
	// have none. Use [NotExecuted] to ask for it.
	ErrNotExecuted = errors.New("not executed")

	// ErrQuarantined marks, in addition to ErrNotExecuted, the error of a server that
	// grants no locks for some time, because it may have lost locks.
	ErrQuarantined = errors.New("in quarantine")

	// ErrMigrating marks, in addition to ErrNotExecuted, the error of a Cluster that is
	// moving the slot of a script's keys and has them on two servers. Operations on one
	// key work meanwhile.
	ErrMigrating = errors.New("slot is migrating")

	// ErrNotMaster marks, in addition to ErrNotExecuted, the error of a server that is a
	// replica. An adapter that meets it must open a new connection within about a second,
	// because after a failover a name may lead to another server.
	ErrNotMaster = errors.New("not a master")
)

// NotExecuted reports whether err proves that its operation had no effect on the node and
// will have none. That is so if err is marked with [ErrNotExecuted] or [ErrRefused],
// matches [errors.ErrUnsupported], or is a failure to open a connection. Any other error
// leaves the outcome unknown.
func NotExecuted(err error) bool {
	if errors.Is(err, ErrNotExecuted) || errors.Is(err, ErrRefused) || errors.Is(err, errors.ErrUnsupported) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// MarkNotExecuted returns err marked with [ErrNotExecuted]. It is for an adapter that
// knows that it sent nothing, for example because a pool has no free connection. The text
// of err and what it matches stay the same. A nil err stays nil.
func MarkNotExecuted(err error) error { return mark(err, ErrNotExecuted) }

// MarkReply returns err, an error that a server answered, with the marks that its first
// word calls for. It also finds that word if the server quotes the answer to a command
// inside a script. The marks are
//
//   - [ErrRefused] if this user or this server will never do it;
//   - [ErrNotExecuted] if the server did not do it now, together with [ErrQuarantined]
//     because of a quarantine, [ErrMigrating] because a slot is being moved, or
//     [ErrNotMaster] because the server is a replica;
//   - none if neither is known.
//
// An adapter must pass every error reply through it, and no other error. The text of err
// stays the same, with a hint at its end if the server is too old. A nil err stays nil.
// [ServerReply] finds the reply again.
func MarkReply(err error) error {
	if err == nil {
		return nil
	}
	text, quoted := quotedReply(err.Error())
	err = &replyError{err, text}
	code, rest, _ := strings.Cut(text, " ")
	switch code {
	case "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "CROSSSLOT", "DENIED", "FENCE", "NORUNID":
		return mark(err, ErrRefused)
	case "LOADING", "CLUSTERDOWN", "OOM", "MISCONF", "NOREPLICAS", "BUSY", "MOVED", "ASK", "NOSCRIPT":
		return mark(err, ErrNotExecuted)
	case "READONLY", "MASTERDOWN":
		return mark(mark(err, ErrNotExecuted), ErrNotMaster)
	case "QUARANTINE":
		return mark(mark(err, ErrNotExecuted), ErrQuarantined)
	case "TRYAGAIN":
		return mark(mark(err, ErrNotExecuted), ErrMigrating)
	case "ERR":
	default:
		if !quoted {
			return err
		}
		rest = text // inside a script there is no code where other errors have ERR
	}
	if strings.HasPrefix(rest, "max number of clients") {
		return mark(err, ErrNotExecuted)
	}
	// In Redis 4 and older, a script cannot write after it has called TIME or INFO.
	if strings.Contains(rest, "Write commands not allowed after non deterministic commands") {
		return mark(fmt.Errorf("%w (the server is older than Redis 5, which this operation needs)", err), ErrRefused)
	}
	for _, refusal := range refusals {
		if strings.HasPrefix(rest, refusal) {
			return mark(err, ErrRefused)
		}
	}
	return err
}

// ServerReply returns the error reply of the server that err wraps, such as "NOAUTH
// Authentication required.", without what the driver, the adapter and the library have
// put before it. If the server quotes the answer to a command inside a script, that
// answer is the reply. ok is false if err is not about a reply that [MarkReply] has seen,
// for example because the server did not answer.
func ServerReply(err error) (reply string, ok bool) {
	var e *replyError
	if !errors.As(err, &e) {
		return "", false
	}
	return e.reply, true
}

// A replyError is an error with which a server has answered.
type replyError struct {
	error
	reply string
}

// Unwrap returns the error as the driver has it.
func (e *replyError) Unwrap() error { return e.error }

// refusals are the beginnings, after ERR, of errors that trying again does not cure.
var refusals = []string{
	"unknown command", "invalid password", "Client sent AUTH", "AUTH ",
	"operation not permitted", "invalid DB index", "DB index is out of range", "SELECT is not allowed",

	// Of a command inside a script.
	"The user executing the script can't ",   // Redis up to 7.0
	"ACL failure in script",                  // Redis from 7.2, and Valkey
	"Unknown Redis command called from ",     // Redis
	"Unknown command called from ",           // Valkey
	"This Redis command is not allowed from", // Redis and Valkey
}

// quotedReply returns the error reply that text is or quotes, without a leading "-", and
// whether it is quoted. Redis before 7.0 and KeyDB put the place in the script before the
// answer to the script's command. If the script does not handle the error, they put a
// sentence of their own before that:
//
//	ERR Error running script (call to f_4e…): @user_script:7: @user_script: 7: -OOM command not allowed …
//
// Newer servers put the place after the answer.
func quotedReply(text string) (reply string, quoted bool) {
	text = strings.TrimPrefix(text, "-")
	if rest, ok := strings.CutPrefix(text, "ERR Error running script (call to "); ok {
		if _, inner, ok := strings.Cut(rest, "): "); ok {
			text, quoted = inner, true
		}
	}
	for {
		rest, ok := strings.CutPrefix(text, "@user_script:")
		if !ok {
			return strings.TrimPrefix(text, "-"), quoted
		}
		rest = strings.TrimLeft(strings.TrimPrefix(rest, " "), "0123456789")
		if rest, ok = strings.CutPrefix(rest, ": "); !ok {
			return text, quoted
		}
		text, quoted = rest, true
	}
}

// MarkTimeout returns err so that it matches [context.DeadlineExceeded] if it is a
// time-out under another name, such as a connection's "i/o timeout". Any other err stays
// the same.
func MarkTimeout(err error) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	return mark(err, context.DeadlineExceeded)
}

// marked is an error that also matches a sentinel, and keeps its own text. It keeps both in
// one array, because errors.Is asks for them often.
type marked [2]error

func mark(err, sentinel error) error {
	if err == nil || errors.Is(err, sentinel) {
		return err
	}
	return &marked{err, sentinel}
}

func (e *marked) Error() string { return e[0].Error() }

// Unwrap returns the error and its mark.
func (e *marked) Unwrap() []error { return e[:] }
