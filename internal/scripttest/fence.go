package scripttest

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// A fenced is a lock with its queue and its counter, on the node under check.
type fenced struct {
	queue
	counter string
}

const (
	keep     = time.Hour // life of a counter
	slackBy  = 250_000   // in microseconds: how far a hint may be from the server's time
	farAhead = 23 * time.Hour
	tooFar   = 25 * time.Hour
)

// fenced returns a free lock without a counter.
func (t *trial) fenced() fenced {
	q := t.queue()
	f := fenced{q, q.name + ":fence"}
	t.removes(f.counter)
	return f
}

// removes deletes a key when the check ends. The key holds a string, and may not expire.
func (t *trial) removes(key string) {
	t.Defer(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Ctx), time.Second)
		defer cancel()
		t.remove(ctx, key)
	})
}

func (t *trial) remove(ctx context.Context, key string) {
	if r := script(lua.Inspect, []string{key}).Do(ctx, t.Node); len(r.Reply) == 3 {
		value, _ := r.Reply.Text(1)
		t.Node.EvalDelete(ctx, key, value)
	}
}

func (f fenced) tomb(token string) string { return f.name + ":gone:" + token }
func (f fenced) two() []string            { return []string{f.lock, f.counter} }

// three returns the keys of a vote by a caller that does not wait, and four those of a
// waiter's vote.
func (f fenced) three(token string) []string { return []string{f.lock, f.counter, f.tomb(token)} }
func (f fenced) four(token string) []string  { return append(f.three(token), f.name) }

func decimal(n int64) string                 { return strconv.FormatInt(n, 10) }
func millis(d time.Duration) string          { return strconv.FormatInt(d.Milliseconds(), 10) }
func ahead(now int64, d time.Duration) int64 { return now + d.Microseconds() }

// ask sends a vote of a caller that does not wait.
func (f fenced) ask(token string, hint int64) backend.Reply {
	return f.t.EvalKeys(lua.Vote, f.three(token), token, "60000", decimal(hint), millis(keep))
}

// granted fails the check unless r, the answer to a vote with this hint, grants the lock.
// It returns the vote and the time.
func (f fenced) granted(r backend.Reply, hint int64, what string) (vote, now int64) {
	if len(r) == 1 {
		now, err := r.Int(0)
		if err != nil || now <= 1 {
			f.t.Failf("%s answers %v, want the time if it is one element", what, check.Brief(r))
		}
		return hint, now
	}
	if len(r) != 3 || r[0] != int64(1) || r[1] == hint {
		f.t.Failf("%s, with the hint %d, answers %v, want {the time} or {1, another vote, the time}", what, hint, check.Brief(r))
	}
	return f.ints(r, what)
}

// refused fails the check unless r refuses the lock, because owner has it, with this
// rank. It returns the counter and the time.
func (f fenced) refused(r backend.Reply, what string, rank int64, owner string) (counter, now int64) {
	if len(r) != 6 || r[0] != int64(0) || r[4] != rank || r[5] != owner {
		f.t.Failf("%s answers %v, want {0, the counter, the time, the time to live, %d, %q}", what, check.Brief(r), rank, owner)
	}
	if left, err := r.Int(3); err != nil || left < -1 {
		f.t.Failf("%s answers %v, want a time to live", what, check.Brief(r))
	}
	return f.ints(r, what)
}

// ended fails the check unless r says that there is a tombstone for the token.
func (f fenced) ended(r backend.Reply, what string) {
	if len(r) != 6 || r[0] != int64(0) || r[3] != int64(-2) || r[4] != int64(-1) || r[5] != "" {
		f.t.Failf("%s answers %v, want {0, the counter, the time, -2, -1, \"\"}", what, check.Brief(r))
	}
}

func (f fenced) ints(r backend.Reply, what string) (counter, now int64) {
	counter, err1 := r.Int(1)
	now, err2 := r.Int(2)
	if err1 != nil || err2 != nil {
		f.t.Failf("%s answers %v, want a counter and a time", what, check.Brief(r))
	}
	return counter, now
}

// votes takes the free lock for token, while the counter is at c, and returns the vote
// and the time. It fails the check unless the vote has the right value.
func (f fenced) votes(token string, c, hint int64, situation string) (vote, now int64) {
	what := "vote for a free lock, " + situation + ","
	vote, now = f.granted(f.ask(token, hint), hint, what)
	f.rises(vote, c, hint, now, what)
	f.counts(vote, keep, "after a "+what)
	return vote, now
}

