package quorum

import (
	"context"
	"slices"
	"sync"
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

// Slots are tried in the order in which they were released, the last one first, and each
// once. Otherwise any may be tried.
func TestPick(t *testing.T) {
	s := NewSlots(8)
	key := func(i int) string { return proto.SlotKey("k{k}:permits", i) }
	seen := make(map[int]bool)
	for range 1000 {
		seen[s.pick()] = true
	}
	if len(seen) != 8 || seen[0] || seen[9] {
		t.Errorf("without knowledge these are tried: %v, want 1 to 8", seen)
	}
	for _, i := range []int{3, 5, 7, 5, 9} { // a larger n elsewhere has slot 9
		s.Released(key(i))
	}
	s.won(key(3))
	if got := []int{s.pick(), s.pick()}; !slices.Equal(got, []int{7, 5}) || len(s.released) > 0 {
		t.Errorf("after 3, 5 and 7 were released and 3 was won, %v are tried, and %v are left", got, s.released)
	}
	(*Slots)(nil).Released(key(1))
}

// offered returns a waiter that has these offers, by node and slot.
func (p *process) offered(slot int, offers ...offer) *waiter {
	p.w.t.Helper()
	name, _ := proto.PermitsKey("k")
	w := p.mustJoin(name)
	w.slots, w.slot = NewSlots(4), slot
	p.locals.mu.Lock()
	defer p.locals.mu.Unlock()
	for _, o := range offers {
		w.offer(o.node, o.slot)
	}
	return w
}

// A waiter tries the slot that most nodes offer, then the others, and the one that it has
// found only if none is offered.
func TestAim(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		for _, tc := range []struct {
			last, want, warned int
			offers             []offer
			aim                int
			left               []offer
		}{
			{0, 2, 3, []offer{{0, 4}}, 4, nil},
			{0, 2, 3, nil, 2, nil},
			{0, 0, 3, nil, 3, nil},
			{1, 2, 0, []offer{{0, 1}, {1, 4}, {2, 4}}, 4, []offer{{0, 1}}},
			{1, 2, 0, []offer{{0, 1}, {1, 1}, {2, 4}}, 1, []offer{{2, 4}}},
			{4, 0, 0, []offer{{0, 1}, {0, 4}, {1, 1}, {1, 1}}, 1, []offer{{0, 4}}},
			{0, 2, 3, []offer{{0, 0}, {1, proto.MostSlots}, {2, proto.MostSlots}}, 2, nil}, // there are no such slots
			{0, 0, 3, []offer{{0, proto.MostSlots}}, 3, nil},
		} {
			c := w.process(full).offered(tc.last, tc.offers...)
			c.want, c.warned = tc.want, tc.warned
			got := c.aim()
			for i, noticed := range c.notices {
				if noticed != slices.Contains(tc.offers, offer{i, tc.aim}) {
					t.Errorf("%+v: node %d is noticed: %v", tc, i, noticed)
				}
			}
			if got != tc.aim || !slices.Equal(c.offers, tc.left) || c.want != 0 || c.warned != 0 {
				t.Errorf("%+v: it tries %d, and keeps %v", tc, got, c.offers)
			}
			c.leave()
		}
	})
}

// A waiter keeps a limited number of offers, because anyone who can publish can send any.
func TestOffersAreLimited(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		c := w.process(full).offered(0)
		c.local.group.locals.mu.Lock()
		for slot := 1; slot <= proto.MostSlots; slot++ {
			c.offer(slot%3, slot)
		}
		c.local.group.locals.mu.Unlock()
		if len(c.offers) != maxOffers {
			t.Errorf("%d offers are kept, want %d", len(c.offers), maxOffers)
		}
		c.leave()
	})
}

// slotWaiter takes the first place in the line for n permits on k.
func (p *process) slotWaiter(n int) *waiter {
	p.w.t.Helper()
	name, _ := proto.PermitsKey("k")
	w := p.mustJoin(name)
	w.slots = NewSlots(n)
	return w
}

// offersOf returns the offers that w has for a slot.
func (w *waiter) offersOf(slot int) int {
	synctest.Wait()
	ls := &w.local.group.locals
	ls.mu.Lock()
	defer ls.mu.Unlock()
	n := 0
	for _, o := range w.allOffers() {
		if o.slot == slot {
			n++
		}
	}
	return n
}

