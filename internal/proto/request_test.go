package proto

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// requests has one request of each form that the library sends, with its operation.
var requests = []struct {
	name   string
	op     func(keys, args []string) backend.Op
	script *backend.Script
	keys   []string
	args   []string
}{
	{"acquire", (&Acquire{Lock: "k", Token: "t", TTL: time.Second}).Op, lua.Acquire, words("k"), words("t", "1000")},
	{"acquire of a waiter", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Wait: Wait{"q", "20:x", 5 * time.Millisecond}}).Op,
		lua.Acquire, words("k", "q"), words("t", "1000", "20:x", "5")},
	{"acquire with a quarantine", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Check: Check{"m", time.Minute}}).Op,
		lua.Acquire, words("k", "k", "m"), words("t", "1000", "", "", "60000")},
	{"acquire of a waiter with a quarantine", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Wait: Wait{"q", "20:x", 0}, Check: Check{"m", time.Minute}}).Op,
		lua.Acquire, words("k", "q", "m"), words("t", "1000", "20:x", "0", "60000")},
	{"acquire without a ticket", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Wait: Wait{Queue: "q"}}).Op,
		lua.Acquire, words("k"), words("t", "1000")},
	{"vote", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Vote: vote}).Op, lua.Vote, words("k", "c", "d"), words("t", "1000", "7", "2000")},
	{"vote of a waiter", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Vote: vote, Wait: Wait{"q", "20:x", 5 * time.Millisecond}}).Op,
		lua.Vote, words("k", "c", "d", "q"), words("t", "1000", "7", "2000", "20:x", "5")},
	{"vote with a quarantine", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Vote: vote, Check: Check{"m", time.Minute}}).Op,
		lua.Vote, words("k", "c", "d", "k", "m"), words("t", "1000", "7", "2000", "", "", "60000")},
	{"vote of a waiter with a quarantine", (&Acquire{Lock: "k", Token: "t", TTL: time.Second, Vote: vote, Wait: Wait{"q", "20:x", 0}, Check: Check{"m", time.Minute}}).Op,
		lua.Vote, words("k", "c", "d", "q", "m"), words("t", "1000", "7", "2000", "20:x", "0", "60000")},
	{"release", (&Release{Lock: "k", Queue: "q", Token: "t"}).Op, lua.Release, words("k", "q"), words("t")},
	{"release of a waiter", (&Release{Lock: "k", Queue: "q", Token: "t", Ticket: "20:x"}).Op, lua.Release, words("k", "q"), words("t", "20:x", "")[:2]},
	{"release with an announcement", (&Release{Lock: "k", Queue: "q", Token: "t", Announce: "a"}).Op, lua.Release, words("k", "q"), words("t", "", "a")},
	{"release with a tombstone", (&Release{Lock: "k", Queue: "q", Token: "t", Tombstone: Tombstone{"d", time.Second}}).Op,
		lua.Release, words("k", "q", "d"), words("t", "", "", "1000")},
	{"notification alone", (&Release{Lock: "k", Queue: "q"}).Op, lua.Release, words("k", "q"), words("")},
	{"rollback", (&Rollback{Lock: "k", Token: "t", Wait: Wait{Queue: "q"}}).Op, lua.Rollback, words("k", "q"), words("t", "", "0", "0")},
	{"rollback of a waiter", (&Rollback{Lock: "k", Token: "t", Wait: Wait{"q", "20:x", 5 * time.Millisecond}, Notify: true}).Op,
		lua.Rollback, words("k", "q"), words("t", "20:x", "5", "1")},
	{"rollback with a tombstone", (&Rollback{Lock: "k", Token: "t", Wait: Wait{Queue: "q"}, Tombstone: Tombstone{"d", time.Second}}).Op,
		lua.Rollback, words("k", "q", "d"), words("t", "", "0", "0", "1000")},
	{"acquire to read", (&Acquire{Lock: "k", Readers: "r", Token: "t", TTL: time.Second, Wait: Wait{Queue: "q"}}).Op,
		lua.AcquireShared, words("k", "q", "r"), words("t", "1000")},
	{"acquire to read of a waiter", (&Acquire{Lock: "k", Readers: "r", Token: "t", TTL: time.Second, Wait: Wait{"q", "90020:x", 5 * time.Millisecond}}).Op,
		lua.AcquireShared, words("k", "q", "r"), words("t", "1000", "90020:x", "5")},
	{"acquire to read with a quarantine", (&Acquire{Lock: "k", Readers: "r", Token: "t", TTL: time.Second, Wait: Wait{Queue: "q"}, Check: Check{"m", time.Minute}}).Op,
		lua.AcquireShared, words("k", "q", "r", "m"), words("t", "1000", "", "", "60000")},
	{"acquire to read of a waiter with a quarantine", (&Acquire{Lock: "k", Readers: "r", Token: "t", TTL: time.Second, Wait: Wait{"q", "90020:x", 0}, Check: Check{"m", time.Minute}}).Op,
		lua.AcquireShared, words("k", "q", "r", "m"), words("t", "1000", "90020:x", "0", "60000")},
	{"acquire of a token that reads elsewhere", (&Acquire{Lock: "k", Readers: "r", Reads: true, Token: "t", TTL: time.Second, Wait: Wait{Queue: "q"}}).Op,
		lua.AcquireShared, words("k", "q", "r"), words("t", "1000", "", "", "", "1")},
	{"acquire of a token that reads elsewhere, with a quarantine", (&Acquire{Lock: "k", Readers: "r", Reads: true, Token: "t", TTL: time.Second, Wait: Wait{Queue: "q"}, Check: Check{"m", time.Minute}}).Op,
		lua.AcquireShared, words("k", "q", "r", "m"), words("t", "1000", "", "", "60000", "1")},
	{"extension of a reader", (&ExtendShared{Lock: "k", Queue: "q", Readers: "r", Token: "t", TTL: time.Second}).Op,
		lua.ExtendShared, words("k", "q", "r"), words("t", "1000")},
	{"release of a reader", (&Release{Lock: "k", Queue: "q", Readers: "r", Token: "t"}).Op, lua.ReleaseShared, words("k", "q", "r"), words("t")},
	{"release of a waiting reader", (&Release{Lock: "k", Queue: "q", Readers: "r", Token: "t", Ticket: "90020:x"}).Op,
		lua.ReleaseShared, words("k", "q", "r"), words("t", "90020:x")},
	{"release of a reader with an announcement", (&Release{Lock: "k", Queue: "q", Readers: "r", Token: "t", Announce: "a"}).Op,
		lua.ReleaseShared, words("k", "q", "r"), words("t", "", "a")},
	{"rollback of a reader", (&Rollback{Lock: "k", Readers: "r", Token: "t", Wait: Wait{"q", "90020:x", 5 * time.Millisecond}, Notify: true}).Op,
		lua.RollbackShared, words("k", "q", "r"), words("t", "90020:x", "5", "1")},
	{"prolong", (&Prolong{Lock: "k", Counter: "c", Token: "t", TTL: time.Second, Value: 7, Keep: 2 * time.Second}).Op,
		lua.Prolong, words("k", "c"), words("t", "1000", "7", "2000")},
	{"raise", (&Raise{Lock: "k", Counter: "c", Token: "t", Value: 7}).Op, lua.Raise, words("k", "c"), words("t", "7", "0")},
	{"raise with a quarantine", (&Raise{Lock: "k", Counter: "c", Token: "t", Value: 7, Check: Check{"m", time.Minute}}).Op,
		lua.Raise, words("k", "c", "m"), words("t", "7", "0", "60000")},
	{"mark", func(_, _ []string) backend.Op { return Mark{"m"}.Op() }, lua.Mark, words("m"), nil},
	{"echo", func(_, _ []string) backend.Op { return Echo{"k", "x", "hello"}.Op() }, lua.Echo, words("k"), words("x", "hello")},
}

