package quorum

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/internal/attempt"
	"github.com/quorumlock/quorumlock/internal/proto"
	"github.com/quorumlock/quorumlock/internal/round"
)

const quarantine = ttl + time.Second

// Every acquire is a script that has the node look, fenced or not, in a queue or not;
// what the node has is extended and released as ever.
func TestQuarantineOperations(t *testing.T) {
	for _, n := range []int{1, 3} {
		inQuarantineWorld(t, n, func(t *testing.T, w *world, p *process) {
			for _, key := range []string{"k", "a}b"} { // the second has no queue
				a, res := p.plain(key)
				if res.Verdict != round.Won {
					t.Fatalf("%s: %v", key, res)
				}
				synctest.Wait()
				expect(t, extend(a), "extend", round.Won, 0)
				expect(t, release(a), "release", round.Won, 0)
				synctest.Wait()
				for i := range w.mem {
					if got := p.arrived(i); !slices.Equal(got, []string{"acquire", "extend", "delete"}) {
						t.Errorf("%s: node %d got %q", key, i, got)
					}
				}
				p.forget()
			}
			a := p.mustFence("k")
			synctest.Wait()
			expect(t, extend(a), "extend", round.Won, 0)
			held := a
			waiter := p.mustJoin("k")
			p.lose(waiter)
			expect(t, release(held), "release", round.Won, 0)
			a = p.win(waiter)
			release(a)
			synctest.Wait()
			for i, f := range p.fault {
				for _, op := range f.Arrived() {
					looks := len(op.Keys) > 0 && op.Keys[len(op.Keys)-1] == "marker"
					if votes := op.Script == lua.Acquire || op.Script == lua.Vote; looks != votes || op.Kind == backend.OpSetNX {
						t.Errorf("node %d got %s %q %q", i, word(op), op.Keys, op.Args)
					}
				}
			}
		})
	}
}

// What a node refuses is not asked in a way in which it would not look: neither plainly,
// nor without the marker. Only the queue can be done without.
func TestQuarantineRefused(t *testing.T) {
	names := func(key string) faulty.Fault {
		return faulty.On(func(op backend.Op) bool { return slices.Contains(op.Keys, key) }, denied)
	}
	queue, _ := proto.QueueKey("k")
	for what, tc := range map[string]struct {
		fault faulty.Fault
		locks bool
	}{
		"the marker":     {names("marker"), false},
		"scripts":        {faulty.On(faulty.Kind(backend.OpEval), faulty.Refuse(errors.ErrUnsupported)), false},
		"of a cluster":   {faulty.On(func(op backend.Op) bool { return len(op.Keys) > 1 }, faulty.Refuse(backend.MarkReply(errors.New("CROSSSLOT Keys in request")))), false},
		"the queue only": {names(queue), true},
	} {
		t.Run(what, func(t *testing.T) {
			inWorldOf(t, 1, full, func(t *testing.T, w *world) {
				p, other := w.process(full), w.process(full)
				p.Config.Quarantine, p.Config.Marker = quarantine, "marker"
				p.mustMark()
				held := other.mustAcquire("k")
				waiter := p.mustJoin("k")
				p.lose(waiter) // so that its inbox is open
				release(held)
				time.Sleep(time.Second) // for which it was reserved
				p.set(tc.fault)
				a, res := p.try(waiter)
				if tc.locks != (res.Verdict == round.Won) || !tc.locks && !res.Permanent(p.Need()) {
					t.Errorf("a waiter's try: %v", res)
				}
				if tc.locks {
					release(a)
				}
				waiter.leave()
				if a, res = p.plain("k"); tc.locks != (res.Verdict == round.Won) || !tc.locks && !res.Permanent(p.Need()) {
					t.Errorf("a try: %v", res)
				}
				if tc.locks {
					release(a)
				}
				if err := res.Votes[0].Err; what == "of a cluster" && (err == nil || !strings.Contains(err.Error(), "a server of a cluster") || !errors.Is(err, backend.ErrRefused)) {
					t.Errorf("the error is %v", err)
				}
				synctest.Wait()
				if got := p.arrived(0); slices.Contains(got, "set") {
					t.Errorf("the node got %q", got)
				}
			})
		})
	}
}

// inQuarantineWorld runs f with a process on n nodes that have just been told that they
// are well.
func inQuarantineWorld(t *testing.T, n int, f func(t *testing.T, w *world, p *process)) {
	t.Helper()
	inFencingWorld(t, n, func(t *testing.T, w *world, p *process) {
		p.Config.Quarantine, p.Config.Marker = quarantine, "marker"
		p.mustMark()
		f(t, w, p)
	})
}

func (p *process) mustMark() {
	p.w.t.Helper()
	for i, v := range p.Mark(context.Background()) {
		if v.Outcome != round.Granted {
			p.w.t.Fatalf("node %d: %v", i, v)
		}
	}
	p.forget()
}

// plain makes one try for key.
func (p *process) plain(key string) (*attempt.Attempt, round.Result) {
	return p.acquire(context.Background(), nil, key, p.w.token(), ttl, timeout)
}
