// Package testnodes has nodes in memory, behind faults, for tests of the core. It also runs
// random schedules.
//
// It is for tests of this repository.
package testnodes

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
)

// A Make is what a node can do.
type Make string

const (
	Full     Make = "full"     // every capability
	Scripted Make = "scripted" // runs scripts, does not batch
	Bare     Make = "bare"     // the three methods
)

var Makes = []Make{Full, Scripted, Bare}

// Dress takes from f what a node of make m cannot do.
func Dress(f *faulty.FaultNode, m Make) backend.Node {
	switch m {
	case Scripted:
		return struct {
			backend.Node
			backend.Scripter
		}{faulty.Bare(f), f}
	case Bare:
		return faulty.Bare(f)
	}
	return f
}

// IsEcho reports whether op is about the inbox, and not about a lock.
func IsEcho(op backend.Op) bool { return op.Kind == backend.OpEval && op.Script == lua.Echo }

func Word(op backend.Op) string {
	switch op.Kind {
	case backend.OpSetNX:
		return "set"
	case backend.OpEvalDelete:
		return "delete"
	case backend.OpExtend:
		return "extend"
	case backend.OpEval:
		if op.Script == lua.Release || op.Script == lua.Rollback && op.Args[1] == "" {
			return "delete"
		}
		return op.Script.Name()
	}
	return op.Kind.String()
}

var (
	Sets    = faulty.Kind(backend.OpSetNX)
	Deletes = func(op backend.Op) bool { return Word(op) == "delete" }
	Extends = faulty.Kind(backend.OpExtend)

	// Dead is a server that is not there.
	Dead = faulty.Refuse(nil)
	// Broken is a connection that breaks; whether the request arrived is unknown,
	// but it has not.
	Broken = faulty.LoseRequest(nil)
	Denied = faulty.Refuse(backend.MarkReply(errors.New("NOPERM this user has no permissions")))
)

// LateAfterBreak is a connection that breaks at once while the request is on its
// way, to arrive d later.
func LateAfterBreak(d time.Duration) faulty.Fault {
	return func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
		own := slices.Clone(ops)
		time.AfterFunc(d, func() { next(context.WithoutCancel(ctx), own) })
		return Broken(ctx, ops, next)
	}
}

// Draw returns a time below d.
func Draw(rng *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(d)))
}

func CountHolders(mem []*memory.Node, key, token string) int {
	n := 0
	for _, m := range mem {
		if e, _ := m.Inspect(context.Background(), key); e.Found && e.Value == token {
			n++
		}
	}
	return n
}

// Say writes an operation as it is meant: its name and its arguments but for the
// times, with "ticket" for any ticket.
func Say(op backend.Op) string {
	if op.Kind != backend.OpEval {
		return Word(op) + " " + op.Token
	}
	words := []string{op.Script.Name()}
	for i, arg := range op.Args {
		timed := op.Script == lua.Acquire && (i == 1 || i == 3) || op.Script == lua.Rollback && i == 2
		switch {
		case timed:
		case arg == "":
			words = append(words, "-")
		case strings.Contains(arg, "inbox"):
			words = append(words, "ticket")
		default:
			words = append(words, arg)
		}
	}
	for words[len(words)-1] == "-" {
		words = words[:len(words)-1]
	}
	return strings.Join(words, " ")
}