// votesAs checks that a vote with these keys takes a free lock, and that a second one is
// refused and queues nobody. It does so with two hints, because one of them may take a
// fast path. rest is sent after the token, the ttl, the hint and the counter's life.
func (f fenced) votesAs(what string, keys func(token string) []string, rest ...string) {
	what = "vote with " + what
	for _, hint := range []int64{0, f.t.now() + 1000} {
		vote := func(token string) backend.Reply {
			args := []string{token, "60000", decimal(hint), millis(keep)}
			return f.t.EvalKeys(lua.Vote, keys(token), append(args, rest...)...)
		}
		before, _ := strconv.ParseInt(f.at(), 10, 64)
		token := f.t.Name()
		c, now := f.granted(vote(token), hint, what)
		f.rises(c, before, hint, now, what)
		f.holds(token, long, "after a "+what)
		f.refused(vote(f.t.Name()), what+" for a lock that another token holds", -1, owner(token))
		f.inQueue("after a " + what + " that is refused")
		f.counts(c, keep, "after a "+what+" that is refused")
		f.t.Answer(f.eval(lua.Release, token), "release of a key by its holder", 1)
	}
}

// at returns the value of the counter, or "" if it is missing.
func (f fenced) at() string {
	text, _ := f.t.Eval(lua.Inspect, f.counter).Text(1)
	return text
}

// rises fails the check unless vote is the right one for this counter, hint and time.
func (f fenced) rises(vote, c, hint, now int64, what string) {
	if want := max(c+1, min(max(hint, now-slackBy), now+slackBy)); vote != want {
		f.t.Failf("%s with the counter at %d, the hint %d, the time being %d, is for %d, want %d", what, c, hint, now, vote, want)
	}
}

// counts fails the check unless the counter is c and lives for at most life and not much
// less.
func (f fenced) counts(c int64, life time.Duration, when string) {
	r := f.t.Eval(lua.Inspect, f.counter)
	left, _ := r.Int(2)
	if len(r) != 3 || r[1] != decimal(c) {
		f.t.Failf("%s, the counter is %v, want {1, \"%d\", its time to live}", when, check.Brief(r), c)
	}
	if life == backend.NoExpiry && left != -1 || life != backend.NoExpiry && (left > life.Milliseconds() || left < (life-call).Milliseconds()) {
		f.t.Failf("%s, the counter lives for %d ms, want at most %v and about that", when, left, life)
	}
}

// standsAt sets the missing counter to text.
func (f fenced) standsAt(text string) {
	f.t.SetNX(f.counter, text, long, true, "a counter that is missing")
}

// lost deletes the counter.
func (f fenced) lost() {
	ctx, cancel := context.WithTimeout(f.t.Ctx, call)
	defer cancel()
	f.t.remove(ctx, f.counter)
}

// unchanged fails the check unless the counter holds text.
func (f fenced) unchanged(text, when string) {
	if r := f.t.Eval(lua.Inspect, f.counter); len(r) != 3 || r[1] != text {
		f.t.Failf("%s, the counter is %v, want {1, %q, its time to live}", when, check.Brief(r), text)
	}
}

// missing fails the check unless key is missing.
func (t *trial) missing(key, what string) {
	if r := t.Eval(lua.Inspect, key); len(r) == 0 || r[0] != int64(0) {
		t.Failf("%s is %v, want it missing", what, check.Brief(r))
	}
}

// failsWith fails the check unless the script returns an error that begins with code and
// names key.
func (t *trial) failsWith(code, key string, s *backend.Script, keys []string, args ...string) {
	ctx, cancel := context.WithTimeout(t.Ctx, call)
	defer cancel()
	r := script(s, keys, args...).Do(ctx, t.Node)
	if r.Err == nil {
		t.Failf("%s with the arguments %q answers %v, want an error", s.Name(), args, check.Brief(r.Reply))
	}
	t.Supported(r.Err)
	text := strings.TrimPrefix(r.Err.Error(), "-")
	if !strings.HasPrefix(text, code+" ") || !strings.Contains(text, strings.Trim(strconv.Quote(key), `"`)) {
		t.Failf("%s with the arguments %q fails with %q, want an error that begins with %s and names %q", s.Name(), args, r.Err, code, key)
	}
}

// now returns the server's time.
func (t *trial) now() int64 {
	f := t.fenced()
	_, now := f.granted(f.ask(t.Name(), 0), 0, "vote for a free lock")
	return now
}

// badCounters returns texts that are not valid counters.
func badCounters() []string {
	return []string{"", "x", "-1", "+1", "1.5", " 1", "1 ", "1e15", "0x10", "nan", "inf", "12345678901234567", "1\x00"}
}

// likeCounters returns texts that are not valid counters, but have the length of a
// current one. Some contain a time near now.
func likeCounters(now int64) []string {
	digits := (decimal(now) + "0000")[:16]
	return []string{
		digits[:14] + "e2", fmt.Sprintf("0x%014x", now), "1.00000000000000", "nan             ", strings.Repeat(" ", 16),
		" " + digits[:15], digits[:15] + " ", "-" + digits[:15], "+" + digits[:15], "1" + strings.Repeat("\x00", 15),
	}
}

// tooHigh returns counters above which nobody may vote. No vote is raised to these values
// either.
func tooHigh(now int64) []int64 {
	return []int64{ahead(now, tooFar), 1<<53 - 2, 1<<53 - 1, 1 << 53, math.MaxInt64 / 1000}
}
