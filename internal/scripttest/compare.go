package scripttest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/check"
)

// Compare performs the same n operations, in order, on two nodes. If they answer one
// differently, it returns an error that lists the operations up to there.
//
// The operations depend only on seed, except for keys, which begin with prefix and are
// new for each call, and times that are near the current time. If both nodes run scripts,
// scripts of package backend/lua are included. If both can also subscribe, some waiters
// listen, and must receive the same messages from both nodes.
//
// Compare shows that a test double behaves as a server does. Each node must be a single
// server, up and fast: keys are expected not to expire within seconds, and times to live
// count as equal if they differ by less than a few seconds. The remaining keys expire
// within ten minutes.
func Compare(ctx context.Context, a, b backend.Node, prefix string, seed uint64, n int) error {
	rng := rand.New(rand.NewPCG(seed, seed))
	_, aRuns := backend.As[backend.Scripter](a)
	_, bRuns := backend.As[backend.Scripter](b)
	began := time.Now()
	g := generator{rng: rng, prefix: prefix + check.Random() + ":", scripts: aRuns && bRuns, began: began}
	var inboxes []inboxPair
	if g.scripts {
		var err error
		if inboxes, err = openInboxes(ctx, a, b, g.channels()); err != nil {
			return fmt.Errorf("scripttest: seed %d: %w", seed, err)
		}
	}
	defer func() {
		for _, pair := range inboxes {
			pair.close()
		}
	}()

	defer g.clear(context.WithoutCancel(ctx), a, b)
	g.runs = g.scripts && g.tellsRun(ctx, a) && g.tellsRun(ctx, b)

	var history []string
	step := func(op backend.Op) error {
		history = append(history, describe(op))
		x, y := op.Do(ctx, a), op.Do(ctx, b)
		if err := ctx.Err(); err != nil {
			return err
		}
		// For one node's clock the hint was near, and for the other's it was not.
		if len(x.Reply) != len(y.Reply) {
			x.Reply, y.Reply = inFull(op, x.Reply), inFull(op, y.Reply)
		}
		if err := differ(x, y, time.Since(began)); err != nil {
			return fmt.Errorf("scripttest: seed %d: after %d operations: %w\n%s", seed, len(history), err, trace(history))
		}
		return nil
	}
	for range n {
		op := g.next()
		if err := step(op); err != nil {
			return err
		}
		for _, op := range g.afterCall(ctx, a, op) {
			if err := step(op); err != nil {
				return err
			}
		}
	}
	for _, pair := range inboxes {
		last, calls := g.call(pair.channel)
		for _, op := range calls {
			if err := step(op); err != nil {
				return err
			}
		}
		if err := pair.differ(last); err != nil {
			return fmt.Errorf("scripttest: seed %d: after %d operations: %w", seed, len(history), err)
		}
	}
	return nil
}

// afterCall returns the operations that follow op if it has reserved a lock on n. They
// inspect the reservation and extend it. Otherwise it would end within a second, and not
// at the same moment on both nodes.
func (g *generator) afterCall(ctx context.Context, n backend.Node, op backend.Op) []backend.Op {
	if op.Kind != backend.OpEval ||
		op.Script != lua.Release && op.Script != lua.Rollback && op.Script != lua.ReleaseShared && op.Script != lua.RollbackShared {
		return nil
	}
	inspect := script(lua.Inspect, op.Keys[:1])
	r := inspect.Do(ctx, n)
	if len(r.Reply) != 3 {
		return nil
	}
	value, _ := r.Reply.Text(1)
	if !strings.HasPrefix(value, "~") || value == sharedValue {
		return nil
	}
	return []backend.Op{inspect, script(lua.Extend, op.Keys[:1], value, "60000")}
}

// An inboxPair subscribes to one channel on both nodes.
type inboxPair struct {
	channel string
	a, b    *inbox
}

