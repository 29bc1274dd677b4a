package sender

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/mono"
)

// A plainServer cannot batch. It notes what it executed. A deletion takes 10 ms, and the
// answer of the first is lost.
type plainServer struct {
	mu       sync.Mutex
	executed []string
	lost     bool
}

func (s *plainServer) note(op string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.executed = append(s.executed, op)
}

func (s *plainServer) SetNX(_ context.Context, key, token string, _ time.Duration) (bool, error) {
	s.note("set " + token)
	return true, nil
}

func (s *plainServer) EvalDelete(_ context.Context, key, token string) (bool, error) {
	time.Sleep(10 * time.Millisecond)
	s.note("delete " + token)
	if s.lost {
		return true, nil
	}
	s.lost = true
	return false, errors.New("broken connection")
}

func (s *plainServer) Extend(context.Context, string, string, time.Duration) (bool, error) {
	return true, nil
}

// A persistent owner has its deletion sent again if that fails, and is slow to do so.
type persistent struct {
	Item
	sender *Sender
}

func (p *persistent) Unwanted() error { return nil }
func (p *persistent) Leave()          {}

func (p *persistent) Complete(r backend.Result, _ bool, now time.Time) {
	if r.Err != nil {
		time.Sleep(time.Millisecond) // others run meanwhile
		if err := p.sender.Submit(&p.Item, now); err != nil {
			panic(err)
		}
	}
}

// A deletion that failed and is sent again at once comes before the acquires of its key
// that waited for it, also if its owner is slower than other goroutines of the sender, and
// whether the sender makes the call or the owner does.
func TestDeletionSentAgainComesFirst(t *testing.T) {
	for _, inline := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			node := &plainServer{}
			s := New(NewShared(1), node)
			do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "old", TTL: time.Second})
			synctest.Wait()
			now := time.Now()
			owner := &persistent{sender: s}
			owner.Item = Item{
				Op: backend.Op{Kind: backend.OpEvalDelete, Key: "k", Token: "old"}, Key: "k", Class: Deleting,
				Expires: mono.Of(now).Add(time.Second), Wait: patience, Owner: owner,
			}
			if inline {
				if !s.Claim(1, now) {
					t.Fatal("an idle sender did not let its caller make the call")
				}
				go s.Make(t.Context(), []*Item{&owner.Item}, now)
			} else if err := s.Submit(&owner.Item, now); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			if ok, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "k", Token: "new", TTL: time.Second}); !ok {
				t.Errorf("inline %v: the acquire failed: %v", inline, err)
			}
			time.Sleep(100 * time.Millisecond)
			synctest.Wait()
			if want := []string{"set old", "delete old", "delete old", "set new"}; !slices.Equal(node.executed, want) {
				t.Errorf("inline %v: the node executed %q, want %q", inline, node.executed, want)
			}
			if l := s.Load(); l != (Load{}) {
				t.Errorf("inline %v: the sender still has work: %+v", inline, l)
			}
		})
	}
}

// While one call is late, because it makes a connection for instance, a group's only
// node is still sent acquires; one of several is not, as the others decide without it.
func TestLateCall(t *testing.T) {
	for _, nodes := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			server := &server{keys: map[string]string{}, state: hung}
			s := New(NewShared(nodes), server)
			first := submit(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "first", Token: "t"}, nil)
			time.Sleep(2 * time.Millisecond)
			server.set(up)
			time.Sleep(patience)
			took := time.Now()
			ok, err := do(s, Acquiring, backend.Op{Kind: backend.OpSetNX, Key: "second", Token: "t"})
			switch {
			case nodes == 1 && (!ok || time.Since(took) > 2*stagger):
				t.Errorf("one node: the second acquire was answered with %v, %v after %v, want at once", ok, err, time.Since(took))
			case nodes > 1 && !errors.Is(err, errHung):
				t.Errorf("%d nodes: the second acquire was answered with %v, %v, want %v", nodes, ok, err, errHung)
			}
			<-first.done
		})
	}
}