// A caller that leaves hands its offers to the next one of its process. The last one
// passes them on to other processes.
func TestOffersArePassedOn(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		name, _ := proto.PermitsKey("k")
		p, other, holder := w.process(full), w.process(full), w.process(full)
		held := []*attempt.Attempt{holder.mustAcquire(proto.SlotKey(name, 1)), holder.mustAcquire(proto.SlotKey(name, 2))}
		first := p.slotWaiter(2)
		joined := make(chan *waiter)
		go func() { joined <- p.slotWaiter(2) }()
		synctest.Wait()
		p.lose(first)
		third := other.slotWaiter(2)
		other.lose(third)
		release(held[0])
		if n := first.offersOf(1); n != 3 {
			t.Fatalf("%d offers of the first slot, want one of each node", n)
		}
		release(held[1])
		if n := third.offersOf(2); n != 3 {
			t.Fatalf("%d offers of the second slot, want one of each node", n)
		}
		first.leave()
		second := <-joined
		if n := second.offersOf(1); n != 3 {
			t.Errorf("the next caller has %d of 3 offers", n)
		}
		a := other.win(third)
		if a.Key() != proto.SlotKey(name, 2) {
			t.Errorf("the other process has %s", a.Key())
		}
		fourth := other.slotWaiter(2)
		other.lose(fourth)
		second.leave()
		if n := fourth.offersOf(1); n != 3 {
			t.Errorf("%d of 3 offers were passed on", n)
		}
		b := other.win(fourth)
		if b.Key() != proto.SlotKey(name, 1) {
			t.Errorf("the other process has %s", b.Key())
		}
		release(a)
		release(b)
	})
}

// A waiter that was granted a part of a slot, and then wins another slot, notifies the
// next waiter of the first slot, which may sleep because of that part. Nobody else would.
func TestDebts(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		inWorldOf(t, 3, full, func(t *testing.T, w *world) {
			name, _ := proto.PermitsKey("k")
			one, two := proto.SlotKey(name, 1), proto.SlotKey(name, 2)
			held := w.process(full).mustAcquire(two)
			w.mem[1].Set(one, "a part", ttl)
			w.mem[2].Set(one, "another part", ttl)
			p, sleeper := w.process(full), w.process(full)
			first := p.slotWaiter(2)
			first.want = 1
			time.Sleep(time.Millisecond) // it is the first in the queue
			next := sleeper.slotWaiter(2)
			next.want = 2
			looked := false
			p.fault[0].Set(func(ctx context.Context, ops []backend.Op, send faulty.Send) []backend.Result {
				if len(ops) == 1 && ops[0].Kind == backend.OpEval && ops[0].Script == lua.Rollback && !looked {
					looked = true
					sleeper.lose(next)                      // both slots are taken, so it sleeps
					w.mem[1].EvalDelete(ctx, one, "a part") // the other parts are taken back
					w.mem[2].EvalDelete(ctx, one, "another part")
					time.Sleep(time.Millisecond)
				}
				return send(ctx, ops)
			})
			p.lose(first)
			if !looked || next.want != 0 || first.want != 1 || len(first.local.debts) != 1 || first.local.debts[0].Key() != one {
				t.Fatalf("looked: %v; it wants %d, the first %d, with the debts %v", looked, next.want, first.want, first.local.debts)
			}
			if forgets {
				first.local.debts = nil
			}
			release(held)
			if n := first.offersOf(2); n != 3 {
				t.Fatalf("%d offers of the second slot, want 3", n)
			}
			a := p.win(first)
			if a.Key() != two {
				t.Fatalf("the first waiter has %s", a.Key())
			}
			if n := next.offersOf(1); (n == 3) == forgets {
				t.Errorf("the debts were forgotten: %v; %d offers of the first slot", forgets, n)
			}
			next.leave()
			release(a)
		})
	}
}

// Offers of a slot that the lock does not have wake a waiter at most once in a grace, however
// many are forged, and say nothing about the node. If one is true, because others have more
// slots, the waiter is queued again.
func TestOffersOfOtherSlots(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		name, _ := proto.PermitsKey("k")
		one, two := proto.SlotKey(name, 1), proto.SlotKey(name, 2)
		p, other := w.process(full), w.process(full)
		held, more := other.mustAcquire(one), other.mustAcquire(two)
		var had *attempt.Attempt
		var done sync.WaitGroup
		done.Go(func() {
			r := p.waiting(name, ttl, timeout, caller{token: w.token})
			r.Slots = NewSlots(1)
			h, res := p.Lock(context.Background(), r)
			expect(t, res, "the wait", round.Won, 0)
			had = h.Attempt
		})
		time.Sleep(500 * time.Millisecond)
		p.forget()
		for range 1000 {
			p.hear(0, "g"+two)
			time.Sleep(time.Millisecond)
		}
		asked := 0
		for _, op := range p.fault[1].Arrived() {
			if op.Kind == backend.OpEval && op.Script == lua.Acquire {
				asked++
			}
		}
		if most := int(time.Second/minGrace) + 1; asked == 0 || asked > most || p.Members[0].Rumours.Doubted() {
			t.Errorf("%d attempts after 1000 forged offers, want at most %d; the node is doubted: %v", asked, most, p.Members[0].Rumours.Doubted())
		}
		time.Sleep(100 * time.Millisecond)
		release(more)
		time.Sleep(100 * time.Millisecond)
		if n := w.queued(one); !slices.Equal(n, []int{1, 1, 1}) {
			t.Errorf("after the release of a slot that it does not want, it is queued %v times on the nodes", n)
		}
		start := time.Now()
		release(held)
		done.Wait()
		if took := time.Since(start); took > minGrace {
			t.Errorf("it has the slot %v after the release", took)
		}
		release(had)
	})
}