// openInboxes returns a pair for each channel, or none if a node cannot subscribe.
func openInboxes(ctx context.Context, a, b backend.Node, channels []string) ([]inboxPair, error) {
	var pairs []inboxPair
	for _, channel := range channels {
		pair := inboxPair{channel: channel}
		var err error
		if pair.a, err = openInbox(ctx, a, channel); err == nil {
			if pair.b, err = openInbox(ctx, b, channel); err == nil {
				pairs = append(pairs, pair)
				continue
			}
			pair.a.close()
		}
		for _, pair := range pairs {
			pair.close()
		}
		if errors.Is(err, errors.ErrUnsupported) {
			return nil, nil
		}
		return nil, err
	}
	return pairs, nil
}

func (p inboxPair) close() {
	p.a.close()
	p.b.close()
}

// differ returns an error unless both nodes published the same messages before the
// message last.
func (p inboxPair) differ(last string) error {
	x, err := p.a.until(last)
	if err != nil {
		return fmt.Errorf("the first node: %w", err)
	}
	y, err := p.b.until(last)
	if err != nil {
		return fmt.Errorf("the second node: %w", err)
	}
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Errorf("message %d on %s is %s of one, %s of the other", i+1, check.Quote(p.channel), check.Quote(x[i]), check.Quote(y[i]))
		}
	}
	if len(x) != len(y) {
		return fmt.Errorf("on %s one says %d messages, the other %d", check.Quote(p.channel), len(x), len(y))
	}
	return nil
}

// A generator makes operations with few keys and few tokens, so that they collide.
type generator struct {
	rng     *rand.Rand
	prefix  string
	scripts bool
	runs    bool // both nodes report a run_id
	began   time.Time
	made    int // number of operations made
}

func pick[T any](g *generator, of ...T) T { return of[g.rng.IntN(len(of))] }

// channels returns the channels with a subscriber, if the nodes can subscribe.
func (g *generator) channels() []string {
	return []string{g.prefix + "inbox", g.prefix + ":in\x00box:\xff", g.prefix + "other inbox"}
}

// ticket usually returns the ticket of a subscriber.
func (g *generator) ticket() string {
	channel := pick(g, append(g.channels(), g.channels()...)...)
	return pick(g,
		"30000:"+channel, "30000:"+channel, "60000:"+channel, "60000:"+channel,
		"30000:"+g.prefix+"nobody", "0:"+channel, "030000:"+channel, "100000:"+channel, channel, "")
}

// waited returns a number of milliseconds that is minutes away from any other. So the
// order in the queue does not depend on the moment at which a node is asked.
func (g *generator) waited() string {
	if g.rng.IntN(10) == 0 {
		return pick(g, "", "soon", "-1", "1.5", "9999999999999999", "0x10", "inf")
	}
	return strconv.Itoa(g.rng.IntN(7e6) * 600_000) // fits in a time.Duration
}

// locks returns the locks. One of them is sometimes a lock, sometimes its own queue and
// sometimes another lock's queue. So a string may be where a queue should be, and vice
// versa.
func (g *generator) locks() []string {
	return []string{g.prefix + "a", g.prefix + "b\x00", g.prefix + "ключ", g.odd()}
}

func (g *generator) odd() string { return g.prefix + "any" }

func (g *generator) fencedLock() string { return g.prefix + "fenced" }

// marker returns the server's marker. It changes now and then, because a server keeps the
// state that Mark gave to a marker.
func (g *generator) marker() string { return g.markerAt(g.made) }

func (g *generator) markerAt(made int) string {
	return g.prefix + "marker " + strconv.Itoa(made/counterLife)
}

// tellsRun reports whether a node supports the quarantine.
func (g *generator) tellsRun(ctx context.Context, n backend.Node) bool {
	return script(lua.Mark, []string{g.markerAt(-counterLife)}).Do(ctx, n).Err == nil
}