var vote = Vote{"c", "d", 7, 2 * time.Second}

func words(s ...string) []string { return s }

func TestRequests(t *testing.T) {
	for _, tc := range requests {
		op := tc.op(nil, nil)
		if op.Kind != backend.OpEval || op.Script != tc.script || !slices.Equal(op.Keys, tc.keys) || !slices.Equal(op.Args, tc.args) {
			t.Errorf("%s: %v %s %q %q, want %s %q %q", tc.name, op.Kind, op.Script.Name(), op.Keys, op.Args, tc.script.Name(), tc.keys, tc.args)
		}
	}
}

// Requests fit into the room that they allocate for themselves, and use the caller's room.
func TestRequestsUseTheRoom(t *testing.T) {
	for _, tc := range requests {
		if tc.script == lua.Mark || tc.script == lua.Echo {
			continue
		}
		var keys, args [most]string
		op := tc.op(keys[:0], args[:0])
		if &op.Keys[0] != &keys[0] || &op.Args[0] != &args[0] {
			t.Errorf("%s does not use the room", tc.name)
		}
		if n := testing.AllocsPerRun(10, func() { tc.op(nil, nil) }); n > 6 { // two slices and four numbers
			t.Errorf("%s allocates %v times", tc.name, n)
		}
	}
}

