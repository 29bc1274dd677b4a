package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
)

var (
	// ErrRefused marks an error that trying again will not cure: the server
	// answered that it will not do this for this user or on this server. A
	// refused operation was not executed.
	ErrRefused = errors.New("refused by the server")

	// ErrNotExecuted marks an error that proves that the operation had no effect
	// and will have none. Ask with [NotExecuted].
	ErrNotExecuted = errors.New("not executed")

	// ErrQuarantined marks, beside ErrNotExecuted, the error of a server that votes
	// for no lock for some time, as it may have lost what it had granted.
	ErrQuarantined = errors.New("in quarantine")

	// ErrMigrating marks, in addition to ErrNotExecuted, the error of a Cluster that is
	// moving the slot of a script's keys and has them on two servers. An operation on one
	// key works meanwhile.
	ErrMigrating = errors.New("slot is migrating")

	// ErrNotMaster marks, beside ErrNotExecuted, the error of a server that is a
	// replica. An adapter that meets it must open a new connection within about a
	// second, because after a failover a name may lead to another server.
	ErrNotMaster = errors.New("not a master")
)

// NotExecuted reports whether err proves that the operation it came from had
// no effect on the node and will have none: it is marked with [ErrNotExecuted]
// or [ErrRefused], matches [errors.ErrUnsupported], or is the failure to open a
// connection. Any other error leaves the outcome unknown.
func NotExecuted(err error) bool {
	if errors.Is(err, ErrNotExecuted) || errors.Is(err, ErrRefused) || errors.Is(err, errors.ErrUnsupported) {
		return true
	}
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

// MarkNotExecuted returns err marked with [ErrNotExecuted], for an adapter that
// knows that it sent nothing (a pool without a free connection). Its text and
// what it matches stay as they are. A nil err stays nil.
func MarkNotExecuted(err error) error { return mark(err, ErrNotExecuted) }

// MarkReply returns err, an error that a server answered, with the marks that
// its first word calls for: [ErrRefused] where this user or this server will
// never do it, [ErrNotExecuted] where it would not do it now, with
// [ErrQuarantined] if a quarantine is why, [ErrMigrating] if a slot that is on the move
// is, and [ErrNotMaster] if the server is a replica, none where it is not known to be
// either. It finds that word also where the server quotes what a command inside a
// script was answered. An adapter must pass every error reply through it, and no other error.
// The text of err stays, with a hint at its end where a server is too old. A nil err
// stays nil.
func MarkReply(err error) error {
	if err == nil {
		return nil
	}
	text, quoted := quotedReply(err.Error())
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
		rest = text // an error that a script got has no code where others have ERR
	}
	if strings.HasPrefix(rest, "max number of clients") {
		return mark(err, ErrNotExecuted)
	}
	// Redis 4 and older let no script write that has asked for the time or for INFO.
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

// refusals are how the errors begin, after ERR, that trying again will not cure.
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
// whether it is quoted. Redis before 7.0 and KeyDB put the place in the script before what
// a command of a script was answered, and if the script does not handle that, a sentence
// of their own before the place:
//
//	ERR Error running script (call to f_4e…): @user_script:7: @user_script: 7: -OOM command not allowed …
//
// Newer servers put the place behind it.
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

// MarkTimeout returns err so that it matches [context.DeadlineExceeded] if it
// is a time-out by another name, such as a connection's "i/o timeout". Any
// other err stays as it is.
func MarkTimeout(err error) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		return err
	}
	return mark(err, context.DeadlineExceeded)
}

// marked is an error that also matches a sentinel, and keeps its own text.
type marked struct {
	error
	mark error
}

func mark(err, sentinel error) error {
	if err == nil || errors.Is(err, sentinel) {
		return err
	}
	return &marked{err, sentinel}
}

// Unwrap returns the error and its mark.
func (e *marked) Unwrap() []error { return []error{e.error, e.mark} }
