package fencing

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/quorumlock/quorumlock/fence"
)

// An access is what a holder requests of a register, and an answer is what the holder gets.
type access struct {
	write bool
	token uint64
	value string // written
}

type answer struct {
	stale bool
	value string // read
}

// fencedRegister is the model of a fenced register with one access at a time. It accepts no token
// below one that it has seen, in writes and reads alike.
var fencedRegister = porcupine.Model{
	Init: func() any { return seen{} },
	Step: func(state, input, output any) (bool, any) {
		s, in, out := state.(seen), input.(access), output.(answer)
		switch {
		case in.token < s.highest:
			return out.stale, s
		case in.write:
			return !out.stale, seen{in.token, in.value}
		default:
			return !out.stale && out.value == s.value, seen{in.token, s.value}
		}
	},
}

type seen struct {
	highest uint64
	value   string
}

// A recorder is a register that records each access to another register, with its times and its
// answer.
type recorder struct {
	register
	t     testing.TB
	start time.Time

	mu      sync.Mutex
	history []porcupine.Operation
}

func record(t testing.TB, r register) *recorder {
	return &recorder{register: r, t: t, start: time.Now()}
}

func (r *recorder) read(ctx context.Context, token uint64) (string, error) {
	call := time.Since(r.start)
	value, err := r.register.read(ctx, token)
	r.add(call, access{token: token}, value, err)
	return value, err
}

func (r *recorder) write(ctx context.Context, token uint64, value string) error {
	call := time.Since(r.start)
	err := r.register.write(ctx, token, value)
	r.add(call, access{write: true, token: token, value: value}, "", err)
	return err
}

func (r *recorder) add(call time.Duration, in access, value string, err error) {
	end := time.Since(r.start)
	stale := errors.Is(err, fence.ErrStale)
	if err != nil && !stale {
		r.t.Errorf("token %d: %v", in.token, err)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, porcupine.Operation{
		ClientId: int(in.token), Input: in, Call: call.Nanoseconds(), Output: answer{stale, value}, Return: end.Nanoseconds(),
	})
}

// check reports whether the history is one of a fenced register, in an order that agrees with
// real time.
func (r *recorder) check() porcupine.CheckResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return porcupine.CheckOperationsTimeout(fencedRegister, r.history, time.Minute)
}