func TestReadAcquire(t *testing.T) {
	for _, tc := range []struct {
		reply backend.Reply
		want  AcquireReply
	}{
		{backend.Reply{int64(1), int64(500)}, AcquireReply{Granted: true}},
		{backend.Reply{int64(0), int64(500), int64(2), "end"}, AcquireReply{Refusal: Refusal{Left: 500 * time.Millisecond, Rank: 2, Owner: "end"}}},
		{backend.Reply{int64(0), int64(-1), int64(-1), ""}, AcquireReply{Refusal: Taken}},
		{backend.Reply{int64(0), int64(10_000_000_000_000)}, AcquireReply{Refusal: Refusal{Left: Forever.Truncate(time.Millisecond), Rank: -1}}},
		{backend.Reply{int64(0), int64(18_446_744_073_720)}, AcquireReply{Refusal: Refusal{Left: Forever.Truncate(time.Millisecond), Rank: -1}}},
		{backend.Reply{int64(0), int64(5), int64(-1), "", "ZADD: OOM"}, AcquireReply{Refusal: Refusal{Left: 5 * time.Millisecond, Rank: -1, Why: "ZADD: OOM"}}},
		{backend.Reply{int64(0)}, AcquireReply{Refusal: Taken}},
	} {
		got, err := ReadAcquire(tc.reply)
		if err != nil || got != tc.want {
			t.Errorf("%v is read as %+v, %v, want %+v", tc.reply, got, err, tc.want)
		}
	}
	for _, reply := range []backend.Reply{nil, {"1"}} {
		if got, err := ReadAcquire(reply); err == nil {
			t.Errorf("%v is read as %+v", reply, got)
		}
	}
}

func TestReadVote(t *testing.T) {
	for _, tc := range []struct {
		reply backend.Reply
		want  AcquireReply
	}{
		{backend.Reply{int64(900)}, AcquireReply{Granted: true, Counter: 7, Clock: 900}},
		{backend.Reply{int64(1), int64(8), int64(900)}, AcquireReply{Granted: true, Counter: 8, Clock: 900}},
		{backend.Reply{int64(0), int64(9), int64(900), int64(500), int64(2), "end"},
			AcquireReply{Counter: 9, Clock: 900, Refusal: Refusal{Left: 500 * time.Millisecond, Rank: 2, Owner: "end"}}},
		{backend.Reply{int64(0), int64(9), int64(900), int64(-2), int64(-1), ""}, AcquireReply{Counter: 9, Clock: 900, Refusal: Taken}},
	} {
		got, err := ReadVote(tc.reply, 7)
		if err != nil || got != tc.want {
			t.Errorf("%v is read as %+v, %v, want %+v", tc.reply, got, err, tc.want)
		}
	}
	for _, reply := range []backend.Reply{nil, {"1"}, {int64(0)}, {int64(1)}, {int64(1), int64(8)}, {int64(1), int64(0), int64(900)}, {int64(0), "9", int64(900)}} {
		if got, err := ReadVote(reply, 7); err == nil {
			t.Errorf("%v is read as %+v", reply, got)
		}
	}
}

func TestReadRelease(t *testing.T) {
	for _, tc := range []struct {
		reply backend.Reply
		want  ReleaseReply
	}{
		{backend.Reply{int64(1)}, ReleaseReply{Held: true}},
		{backend.Reply{int64(0)}, ReleaseReply{}},
		{backend.Reply{int64(1), "PUBLISH: NOPERM"}, ReleaseReply{Held: true, Mute: "PUBLISH: NOPERM"}},
		{backend.Reply{int64(0), "", int64(1)}, ReleaseReply{More: true}},
	} {
		got, err := ReadRelease(tc.reply)
		if err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v is read as %+v, %v, want %+v", tc.reply, got, err, tc.want)
		}
	}
	if got, err := ReadRelease(backend.Reply{"1"}); err == nil {
		t.Errorf("a text is read as %+v", got)
	}
}
