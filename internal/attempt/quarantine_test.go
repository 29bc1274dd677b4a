package attempt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/adapterkit"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
	"github.com/quorumlock/quorumlock/internal/testnodes"
)

const quarantine = ttl + time.Second

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
func (p *process) plain(key string) (*Attempt, round.Result) {
	return p.acquire(context.Background(), nil, key, p.w.token(), ttl, timeout)
}

// A node that was started again, or has lost all, does not vote until the quarantine has
// ended; it does no harm to the rest.
func TestQuarantine(t *testing.T) {
	for what, loses := range map[string]func(w *world, i int){
		"started again":     func(w *world, i int) { w.mem[i].Restart() },
		"emptied":           func(w *world, i int) { w.mem[i].Flush() },
		"started empty":     func(w *world, i int) { w.mem[i].Flush(); w.mem[i].Restart() },
		"marker is another": func(w *world, i int) { w.mem[i].Set("marker", "x", time.Minute) },
	} {
		t.Run(what, func(t *testing.T) {
			inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
				for name, acquire := range map[string]func(key string) (*Attempt, round.Result){"plain": p.plain, "fenced": p.fenced} {
					loses(w, 0)
					a, res := acquire("k")
					expect(t, res, name+": one node", round.Won, 0)
					synctest.Wait()
					if v := w.value(0, "k"); v != "" {
						t.Errorf("%s: the node in quarantine holds %q", name, v)
					}
					expect(t, a.release(), name+": release", round.Won, 0)
					loses(w, 1)
					_, res = acquire("k")
					if res.Verdict != round.Unavailable || res.Permanent(p.Need()) {
						t.Errorf("%s: two nodes: %v, permanent %v, want it unavailable for a time", name, res, res.Permanent(p.Need()))
					}
					for i, v := range res.Votes[:2] {
						if v.Outcome != round.Quarantined || !errors.Is(v.Err, backend.ErrQuarantined) || !strings.Contains(v.Err.Error(), " ms: ") {
							t.Errorf("%s: node %d: %s, %v", name, i, v.Outcome, v.Err)
						}
					}
					synctest.Wait()
					time.Sleep(quarantine - time.Millisecond)
					if _, res := acquire("k"); res.Verdict != round.Unavailable {
						t.Errorf("%s: at the end of the quarantine: %v", name, res)
					}
					time.Sleep(time.Millisecond)
					a, res = acquire("k")
					expect(t, res, name+": after it", round.Won, 0)
					a.release()
					synctest.Wait()
				}
			})
		})
	}
}

// What a node had is extended and released there, whatever has happened to it.
func TestQuarantineKeeps(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		a, res := p.plain("k")
		expect(t, res, "acquire", round.Won, 0)
		fenced := p.mustFence("f")
		synctest.Wait()
		for _, mem := range w.mem {
			mem.Restart()
		}
		for _, a := range []*Attempt{a, fenced} {
			expect(t, a.extend(), "extend", round.Won, 0)
			expect(t, a.release(), "release", round.Won, 0)
		}
		if _, res := p.plain("k"); res.Verdict != round.Unavailable {
			t.Errorf("acquire: %v", res)
		}
	})
}

// Votes are not raised by a node that was started again since it cast them: who else
// voted with those that it has lost, it does not know.
func TestQuarantineRaise(t *testing.T) {
	inQuarantineWorld(t, 3, func(t *testing.T, w *world, p *process) {
		high := beyondHints()
		w.count("k", high, high+1000, high+2000)
		p.set(faulty.On(raises, func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
			for _, mem := range w.mem {
				mem.Restart()
			}
			return next(ctx, ops)
		}))
		a, res := p.fenced("k")
		if res.Verdict == round.Won || a.Fence() != 0 || !slices.ContainsFunc(res.Votes, func(v round.Vote) bool { return v.Outcome == round.Quarantined }) {
			t.Errorf("%v, with the token %d, want it to fail because of the quarantine", res, a.Fence())
		}
		synctest.Wait()
		for i := range w.mem {
			if v := w.value(i, "k"); v != "" {
				t.Errorf("%q is left on node %d", v, i)
			}
		}
	})
}

