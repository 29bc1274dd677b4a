package sender

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
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

// Random deletions of a few or of many keys: an acquire is parked exactly while a deletion of
// its key is under way or may be sent again, and finds exactly those that wait.
func TestDeletionsByKey(t *testing.T) {
	for _, keys := range []int{1, 20, spareBuckets} {
		t.Run(fmt.Sprint(keys), func(t *testing.T) {
			type counts struct {
				at              [flying + 1]int // deletions, by stage
				settles, parked int
			}
			var (
				d        deletions
				items    [flying + 1][]*Item
				failed   []*parking
				unparked list
				parks    int
				most     int // buckets
				byKey    = map[string]*counts{}
			)
			of := func(key string) *counts {
				if byKey[key] == nil {
					byKey[key] = new(counts)
				}
				return byKey[key]
			}
			enter := func(key string, st stage) *Item {
				it := &Item{Key: key, Class: Deleting}
				items[st] = append(items[st], it)
				of(key).at[st]++
				return it
			}
			move := func(from, to stage) *Item {
				list := items[from]
				i, last := rand.IntN(len(list)), len(list)-1
				it := list[i]
				list[i], items[from] = list[last], list[:last]
				of(it.Key).at[from]--
				if to != outside {
					items[to] = append(items[to], it)
					of(it.Key).at[to]++
				}
				return it
			}
			for left := 8*keys + 1000; left > 0 || d.n > 0 || len(failed) > 0; left-- {
				key, step := fmt.Sprint("key", rand.IntN(keys)), rand.IntN(8)
				if left > 0 && rand.IntN(2) == 0 {
					step = 0 // more wait than are sent, so that there are many
				}
				switch {
				case step == 0 && left > 0:
					d.wait(enter(key, waiting))
				case step == 1 && left > 0:
					d.fly(enter(key, flying))
				case step == 2 && len(items[waiting]) > 0:
					it := move(waiting, taken)
					d.take(it)
					key = it.Key
				case step == 3 && len(items[taken]) > 0:
					it := move(taken, flying)
					d.fly(it)
					key = it.Key
				case step == 4 && len(items[taken]) > 0:
					it := move(taken, outside)
					d.leave(it)
					key = it.Key
				case step == 5 && len(items[flying]) > 0:
					it := move(flying, outside)
					d.land(it, &unparked)
					key = it.Key
				case step == 6 && len(items[flying]) > 0:
					it := move(flying, outside)
					failed = append(failed, d.fail(it))
					key = it.Key
					of(key).settles++
				case step == 7 && len(failed) > 0:
					p := failed[0]
					failed, key = failed[1:], p.key
					d.settle(p, &unparked)
					of(key).settles--
				}
				most = max(most, len(d.buckets))
				c := of(key)
				blocked := c.at[flying]+c.settles > 0
				if got := d.blocks(key); got != blocked {
					t.Fatalf("%d deletions of a key are under way and %d have failed, but whether acquires are parked is %v", c.at[flying], c.settles, got)
				}
				found := 0
				for it := d.find(key, waiting); it != nil; it = it.sibling.find(key, waiting) {
					found++
				}
				if found != c.at[waiting] {
					t.Fatalf("found %d deletions of a key that wait, want %d", found, c.at[waiting])
				}
				for unparked.n > 0 {
					if it := unparked.pop(); it.Key != key || blocked {
						t.Fatalf("an acquire of %s came back because of %s, where acquires are parked: %v", it.Key, key, blocked)
					}
					c.parked--
				}
				if !blocked && c.parked != 0 {
					t.Fatalf("%d acquires are parked for nothing", c.parked)
				}
				if blocked && rand.IntN(2) == 0 {
					d.park(&Item{Key: key, Class: Acquiring})
					c.parked++
					parks++
				}
			}
			t.Logf("%d acquires were parked; there were up to %d buckets", parks, most)
			if parks == 0 || keys == spareBuckets && most <= spareBuckets {
				t.Errorf("%d acquires were parked, and there were up to %d buckets: the test shows nothing", parks, most)
			}
			if d.parks != 0 || len(d.parkings) != 0 || len(d.buckets) > spareBuckets {
				t.Errorf("in the end %d acquires are parked, for %d keys, and there are %d buckets", d.parks, len(d.parkings), len(d.buckets))
			}
		})
	}
}

// While a node does not answer, very many deletions may wait. Each takes its item, which its
// owner has had before, and little more.
func TestWaitingDeletionAllocatesLittle(t *testing.T) {
	const n, most = 20_000, 40 // bytes
	synctest.Test(t, func(t *testing.T) {
		node := &server{keys: map[string]string{}, state: hung}
		s := New(NewShared(3), node)
		now := time.Now()
		owners := make([]ticket, n)
		for i := range owners {
			key := fmt.Sprint("key ", i)
			owners[i] = ticket{sender: s, Item: Item{
				Op: backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: "t"}, Key: key, Class: Deleting,
				Expires: mono.Of(now).Add(time.Hour), Wait: patience, Owner: &owners[i],
			}}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for i := range owners {
			if err := s.Submit(&owners[i].Item, now); err != nil {
				t.Fatal(err)
			}
		}
		runtime.ReadMemStats(&after)
		if l := s.Load(); l.Deleting != n {
			t.Errorf("the sender has %+v, want %d deletions", l, n)
		}
		each := float64(after.TotalAlloc-before.TotalAlloc) / n
		t.Logf("%.0f bytes each", each)
		if each > most {
			t.Errorf("a waiting deletion has allocated %.0f bytes, want at most %d", each, most)
		}
		node.set(up)
		time.Sleep(time.Minute)
		if l := s.Load(); l != (Load{}) {
			t.Errorf("in the end: %+v", l)
		}
	})
}

// An acquire takes along all deletions of its key that wait, in front of it, and no others, even if
// no more deletions may be under way.
func TestAcquireTakesDeletionsAlong(t *testing.T) {
	s, now := New(NewShared(1), &server{}), time.Now()
	s.flyingDeletes = batchSize // so patience is used up
	item := func(key string, class Class) *Item {
		return &Item{Key: key, Class: class, Owner: new(persistent), Expires: mono.Of(now).Add(time.Hour)}
	}
	var want []*Item
	for range 3 {
		mine := item("k", Deleting)
		s.put(mine)
		s.put(item("another", Deleting))
		want = append(want, mine)
	}
	acquire := item("k", Acquiring)
	s.put(acquire)
	r := new(room)
	s.take(r, now)
	if n := len(r.batch); n != 4 || r.batch[3] != acquire {
		t.Fatalf("the call has %d operations, want three deletions and then the acquire", n)
	}
	for _, it := range want {
		if !slices.Contains(r.batch[:3], it) {
			t.Error("a deletion of the key is not in front of the acquire")
		}
	}
}
