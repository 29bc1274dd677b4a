package attempt

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/faulty"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/backend/memory"
	"github.com/quorumlock/quorumlock/internal/round"
	"github.com/quorumlock/quorumlock/internal/sender"
)

var (
	noEval    = faulty.Refuse(backend.MarkReply(errors.New("ERR unknown command 'EVAL', with args beginning with: 'x'")))
	scripting = func(op backend.Op) bool { return op.Kind != backend.OpSetNX }
	evaluates = faulty.Kind(backend.OpEval)
)

// unproven has the nodes of p have run no script yet.
func (p *process) unproven() *process {
	for _, m := range p.Members {
		m.Releases.Store(false)
	}
	return p
}

func (p *process) acquireOne(key string) (*Attempt, round.Result) {
	return p.acquire(context.Background(), nil, key, p.w.token(), ttl, timeout)
}

// A node that runs no scripts could not release a lock, so it grants none, and says why.
// Once it runs them, the first acquire is a script, and the next ones are plain commands.
func TestNodeWithoutScriptsGrantsNothing(t *testing.T) {
	for _, m := range []nodeMake{full, scripted} {
		t.Run(string(m), func(t *testing.T) {
			inWorldOf(t, 3, m, func(t *testing.T, w *world) {
				p := w.process(m).unproven()
				p.set(faulty.On(scripting, noEval))
				_, res := p.acquireOne("k")
				expect(t, res, "acquire", round.Unavailable, 0)
				if !res.Permanent(2) {
					t.Error("it is worth trying again")
				}
				said := 0
				for _, v := range res.Votes {
					if v.Err != nil && strings.Contains(v.Err.Error(), "EVALSHA") {
						said++
					}
				}
				if said < 2 {
					t.Errorf("%v: does not say what to allow", res)
				}
				synctest.Wait()
				w.empty()
				p.set()
				p.forget()
				p.acquireAndRelease(t)
				p.wantArrived(t, "the first time", "acquire", "delete")
				p.acquireAndRelease(t)
				p.wantArrived(t, "the second time", "set", "delete")
			})
		})
	}
}

func (p *process) acquireAndRelease(t *testing.T) {
	t.Helper()
	a := p.mustAcquire("k")
	synctest.Wait()
	expect(t, a.release(), "release", round.Won, 0)
	synctest.Wait()
}

// wantArrived compares what arrived at each node, and forgets it.
func (p *process) wantArrived(t *testing.T, what string, want ...string) {
	t.Helper()
	synctest.Wait()
	for i := range p.fault {
		if got := p.arrived(i); !slices.Equal(got, want) {
			t.Errorf("%s: node %d got %q, want %q", what, i, got, want)
		}
	}
	p.forget()
}

// A node that refuses the script which acquires, and not the one which deletes, grants.
// What shows that must not name the token, because it may arrive when the lock is held.
func TestDeletionProvesThatANodeReleases(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full).unproven()
		p.set(faulty.On(evaluates, denied))
		a := p.mustAcquire("k")
		p.wantSaid(t, "the first time, after the acquire that was refused", 0, "delete "+noToken, "set t1")
		expect(t, a.release(), "release", round.Won, 0)
		p.said(0)
		a = p.mustAcquire("k")
		p.wantSaid(t, "the second time", 0, "set t2")
		a.release()
	})
}

// Rules of access change. When a node has refused to delete, it grants nothing until it
// runs scripts again. One lock has shown it, and expires.
func TestNodeThatStopsRunningScripts(t *testing.T) {
	inWorld(t, 1, func(t *testing.T, w *world) {
		p := w.process(w.make)
		a := p.mustAcquire("shows it")
		p.set(faulty.On(scripting, noEval))
		expect(t, a.release(), "release", round.Unavailable, 0)
		for i := range 3 {
			_, res := p.acquireOne(fmt.Sprint("k", i))
			expect(t, res, "acquire", round.Unavailable, 0)
			if err := res.Votes[0].Err; err == nil || !strings.Contains(err.Error(), "EVALSHA") {
				t.Errorf("the error is %v", err)
			}
		}
		synctest.Wait()
		if keys := w.mem[0].Keys(); !slices.Equal(keys, []string{"shows it"}) {
			t.Errorf("the node has %q", keys)
		}
		p.set()
		p.acquireAndRelease(t)
		p.forget()
		p.acquireAndRelease(t)
		if got := p.arrived(0); got[0] != "set" {
			t.Errorf("the node got %q", got)
		}
	})
}