// counterOf returns the lock's counter. It changes now and then, because a counter that
// is invalid or too far ahead stays so.
func (g *generator) counterOf(lock string) string { return counterAt(lock, g.made) }

const counterLife = 100 // operations

func counterAt(lock string, made int) string {
	return lock + "{" + lock + "}:fence " + strconv.Itoa(made/counterLife)
}

// micros returns a time in microseconds, relative to the start of Compare.
func (g *generator) micros(after time.Duration) string {
	return strconv.FormatInt(g.began.Add(after).UnixMicro(), 10)
}

// hint returns a hint. Either it is near the server's time, or its comparison with that
// time does not depend on the moment at which a server is asked.
func (g *generator) hint() string {
	now := strconv.FormatInt(time.Now().UnixMicro(), 10)
	return pick(g, "0", "1", g.micros(-time.Hour), g.micros(time.Hour), "9999999999999999", now, now, now, now, now, now)
}

// inFull converts the short answer to a vote, which says that the vote is for the hint,
// to the long form that is used for other numbers.
func inFull(op backend.Op, r backend.Reply) backend.Reply {
	if op.Script != lua.Vote || len(r) != 1 || len(op.Args) < 3 {
		return r
	}
	hint, err := strconv.ParseInt(op.Args[2], 10, 64)
	if err != nil {
		return r
	}
	return backend.Reply{int64(1), hint, r[0]}
}

// value returns a value for a counter. It is lower than the next vote, or so far ahead
// that votes count up from it, or too far ahead.
func (g *generator) value() string {
	ahead := time.Duration(g.rng.IntN(8)) * time.Microsecond
	return pick(g, "1", "41", g.micros(-time.Hour), g.micros(time.Hour), g.micros(time.Hour+ahead), g.micros(time.Hour+ahead),
		g.micros(time.Hour+ahead), g.micros(20*time.Hour), g.micros(30*time.Hour), "9007199254740991", "9999999999999999")
}

// badNumber returns a text that is not a number, or a number that scripts cannot use.
func (g *generator) badNumber() string {
	return pick(g, append(likeCounters(time.Now().UnixMicro()),
		"soon", "", "-1", "1.5", "0x10", " 1", "99999999999999999999", "12345678901234567")...)
}

func (g *generator) next() backend.Op {
	op := backend.Op{
		Key:   pick(g, g.locks()...),
		Token: pick(g, "", "x", "x\x00", "y\r\n", strings.Repeat("long", 20)),
		TTL:   pick(g, 20*time.Second, 40*time.Second, 60*time.Second-1),
	}
	g.made++
	counter := g.counterOf(op.Key)
	if g.scripts && g.rng.IntN(24) == 0 { // counters of another lock, and invalid ones of this lock
		op.Key, op.Token = counter, pick(g, pick(g, likeCounters(g.began.UnixMicro())...), "", "41", "041", "9007199254740990", "9007199254740991", "9007199254740993",
			"99999999999999999", "-41", "4.1", "4e1", "x", g.micros(time.Hour), g.micros(30*time.Hour))
		op.Kind = pick(g, backend.OpSetNX, backend.OpEvalDelete)
		return op
	}
	kinds := []backend.OpKind{backend.OpSetNX, backend.OpEvalDelete, backend.OpExtend}
	if g.scripts {
		kinds = append(kinds, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval, backend.OpEval)
	}
	if op.Kind = pick(g, kinds...); op.Kind != backend.OpEval {
		return op
	}
	switch g.rng.IntN(6) {
	case 0, 1, 2:
		return g.fencing(op)
	case 3:
		return g.sharing(op)
	}
	ttl := strconv.FormatInt(adapterkit.Milliseconds(op.TTL), 10)
	bad := pick(g, "soon", "", "0", "-1", "1.5", "99999999999999999999")
	queue := g.queueOf(op.Key)
	both := []string{op.Key, queue}
	ticket := g.ticket()
	return pick(g,
		script(lua.Acquire, both[:1], op.Token, ttl),
		script(pick(g, lua.Acquire, lua.Extend), both[:1], op.Token, bad),
		script(lua.Delete, both[:1], op.Token),
		script(lua.Extend, both[:1], op.Token, ttl),
		script(lua.Inspect, both[:1]),
		script(lua.Inspect, []string{queue}),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, ttl, ticket, g.waited()),
		script(lua.Acquire, both, op.Token, bad, ticket, g.waited()),
		script(lua.Acquire, both[:1], op.Token, ttl, ticket, g.waited()),
		script(lua.Release, both, op.Token),
		script(lua.Release, both, op.Token, "", pick(g, g.channels()...)),
		script(lua.Release, both, op.Token, ticket, ""),
		script(lua.Release, both, "", ticket, ""),
		script(lua.Rollback, both, op.Token, ticket, g.waited(), pick(g, "0", "1")),
		script(lua.Rollback, both, op.Token, ticket, g.waited(), pick(g, "0", "1")),
		script(lua.Echo, both[:1], pick(g, g.channels()...), pick(g, "e", "")),
		script(lua.Inspect, both, pick(g, "100", "100", "2", "0", bad)),
		script(lua.Inspect, []string{op.Key, op.Key}, "100"),
		script(lua.Slots, pick(g, both, g.locks(), g.locks()[:1]), pick(g, nil, []string{ticket}, []string{""})...))
}