// A node that has not yet taken back a part of a slot when its caller leaves notifies the
// next waiter once it has, although the process stays in the queue because it holds another
// slot.
func TestLateDebts(t *testing.T) {
	for _, tc := range []struct {
		name  string
		wait  time.Duration // until ctx ends; 0: it does not
		delay time.Duration // of the rollback
	}{
		{"ctx has ended", time.Nanosecond, 30 * time.Millisecond},
		{"ctx ends meanwhile", 10 * time.Millisecond, 30 * time.Millisecond},
		{"the node answers late", 0, timeout + 30*time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inWorldOf(t, 3, full, func(t *testing.T, w *world) {
				name, _ := proto.PermitsKey("k")
				one, two := proto.SlotKey(name, 1), proto.SlotKey(name, 2)
				p, sleeper := w.process(full), w.process(full)
				winner := p.slotWaiter(2)
				winner.want = 2
				held := p.win(winner)
				if held.Key() != two || !held.Waits() {
					t.Fatalf("it holds %s", held.Key())
				}
				w.mem[1].Set(one, "a part", ttl)
				w.mem[2].Set(one, "another part", ttl)
				first, next := p.slotWaiter(2), sleeper.slotWaiter(2)
				first.want = 1
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				looked := false
				p.fault[0].Set(func(call context.Context, ops []backend.Op, send faulty.Send) []backend.Result {
					if len(ops) == 1 && ops[0].Kind == backend.OpEval && ops[0].Script == lua.Rollback && !looked {
						looked = true
						if tc.wait > 0 {
							time.AfterFunc(tc.wait, cancel)
						}
						sleeper.lose(next) // both slots are taken, so it sleeps
						if tc.wait == 0 {  // otherwise others have the slot, and it owes nothing
							w.mem[2].EvalDelete(call, one, "another part")
						}
						time.Sleep(tc.delay)
					}
					return send(call, ops)
				})
				start := time.Now()
				first.acquire(ctx, nil, w.token(), ttl, timeout)
				first.leave()
				if took := time.Since(start); !looked || w.value(0, one) == "" || took >= tc.delay {
					t.Fatalf("it left after %v, when node 0 had %q", took, w.value(0, one))
				}
				time.Sleep(time.Second)
				next.local.group.locals.mu.Lock()
				offers := next.allOffers()
				next.local.group.locals.mu.Unlock()
				if !slices.Contains(offers, offer{0, 1}) {
					t.Errorf("the offers are %v, want one of node 0 for the first slot, which has %q there", offers, w.value(0, one))
				}
				next.leave()
				release(held)
			})
		})
	}
}

// A process that holds a slot without a node uses a notification of that node for the
// lock, even if other callers of the process wait.
func TestSlotJoins(t *testing.T) {
	inWorldOf(t, 3, full, func(t *testing.T, w *world) {
		name, _ := proto.PermitsKey("k")
		one := proto.SlotKey(name, 1)
		holder, p := w.process(full), w.process(full)
		held := holder.mustAcquire(one)
		first := p.slotWaiter(1)
		p.lose(first)
		holder.fault[2].Set(faulty.Delay(10 * time.Millisecond)) // the release comes later there
		release(held)
		synctest.Wait()
		a := p.win(first)
		next := p.slotWaiter(1)
		p.lose(next)
		time.Sleep(20 * time.Millisecond)
		if n := w.holders(one, a.Token()); n != 3 || next.offersOf(1) > 0 {
			t.Errorf("%d nodes have the slot, want 3; the next caller has %d offers", n, next.offersOf(1))
		}
		next.leave()
		release(a)
	})
}
