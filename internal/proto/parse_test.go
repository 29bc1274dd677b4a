package proto

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// again parses op and builds the operation again.
func again(op backend.Op) (backend.Op, error) {
	switch op.Script {
	case lua.Acquire:
		r, err := ParseAcquire(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Vote:
		r, err := ParseVote(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Release:
		r, err := ParseRelease(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Rollback:
		r, err := ParseRollback(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.AcquireShared:
		r, err := ParseAcquireShared(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.ExtendShared:
		r, err := ParseExtendShared(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.ReleaseShared:
		r, err := ParseReleaseShared(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.RollbackShared:
		r, err := ParseRollbackShared(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Prolong:
		r, err := ParseProlong(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Raise:
		r, err := ParseRaise(op.Keys, op.Args)
		return r.Op(nil, nil), err
	case lua.Mark:
		r, err := ParseMark(op.Keys)
		return r.Op(), err
	case lua.Echo:
		r, err := ParseEcho(op.Keys, op.Args)
		return r.Op(), err
	}
	return backend.Op{}, errors.New("not a request")
}

func same(a, b backend.Op) bool {
	return a.Kind == b.Kind && a.Script == b.Script && slices.Equal(a.Keys, b.Keys) && slices.Equal(a.Args, b.Args)
}

// Every request is parsed back from its operation.
func TestParse(t *testing.T) {
	for _, tc := range requests {
		op := tc.op(nil, nil)
		if got, err := again(op); err != nil || !same(got, op) {
			t.Errorf("%s: %q %q was parsed as %q %q, %v", tc.name, op.Keys, op.Args, got.Keys, got.Args, err)
		}
	}
}

// Random requests are parsed back field by field.
func TestParseRandomRequests(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	ms := func() time.Duration { return time.Duration(1+rng.IntN(1e6)) * time.Millisecond }
	for range 2000 {
		a := Acquire{Lock: "k", Token: "t", TTL: ms()}
		if rng.IntN(2) == 0 {
			a.Wait = Wait{"q", "20:x", ms()}
		}
		if rng.IntN(2) == 0 {
			a.Check = Check{"m", ms()}
		}
		parse := ParseAcquire
		if rng.IntN(2) == 0 {
			a.Vote, parse = Vote{"c", "d", rng.Int64N(1e15), ms()}, ParseVote
		}
		op := a.Op(nil, nil)
		if got, err := parse(op.Keys, op.Args); err != nil || got != a {
			t.Fatalf("%+v was parsed as %+v, %v", a, got, err)
		}
		var tombstone Tombstone
		if rng.IntN(2) == 0 {
			tombstone = Tombstone{"d", ms()}
		}
		rel := Release{Lock: "k", Queue: "q", Token: "t", Tombstone: tombstone}
		roll := Rollback{Lock: "k", Token: "t", Wait: Wait{Queue: "q"}, Notify: rng.IntN(2) == 0, Tombstone: tombstone}
		if rng.IntN(2) == 0 {
			rel.Ticket = "20:x"
			roll.Wait = Wait{"q", "20:x", ms()}
		}
		if rng.IntN(2) == 0 {
			rel.Announce = "a"
		}
		op = rel.Op(nil, nil)
		if got, err := ParseRelease(op.Keys, op.Args); err != nil || got != rel {
			t.Fatalf("%+v was parsed as %+v, %v", rel, got, err)
		}
		op = roll.Op(nil, nil)
		if got, err := ParseRollback(op.Keys, op.Args); err != nil || got != roll {
			t.Fatalf("%+v was parsed as %+v, %v", roll, got, err)
		}
	}
}

// What a script would reject is rejected with the same text.
func TestParseRejects(t *testing.T) {
	acquire := func(keys, args []string) error { _, err := ParseAcquire(keys, args); return err }
	vote := func(keys, args []string) error { _, err := ParseVote(keys, args); return err }
	release := func(keys, args []string) error { _, err := ParseRelease(keys, args); return err }
	rollback := func(keys, args []string) error { _, err := ParseRollback(keys, args); return err }
	prolong := func(keys, args []string) error { _, err := ParseProlong(keys, args); return err }
	raise := func(keys, args []string) error { _, err := ParseRaise(keys, args); return err }
	mark := func(keys, args []string) error { _, err := ParseMark(keys); return err }
	echo := func(keys, args []string) error { _, err := ParseEcho(keys, args); return err }
	for _, tc := range []struct {
		name  string
		parse func(keys, args []string) error
		keys  []string
		args  []string
		want  error
	}{
		{"acquire without a key", acquire, nil, words("t", "1"), errArguments},
		{"acquire without a time to live", acquire, words("k"), words("t"), errArguments},
		{"acquire for a text", acquire, words("k"), words("t", "x"), errAcquire},
		{"acquire for 0 ms", acquire, words("k"), words("t", "0"), errAcquire},
		{"acquire of a waiter without a time", acquire, words("k", "q"), words("t", "1", "20:x"), errAcquire},
		{"acquire of a waiter for a fraction", acquire, words("k", "q"), words("t", "1", "20:x", "1.5"), errAcquire},
		{"acquire with a quarantine of 0", acquire, words("k", "q", "m"), words("t", "1", "", "", "0"), errQuarantine},
		{"acquire with a marker alone", acquire, words("k", "q", "m"), words("t", "1"), errQuarantine},
		{"vote with two keys", vote, words("k", "c"), words("t", "1", "1", "1"), errArguments},
		{"vote for 0 ms", vote, words("k", "c", "d"), words("t", "0", "1", "1"), errVote},
		{"vote with a hint of 17 digits", vote, words("k", "c", "d"), words("t", "1", "12345678901234567", "1"), errVote},
		{"vote with a text as the counter's life", vote, words("k", "c", "d"), words("t", "1", "1", "x"), errVote},
		{"vote of a waiter without a time", vote, words("k", "c", "d", "q"), words("t", "1", "1", "1", "20:x"), errVote},
		{"release without a queue", release, words("k"), words("t"), errArguments},
		{"release with a tombstone alone", release, words("k", "q", "d"), words("t"), errTombstone},
		{"rollback of a waiter without a time", rollback, words("k", "q"), words("t", "20:x"), errWaited},
		{"rollback with a tombstone of 0 ms", rollback, words("k", "q", "d"), words("t", "", "0", "0", "0"), errTombstone},
		{"extension to 0", prolong, words("k", "c"), words("t", "1", "0", "1"), errProlong},
		{"extension with three arguments", prolong, words("k", "c"), words("t", "1", "1"), errArguments},
		{"raise to 0", raise, words("k", "c"), words("t", "0", "1"), errRaise},
		{"raise with a negative life", raise, words("k", "c"), words("t", "1", "-1"), errRaise},
		{"mark without a key", mark, nil, nil, errArguments},
		{"echo without a payload", echo, words("k"), words("x"), errArguments},
	} {
		if err := tc.parse(tc.keys, tc.args); err != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, err, tc.want)
		}
	}
}