// queueOf usually returns the lock's queue.
func (g *generator) queueOf(lock string) string {
	queue := lock + "{" + lock + "}"
	return pick(g, queue, queue, queue, g.odd())
}

// fencing returns a script for a lock with a fencing token, usually with the token of op.
func (g *generator) fencing(op backend.Op) backend.Op {
	ttl := strconv.FormatInt(adapterkit.Milliseconds(op.TTL), 10)
	keep := pick(g, "0", "120000", "240000", "0120000")
	ticket := g.ticket()
	if g.rng.IntN(3) > 0 { // usually a lock without waiters, so that it changes hands
		op.Key, op.Token, ticket = g.fencedLock(), pick(g, "x", "y\r\n"), ""
	}
	queue, counter := g.queueOf(op.Key), g.counterOf(op.Key)
	if g.rng.IntN(12) == 0 {
		counter = g.odd()
	}
	tomb := op.Key + "{" + op.Key + "}:gone:" + op.Token
	all := []string{op.Key, counter, tomb, queue, g.marker()}
	alone := []string{op.Key, counter, tomb, op.Key, g.marker()}
	vote := func(ttl, hint, keep string) backend.Op { // of a caller that does not wait
		keys := pick(g, alone[:3], alone[:3], alone[:4], all[:4])
		rest := pick(g, nil, nil, []string{""}, []string{"", ""}, []string{"", g.badNumber()})
		return script(lua.Vote, keys, append([]string{op.Token, ttl, hint, keep}, rest...)...)
	}
	length := pick(g, "3600000", "3600000", "3600000", "03600000", "0", g.badNumber())
	// Something other than a valid marker. Two nodes never agree on the value of a
	// marker.
	planted := pick(g, "", "x", "0123456789abcdef 0", "0123456789abcdef 1")
	made := pick(g,
		vote(ttl, g.hint(), keep),
		vote(ttl, g.hint(), keep),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, all[:3], op.Token, ttl, g.hint(), keep, ticket, g.waited()),
		script(lua.Vote, pick(g, all[:3], all[:4]), op.Token, ttl, g.hint(), keep, ticket),
		vote(pick(g, "0", g.badNumber()), g.hint(), keep),
		script(lua.Vote, all[:4], op.Token, ttl, g.hint(), keep, ticket, g.badNumber()),
		vote("0"+ttl, g.hint(), keep),
		vote(ttl, g.badNumber(), keep),
		vote(ttl, g.hint(), g.badNumber()),
		script(lua.Vote, alone, op.Token, ttl, g.hint(), keep, "", "", length),
		script(lua.Vote, all, op.Token, ttl, g.hint(), keep, ticket, g.waited(), length),
		script(lua.Vote, pick(g, all, alone), append([]string{op.Token, ttl, g.hint(), keep}, pick(g, nil, []string{"", ""})...)...),
		script(lua.Acquire, []string{op.Key, queue, all[4]}, op.Token, ttl, ticket, g.waited(), length),
		script(lua.Acquire, []string{op.Key, op.Key, all[4]}, op.Token, ttl, "", "", length),
		script(lua.Raise, []string{op.Key, counter, all[4]}, op.Token, g.value(), keep, length),
		script(lua.Mark, all[4:]),
		script(lua.Mark, all[4:]),
		backend.Op{Kind: backend.OpSetNX, Key: all[4], Token: planted, TTL: op.TTL},
		backend.Op{Kind: backend.OpEvalDelete, Key: all[4], Token: planted},
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, pick(g, "0", g.badNumber()), keep),
		script(lua.Raise, []string{op.Key, counter}, op.Token, g.value(), g.badNumber()),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "1", g.value()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "1", g.value()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, "0"+ttl, g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, pick(g, "0", g.badNumber()), g.value(), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, pick(g, "0", g.badNumber()), keep),
		script(lua.Prolong, []string{op.Key, counter}, op.Token, ttl, g.value(), g.badNumber()),
		script(lua.Release, []string{op.Key, queue, tomb}, op.Token, pick(g, "", ticket), "", ttl),
		script(lua.Release, []string{op.Key, queue, tomb}, op.Token, "", "", pick(g, "0", g.badNumber())),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, "", "", pick(g, "0", "1"), ttl),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, ticket, g.waited(), pick(g, "0", "1"), "0"+ttl),
		script(lua.Rollback, []string{op.Key, queue, tomb}, op.Token, "", "", "0", pick(g, "0", g.badNumber())),
		script(lua.Release, []string{op.Key, queue}, op.Token),
		script(lua.Release, []string{op.Key, queue}, op.Token),
		script(lua.Delete, []string{tomb}, "1"),
		script(lua.Delete, []string{tomb}, "1"),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{counter}),
		script(lua.Inspect, []string{tomb}))
	if !g.runs && slices.Contains(made.Keys, g.marker()) {
		return g.fencing(op)
	}
	return made
}