// An acquire that is sent again, to a node that was started again meanwhile, may have
// been granted before: it is taken back.
func TestQuarantineSentAgain(t *testing.T) {
	inQuarantineWorld(t, 1, func(t *testing.T, w *world, p *process) {
		for name, acquire := range map[string]func(key string) (*Attempt, round.Result){"plain": p.plain, "fenced": p.fenced} {
			p.mustMark()
			p.set(faulty.First(1, faulty.Chain(faulty.LoseReply(io.ErrUnexpectedEOF), func(ctx context.Context, ops []backend.Op, next faulty.Send) []backend.Result {
				defer w.mem[0].Restart()
				return next(ctx, ops)
			})))
			if _, res := acquire("k"); res.Verdict != round.Unavailable || res.Votes[0].Outcome != round.Quarantined {
				t.Errorf("%s: %v", name, res)
			}
			if got := p.arrived(0); len(got) < 2 || got[0] != got[1] {
				t.Errorf("%s: the node got %q, want the acquire twice", name, got)
			}
			synctest.Wait()
			if v := w.value(0, "k"); v != "" {
				t.Errorf("%s: %q is left", name, v)
			}
		}
	})
}

// A cluster is a node whose parts are several servers.
type cluster struct{ *faulty.FaultNode }

func (cluster) Partition(key string) (part, parts int) { return adapterkit.ClusterPartition(key) }

// What cannot be in quarantine is refused, with the reason.
func TestCanQuarantine(t *testing.T) {
	inWorldOf(t, 3, bare, func(t *testing.T, w *world) {
		if err := w.process(full).CanQuarantine(); err != nil {
			t.Error(err)
		}
		if err := w.process(bare).CanQuarantine(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "node 0 does not run scripts") {
			t.Errorf("bare nodes: %v", err)
		}
		g, err := NewNodes([]backend.Node{w.fault[0], cluster{w.fault[1]}}, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := g.CanQuarantine(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "n1 is a cluster") {
			t.Errorf("a cluster: %v", err)
		}
	})
}

// Mark tells every node that can be told, also by a connection that was broken, and says
// of which it could not.
func TestMark(t *testing.T) {
	inQuarantineWorld(t, 5, func(t *testing.T, w *world, p *process) {
		for _, mem := range w.mem {
			mem.Restart()
		}
		p.fault[0].Set(dead)
		p.fault[1].Set(faulty.First(1, broken))
		p.fault[2].Set(faulty.Hang())
		p.fault[3].Set(faulty.First(1, faulty.LoseReply(io.EOF)))
		start := time.Now()
		votes := p.Mark(context.Background())
		if took := time.Since(start); took != sender.CallTimeout {
			t.Errorf("it took %v, want %v", took, sender.CallTimeout)
		}
		for i, want := range []round.Outcome{round.Failed, round.Granted, round.TimedOut, round.Granted, round.Granted} {
			if v := votes[i]; v.Outcome != want || (v.Err == nil) != (want == round.Granted) {
				t.Errorf("node %d: %+v, want %v", i, v, want)
			}
		}
		if votes[2].Latency != sender.CallTimeout {
			t.Errorf("the node that hangs took %v, want %v", votes[2].Latency, sender.CallTimeout)
		}
		p.set()
		a, res := p.plain("k")
		synctest.Wait()
		if res.Verdict != round.Won || w.holders("k", a.token) != 3 {
			t.Errorf("%v, and %d nodes hold it, want three", res, w.holders("k", a.token))
		}
		a.release()
	})
}

// A quarantine counts by the node's clock: one that jumps ahead ends it early, and one
// that is set back begins it anew.
func TestQuarantineClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := new(testnodes.SafeOffset)
		node := memory.New(memory.WithClock(clock.Now))
		g, err := NewNodes([]backend.Node{node}, Config{Quarantine: quarantine, Marker: "marker"}, nil)
		if err != nil {
			t.Fatal(err)
		}
		tokens := 0
		votes := func(when string, want bool) {
			t.Helper()
			tokens++
			a, res := g.acquire(context.Background(), nil, "k", fmt.Sprint("t", tokens), ttl, timeout)
			if got := res.Verdict == round.Won; got != want {
				t.Errorf("%s: %v", when, res)
			}
			if res.Verdict == round.Won {
				a.release()
			}
		}
		votes("new", false)
		time.Sleep(quarantine / 2)
		votes("in the middle", false)
		clock.Set(quarantine / 2)
		votes("when the clock has jumped to the end", true)
		node.Restart()
		votes("started again", false)
		time.Sleep(quarantine / 2)
		clock.Set(-time.Hour)
		votes("set back", false)
		time.Sleep(quarantine - time.Millisecond)
		votes("after the time that was left", false)
		time.Sleep(time.Millisecond)
		votes("after all of it", true)
	})
}