// A node has refused to delete a key. From then on it must show that it deletes before it grants
// anything, in whichever way the lock is acquired. Once it has shown it, it grants as before.
func TestNodeThatKeepsWhatItGrants(t *testing.T) {
	deletes := func(op backend.Op) bool {
		return op.Kind == backend.OpEvalDelete || op.Kind == backend.OpEval && op.Script == lua.Release
	}
	for name, acquire := range map[string]func(p *process, key string) (*Attempt, round.Result){
		"plain":      (*process).acquireOne,
		"fencing":    (*process).fenced,
		"quarantine": (*process).plain,
	} {
		t.Run(name, func(t *testing.T) {
			inFencingWorld(t, 1, func(t *testing.T, w *world, p *process) {
				if name == "quarantine" {
					p.Config.Quarantine, p.Config.Marker = quarantine, "marker"
					p.mustMark()
				}
				shows, res := acquire(p, "shows it")
				expect(t, res, "acquire", round.Won, 0)
				p.set(faulty.On(deletes, denied))
				expect(t, shows.release(), "release", round.Unavailable, 0)
				for i := range 3 {
					_, res := acquire(p, fmt.Sprint("k", i))
					expect(t, res, "acquire", round.Unavailable, 0)
					if err := res.Votes[0].Err; !res.Permanent(1) || !strings.Contains(fmt.Sprint(err), "DEL") {
						t.Errorf("the error is %v, want a refusal that names DEL", err)
					}
				}
				if keys := w.mem[0].Keys(); slices.Contains(keys, "k0") {
					t.Errorf("the node has %q", keys)
				}

				p.set()
				_, res = acquire(p, "next")
				expect(t, res, "acquire", round.Won, 0)
				p.forget()
				_, res = acquire(p, "last") // also if nothing was released meanwhile
				expect(t, res, "acquire", round.Won, 0)
				if got := p.arrived(0); len(got) != 1 {
					t.Errorf("after the node has shown that it deletes, it got %q, want the acquire alone", got)
				}
			})
		})
	}
}

// A node of several parts that keeps what it grants does so in all of them.
func TestAllPartsKeepWhatTheyGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := halves{FaultNode: faulty.NewFaultNode(memory.New())}
		g, err := NewNodes([]backend.Node{node}, Config{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		w := &world{t: t, group: g.proven()}
		a, res := w.acquire("here")
		expect(t, res, "acquire", round.Won, 0)
		node.Set(faulty.On(scripting, denied))
		expect(t, a.release(), "release", round.Unavailable, 0)
		for _, key := range []string{"here too", "there"} {
			_, res := w.acquire(key)
			expect(t, res, "acquire", round.Unavailable, 0)
		}
		node.Set()
		time.Sleep(time.Minute) // until the release has been repeated
	})
}

// The connection breaks while a node shows that it deletes. The acquire was not sent yet, so the
// answer to the repetition is about the deletion alone.
func TestProofOverABrokenConnection(t *testing.T) {
	broken := errors.New("EOF")
	for name, lose := range map[string]faulty.Fault{"request": faulty.LoseRequest(broken), "reply": faulty.LoseReply(broken)} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, 1, full, func(t *testing.T, w *world) {
				p := w.process(full)
				a := p.mustAcquire("shows it")
				p.set(faulty.On(scripting, denied))
				expect(t, a.release(), "release", round.Unavailable, 0)
				p.set(faulty.First(1, faulty.On(faulty.Kind(backend.OpEvalDelete), lose)))
				_, res := p.acquireOne("free")
				expect(t, res, "acquire", round.Won, 0)
			})
		})
	}
}

// A script that finds the lock taken does not show that the node can release. So the next acquire
// is a script too.
func TestTakenLockProvesNothing(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		w.process(full).mustAcquire("taken")
		p := w.process(full).unproven()
		_, res := p.acquireOne("taken")
		expect(t, res, "acquire", round.Lost, 0)
		synctest.Wait()
		p.forget()
		p.mustAcquire("free")
		p.wantArrived(t, "after a lock that was taken", "acquire")
		p.mustAcquire("another")
		p.wantArrived(t, "after a grant", "set")
	})
}

// A wrong password says nothing about scripts: there is nothing to be tried in another way.
func TestWrongPasswordIsNoProof(t *testing.T) {
	inWorldOf(t, 1, full, func(t *testing.T, w *world) {
		p := w.process(full).unproven()
		p.set(faulty.Refuse(backend.MarkReply(errors.New("WRONGPASS invalid username-password pair"))))
		_, res := p.acquireOne("k")
		expect(t, res, "acquire", round.Unavailable, 0)
		if err := fmt.Sprint(res.Votes[0].Err); strings.Contains(err, "EVAL") {
			t.Errorf("the error is %s", err)
		}
		if n := len(p.fault[0].Calls()); n != 1 {
			t.Errorf("%d calls, want one", n)
		}
	})
}

// A node that has refused a deletion does not answer when it has to show that it deletes. Nothing
// that could set the token was sent, so nothing has to be deleted, and Close waits for nothing.
func TestProofWithoutAnAnswerLeavesNothing(t *testing.T) {
	for name, fault := range map[string]faulty.Fault{"time-out": faulty.Hang(), "break": faulty.LoseReply(errors.New("EOF"))} {
		t.Run(name, func(t *testing.T) {
			inWorldOf(t, 1, full, func(t *testing.T, w *world) {
				p := w.process(full)
				a := p.mustAcquire("shows it")
				p.set(faulty.On(scripting, denied))
				expect(t, a.release(), "release", round.Unavailable, 0)
				time.Sleep(2 * ttl) // until its deletion is repeated no more
				p.set(faulty.On(faulty.Kind(backend.OpEvalDelete), fault))
				if _, res := p.acquireOne("k"); res.Verdict != round.Unavailable {
					t.Errorf("acquire: %v, want unavailable", res)
				}
				time.Sleep(sender.CallTimeout)
				synctest.Wait()
				if n := p.Cleanups(); n != 0 {
					t.Errorf("%d cleanups are under way", n)
				}
			})
		})
	}
}
