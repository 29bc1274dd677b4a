package quorum

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/proto"
)

// Mistakes with readers.
const (
	readersSilent  rushBug = "a reader's rollback and release that notify nobody"
	writersIgnored rushBug = "a writer that takes what others read"
	barges         rushBug = "a reader that joins a writer"
	countsTwice    rushBug = "an acquire that was sent again counts as another reader"
	soleReader     rushBug = "a reader that tells nobody of the readers behind it"
	freesAll       rushBug = "a reader that frees the lock although others read"
)

// shareSlack is how much earlier than its TTL a share may end, because nodes count its end in
// whole milliseconds.
const shareSlack = time.Millisecond

// mistakeOfReaders makes the mistakes with readers before op is sent.
func (l *link) mistakeOfReaders(op backend.Op) backend.Op {
	ctx := context.Background()
	key := op.Key
	if op.Kind == backend.OpEval {
		key = op.Keys[0]
	}
	e, _ := l.mem.Inspect(ctx, key)
	read := e.Value == proto.SharedValue
	shared := op.Script == lua.ReleaseShared || op.Script == lua.RollbackShared
	switch l.p.rush.bug {
	case readersSilent: // it is released in a queue that nobody is in
		if shared {
			op.Keys = []string{key, key + "nobody", op.Keys[2]}
		}
	case writersIgnored:
		if read && (op.Kind == backend.OpSetNX || op.Script == lua.Acquire) {
			l.mem.Set(key, "", time.Millisecond)
			_, _ = l.mem.EvalDelete(ctx, key, "")
		}
	case barges:
		if op.Script == lua.AcquireShared && e.Found && !read {
			l.mem.Set(key, proto.SharedValue, l.p.rush.ttl)
		}
	case countsTwice:
		if op.Script == lua.AcquireShared && e.Found {
			_, _ = l.mem.Eval(ctx, op.Script, op.Keys, []string{op.Args[0] + "again", op.Args[1]})
		}
	case soleReader:
		if op.Script == lua.AcquireShared {
			l.hidden(func(queue string) { _, _ = l.mem.Eval(ctx, op.Script, []string{key, queue, op.Keys[2]}, op.Args) }, op)
		}
	case freesAll:
		if shared && read {
			_, _ = l.mem.EvalDelete(ctx, key, proto.SharedValue)
		}
	}
	return l.mistakeOfKeeping(op, e, func(op backend.Op) {
		_, _ = l.mem.Eval(ctx, lua.AcquireShared, op.Keys, []string{op.Args[0], op.Args[1], "", "", "", "1"})
	})
}

// hidden makes the call with an empty queue first, if the lock is free or reserved.
func (l *link) hidden(call func(queue string), op backend.Op) {
	e, _ := l.mem.Inspect(context.Background(), op.Keys[0])
	if e.Value != proto.SharedValue {
		call(op.Keys[1] + "nobody")
	}
}

// readersOn returns the tokens that read key on node i, and the value of the lock.
func (s *rush) readersOn(i int, key string) (value string, readers []string) {
	e, _ := s.nodes[i].Inspect(context.Background(), key)
	if e.Value != proto.SharedValue {
		return e.Value, nil
	}
	name, _ := proto.ReadersKey(key)
	r, _ := s.nodes[i].Eval(context.Background(), lua.Inspect, []string{key, name}, []string{"1000"})
	for n := 4; n+1 < len(r); n += 2 {
		if ms, _ := r.Int(n + 1); ms < 0 { // its share has not ended
			token, _ := r.Text(n)
			readers = append(readers, token)
		}
	}
	return e.Value, readers
}

// ownedOrRead reports whether somebody, a reader perhaps, has a quorum of nodes.
func (s *rush) ownedOrRead(key string) bool {
	count := map[string]int{}
	for i := range s.nodes {
		value, readers := s.readersOn(i, key)
		if _, reserved := proto.Reserved(value); !reserved && value != "" {
			readers = []string{value}
		}
		for _, token := range readers {
			if count[token]++; count[token] >= s.need {
				return true
			}
		}
	}
	return false
}

// idleReader reports whether a reader waits although nobody else wants the lock or has it:
// every live waiter and every holder reads, and some holder does.
func (s *rush) idleReader(key *contested) bool {
	now, waits := time.Now(), false
	for _, w := range key.waits {
		switch {
		case !w.over.IsZero():
		case !w.shared:
			return false
		default:
			waits = true
		}
	}
	reads := false
	for _, h := range key.holds {
		if h.valid(now) && !h.shared {
			return false
		}
		reads = reads || h.valid(now)
	}
	return waits && reads
}

// diedReading reports whether somebody has died whose share may have lasted until from. Of
// several readers, waiters know only when the last share ends. If that one is released, and
// the others are those of dead readers, waiters ask later than they could: when they look.
func (s *rush) diedReading(key *contested, from time.Time) bool {
	since := from.Add(-s.ttl - oddGap)
	return slices.ContainsFunc(key.holds, func(h *hold) bool {
		return h.shared && !h.released && h.until.After(since) && h.until.Before(from.Add(oddGap))
	}) || slices.ContainsFunc(s.events, func(e rushEvent) bool {
		return e.what == "a process that dies" && e.at.After(since) && e.at.Before(from)
	})
}

// downgrade makes a reader of a holder.
func (s *rush) downgrade(h *hold, a Held) {
	s.mu.Lock()
	if !h.valid(time.Now()) {
		s.mu.Unlock()
		return
	}
	h.shared, h.lowered = true, time.Now()
	s.stats.downgraded++
	s.mu.Unlock()
	s.extend(h, a, a.Downgrade)
}

// simulateReaders is simulateRush for keys that some only read.
func simulateReaders(t *testing.T, seed uint64, b rushBug, calm, restarts bool) *rush {
	t.Helper()
	s := &rush{bug: b, calm: calm || restarts, restarts: restarts, reads: []int{20, 50, 80}[seed%3], reasons: map[string]int{}}
	s.bubble(t, seed)
	return s
}

// The schedules of TestWaitingSchedules, with readers: nobody holds the lock beside a writer,
// no lock stays free while somebody waits, and no reader waits while all others only read.
func TestSharedSchedules(t *testing.T) {
	n := (*schedules*3 + 19) / 20
	if testing.Short() {
		n = min(n, 10)
	}
	total, calm := rushes(t, n, func(seed uint64) *rush { return simulateReaders(t, seed, noRushBug, false, seed/3%3 == 0) })
	if n < 100 {
		return
	}
	if problem := gapsOf(calm, 100); problem != "" {
		t.Error(problem)
	}
	for what, count := range map[string]int{
		"read": total.read / 5, "together": total.together, "downgraded": total.downgraded,
		"extended": total.extended / 5, "lost by a node": total.sharesLost, "given back": total.rejoined,
	} {
		if count < n/10 {
			t.Errorf("%s: too rarely, %d, in %d schedules", what, count, n)
		}
	}
}

// The schedules notice mistakes with readers.
func TestSharedSchedulesNoticeBugs(t *testing.T) {
	rushesNotice(t, 1000, 100, func(t *testing.T, seed uint64, b rushBug) *rush {
		return simulateReaders(t, seed, b, b != countsTwice, false)
	}, readersSilent, writersIgnored, barges, countsTwice, soleReader, freesAll)
}