// clear deletes the keys that may never expire.
func (g *generator) clear(ctx context.Context, nodes ...backend.Node) {
	if !g.scripts {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, call)
	defer cancel()
	keys := []string{g.odd()}
	for made := -counterLife; made <= g.made; made += counterLife {
		keys = append(keys, g.markerAt(made))
	}
	for _, lock := range append(g.locks(), g.fencedLock()) {
		for made := 0; made <= g.made; made += counterLife {
			keys = append(keys, counterAt(lock, made))
		}
	}
	for _, n := range nodes {
		for _, key := range keys {
			if r := script(lua.Inspect, []string{key}).Do(ctx, n); len(r.Reply) == 3 {
				value, _ := r.Reply.Text(1)
				script(lua.Delete, []string{key}, value).Do(ctx, n)
			}
		}
	}
}

// call returns operations that notify the subscriber of channel, and the message that it
// receives.
func (g *generator) call(channel string) (payload string, ops []backend.Op) {
	lock := channel + " lock"
	both := []string{lock, lock + "{" + lock + "}"}
	return "g" + lock, []backend.Op{
		{Kind: backend.OpSetNX, Key: lock, Token: "x", TTL: 20 * time.Second},
		script(lua.Acquire, both, "y", "20000", "20000:"+channel, "0"),
		script(lua.Release, both, "x"),
	}
}

func script(s *backend.Script, keys []string, args ...string) backend.Op {
	return backend.Op{Kind: backend.OpEval, Script: s, Keys: keys, Args: args}
}

// differ returns an error unless x and y are the same answer. ago is the time since the
// first operation.
func differ(x, y backend.Result, ago time.Duration) error {
	different := fmt.Errorf("one answers %v, the other %v", outcome(x), outcome(y))
	if (x.Err == nil) != (y.Err == nil) || x.OK != y.OK || len(x.Reply) != len(y.Reply) {
		return different
	}
	if errors.Is(x.Err, errors.ErrUnsupported) != errors.Is(y.Err, errors.ErrUnsupported) {
		return different
	}
	if x.Err != nil && fencingCode(x.Err) != fencingCode(y.Err) {
		return different
	}
	a, b := byName(x.Reply), byName(y.Reply)
	for i := range a {
		m, ok1 := a[i].(int64)
		n, ok2 := b[i].(int64)
		if s, ok := a[i].(string); ok && !ok1 { // a counter, as its key holds it
			t, _ := b[i].(string)
			m, ok1 = micros(s)
			n, ok2 = micros(t)
		}
		switch {
		case ok1 && ok2:
			if !near(m, n, ago) {
				return different
			}
		case a[i] != b[i]:
			return different
		}
	}
	return nil
}

// byName sorts the end of an answer of lua.Inspect: the members of a queue of which nobody knows
// how long they have waited. They may be the readers of a lock that is taken for a queue. When
// their shares end, and so their order, depends on the moment at which a node was asked.
func byName(r backend.Reply) backend.Reply {
	from := len(r)
	for from >= 6 && r[from-1] == any(int64(-1)) {
		if _, ok := r[from-2].(string); !ok {
			break
		}
		from -= 2
	}
	var names []string
	for i := from; i < len(r); i += 2 {
		names = append(names, r[i].(string))
	}
	slices.Sort(names)
	sorted := slices.Clone(r)
	for i, name := range names {
		sorted[from+2*i] = name
	}
	return sorted
}

// near reports whether m and n are the same number, read from two nodes one after the
// other with different clocks. A number is a time to live in milliseconds, a time in
// microseconds or, if it is small, a flag. A counter that is far ahead does not come from
// a clock, so it must be equal.
func near(m, n int64, ago time.Duration) bool {
	low, apart, slack := min(m, n), max(m, n)-min(m, n), ago+3*time.Second
	switch {
	case low < 10 || low > time.Now().Add(30*time.Minute).UnixMicro():
		return m == n
	case low > 1e14:
		return apart <= slack.Microseconds()
	}
	return apart <= slack.Milliseconds()
}

// micros parses a current time in microseconds, and reports whether text is one.
func micros(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil && n > 1e14
}

// fencingCode returns the code at the start of the error of a fencing script, or "" for
// any other error.
func fencingCode(err error) string {
	for _, code := range []string{"FENCE", "QUARANTINE"} {
		if strings.HasPrefix(strings.TrimPrefix(err.Error(), "-"), code+" ") {
			return code
		}
	}
	return ""
}

func outcome(r backend.Result) string {
	switch {
	case r.Err != nil:
		return fmt.Sprintf("with the error %q", r.Err)
	case r.Reply != nil:
		return check.Brief(r.Reply)
	}
	return fmt.Sprint(r.OK)
}

func describe(op backend.Op) string {
	if op.Kind == backend.OpEval {
		return fmt.Sprintf("%s %q %q", op.Script.Name(), op.Keys, op.Args)
	}
	return fmt.Sprintf("%v %q %q %v", op.Kind, op.Key, op.Token, op.TTL)
}

// trace returns the last operations of the history.
func trace(history []string) string {
	const most = 20
	text := ""
	for i := max(0, len(history)-most); i < len(history); i++ {
		text += fmt.Sprintf("%5d  %s\n", i+1, history[i])
	}
	return text
}
