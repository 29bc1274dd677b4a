package waiting

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/fence"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// hostileServers starts servers for a test that creates users.
func hostileServers(t testing.TB, n int) []*servers.Server {
	t.Helper()
	realServers(t, "access control lists")
	if kind := servers.Kinds(t)[0]; !readOnlyPatterns(kind) {
		t.Skipf("%s has no read-only key patterns (Redis 7)", kind)
	}
	return servers.Start(t, servers.Any, n, servers.WithoutReuse())
}

// readOnlyPatterns reports whether servers of a kind have key patterns such as %R~x.
func readOnlyPatterns(kind servers.Kind) bool {
	return !strings.HasPrefix(string(kind), "redis:5.") && !strings.HasPrefix(string(kind), "redis:6.")
}

// newPeers returns n peers, one of each adapter in turn.
func newPeers(t testing.TB, list []*servers.Server, n int, opts ...redlock.Option) []*peer {
	t.Helper()
	var peers []*peer
	for i := range n {
		peers = append(peers, newPeer(t, nodesOf(t, drivers.All[i%len(drivers.All)], addrsOf(list)), opts...))
	}
	return peers
}

// lockOn locks key, or fails the test.
func lockOn(t testing.TB, p *peer, key string, opts ...redlock.LockOption) *redlock.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	lock, err := p.Lock(ctx, key, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return lock
}

func unlock(t testing.TB, lock *redlock.Lock) {
	t.Helper()
	if err := lock.Unlock(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

// within fails the test unless something took from least to most.
func within(t testing.TB, what string, took, least, most time.Duration) {
	t.Helper()
	took = max(took, 0) // the subtracted time of a machine that stood still can be longer
	t.Logf("%s took %v", what, took.Round(time.Millisecond))
	if took < least || took > most {
		t.Errorf("%s took %v, want from %v to %v", what, took, least, most)
	}
}

// A client that may only publish to the inboxes sends false notifications of every kind. They
// cause attempts and nothing else. No waiter gets a lock that is held, no lock is lost, and every
// waiter gets the lock soon after it is free.
func TestHostilePublish(t *testing.T) {
	const waiters = 3
	list := hostileServers(t, 3)
	peers := newPeers(t, list, waiters+1)
	lock := lockOn(t, peers[0], key)
	kept := lockOn(t, peers[1], "kept") // its holder also waits for another lock

	var holders atomic.Int64
	holders.Store(1)
	got := make(chan time.Time, waiters)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range peers[1:] {
		wg.Go(func() {
			l, err := p.Lock(ctx, key)
			if err != nil {
				t.Error(err)
				return
			}
			got <- time.Now()
			if n := holders.Add(1); n > 1 {
				t.Errorf("unsafe: %d holders at the same time", n)
			}
			time.Sleep(10 * time.Millisecond) // the work
			holders.Add(-1)
			if err := l.Unlock(ctx); err != nil {
				t.Error(err)
			}
		})
	}

	type target struct {
		*intruder
		channels []string
	}
	var targets []target
	for _, s := range list {
		waitQueued(t, s, key, waiters)
		i := intrude(t, s, "publisher", "&redlock:inbox:*", "+publish")
		i.denied(t, "PUBSUB", "CHANNELS", "*") // the intruder must learn the names elsewhere
		i.denied(t, "PUBLISH", "other", "x")
		i.denied(t, "GET", key)
		targets = append(targets, target{i, inboxesOf(t, s, waiters)})
	}
	flood, stop := context.WithCancel(t.Context())
	defer stop()
	var delivered atomic.Int64
	for _, to := range targets {
		wg.Go(func() {
			for n := 0; flood.Err() == nil; n++ {
				for _, channel := range to.channels {
					for _, message := range []string{"g" + key, "n0:" + key, "n65535:" + key, "gkept", fmt.Sprint("grandom", n), "g", "n", "nonsense"} {
						reply, err := to.query("PUBLISH", channel, message)
						if err != nil {
							t.Error(err)
							return
						}
						delivered.Add(reply.(int64))
					}
				}
				time.Sleep(time.Millisecond)
			}
		})
	}

	time.Sleep(time.Second) // time for the notifications to take effect
	if len(got) > 0 && time.Now().Before(lock.Until()) {
		t.Error("unsafe: a false notification gave the lock to a waiter while another held it")
	}
	for _, l := range []*redlock.Lock{lock, kept} {
		if err := l.Extend(t.Context(), 10*time.Second); err != nil {
			t.Errorf("after false notifications: %v", err)
		}
	}
	watch := stall.Begin()
	start := time.Now()
	holders.Add(-1)
	unlock(t, lock)
	for i := range waiters {
		select {
		case at := <-got:
			t.Logf("waiter %d had the lock %v after the release", i, at.Sub(start).Round(time.Millisecond))
		case <-ctx.Done():
			t.Fatal("a waiter never gets the lock")
		}
	}
	within(t, "the hand-over to all waiters", time.Since(start)-watch.End(), 0, time.Second)
	stop()
	wg.Wait()
	unlock(t, kept)

	// The control: messages arrived and caused attempts.
	tries := 0
	for _, p := range peers[1:] {
		tries += p.lastTries()
	}
	t.Logf("%d messages arrived, %d attempts", delivered.Load(), tries)
	if delivered.Load() == 0 || tries < 10*waiters {
		t.Errorf("%d messages arrived, %d attempts; want some of both, so that the test proves something", delivered.Load(), tries)
	}

	// Afterwards everything works as before.
	took, tries := handOff(t, peers[0], peers[1], "after", 300*time.Millisecond, list...)
	notified(t, took, tries)

	for _, to := range targets {
		setUser(t, to.server, to.name, "resetchannels")
		to.denied(t, "PUBLISH", to.channels[0], "g"+key)
	}
}

// A client that may only subscribe to the inboxes learns the names of locks that change hands. If
// it subscribes to the inbox of a dead waiter, it keeps that waiter's tickets reachable. For each
// such ticket, the lock is reserved once in vain.
func TestHostileSubscribe(t *testing.T) {
	const longest = lua.MaxGrace
	s := hostileServers(t, 1)[0]
	peers := newPeers(t, []*servers.Server{s}, 2)
	spy := intrude(t, s, "subscriber", "&redlock:inbox:*", "+subscribe", "+psubscribe")
	spy.denied(t, "PUBLISH", "redlock:inbox:x", "g"+key)
	spy.denied(t, "GET", key)
	spy.denied(t, "PSUBSCRIBE", "*")

	// A dead waiter's ticket with the longest grace.
	dead := func(at string) {
		s.Do(t, "ZADD", queueOf(at), 0, fmt.Sprintf("%d:redlock:inbox:dead", longest.Milliseconds()))
	}
	dead("unheard")
	took, _ := handOff(t, peers[0], peers[1], "unheard", 500*time.Millisecond)
	within(t, "a hand-over with a dead ticket", took, 0, 200*time.Millisecond)

	spy.must(t, "SUBSCRIBE", "redlock:inbox:dead")
	dead("heard")
	took, _ = handOff(t, peers[0], peers[1], "heard", 500*time.Millisecond)
	within(t, "a hand-over with a dead ticket that somebody keeps alive", took, longest-50*time.Millisecond, longest+longest/4+250*time.Millisecond)
	message, err := spy.next()
	if parts, ok := message.([]any); err != nil || !ok || parts[len(parts)-1] != "gheard" {
		t.Errorf("the subscriber got %v, %v, want the name of the lock", message, err)
	}
	took, tries := handOff(t, peers[0], peers[1], "heard", 500*time.Millisecond)
	notified(t, took, tries) // the ticket is gone

	setUser(t, s, spy.name, "resetchannels")
	connect(t, s, spy.name).denied(t, "SUBSCRIBE", "redlock:inbox:dead")
}

// A client that may only write to queues can delay each handover, at most until the waiter looks.
// It cannot get the lock, or take it from its holder.
func TestHostileQueue(t *testing.T) {
	const (
		ttl  = 2 * time.Second
		hold = 300 * time.Millisecond
		many = 1500 // more tickets than one script removes
	)
	s := hostileServers(t, 1)[0]
	const rules = "~*:queue"
	writer := func(t testing.TB, name string, more ...string) *intruder {
		i := intrude(t, s, name, append([]string{rules, "+zadd", "+zrem", "+del", "+set", "+zrange"}, more...)...)
		i.denied(t, "SET", "a lock", "x")
		i.denied(t, "DEL", "a lock")
		return i
	}
	tickets := func(n int) func(*testing.T, *intruder, string) {
		return func(t *testing.T, i *intruder, queue string) {
			command := []any{"ZADD", queue}
			for n := range n {
				command = append(command, 0, fmt.Sprintf("1000:dead %d", n))
			}
			i.must(t, command...)
		}
	}
	for at, tc := range []struct {
		name        string
		rules       []string
		before      bool // the waiter asks before the intrusion
		strike      func(t *testing.T, i *intruder, queue string)
		least, most time.Duration
	}{
		{"nothing", nil, false, func(*testing.T, *intruder, string) {}, 0, notifiedWithin},
		{"dead tickets", nil, false, tickets(15), 0, notifiedWithin},
		{"many dead tickets", nil, false, tickets(many), 0, notifiedWithin},
		{"many dead tickets before the waiter", nil, true, tickets(many), 0, notifiedWithin},
		{"a grace of 99999 ms", []string{"&own", "+subscribe"}, false, func(t *testing.T, i *intruder, queue string) {
			i.must(t, "ZADD", queue, 0, "99999:own")
			connect(t, i.server, i.name).must(t, "SUBSCRIBE", "own")
		}, lua.MaxGrace - 50*time.Millisecond + hold, lua.MaxGrace + lua.MaxGrace/4 + 250*time.Millisecond},
		{"the waiter's ticket removed", nil, false, func(t *testing.T, i *intruder, queue string) {
			for _, ticket := range i.must(t, "ZRANGE", queue, 0, -1).([]any) {
				i.must(t, "ZREM", queue, ticket)
			}
		}, 2 * hold, lookAgain},
		{"the queue deleted", nil, false, func(t *testing.T, i *intruder, queue string) { i.must(t, "DEL", queue) }, 2 * hold, lookAgain},
		{"the queue overwritten", nil, false, func(t *testing.T, i *intruder, queue string) { i.must(t, "SET", queue, "x") }, 2 * hold, lookAgain},
		{"the queue overwritten before the waiter", nil, true, func(t *testing.T, i *intruder, queue string) {
			i.must(t, "SET", queue, "x")
		}, 0, 400 * time.Millisecond}, // the waiter polls
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			peers := newPeers(t, []*servers.Server{s}, 2, redlock.WithTTL(ttl))
			key := fmt.Sprint("queue", at)
			i := writer(t, fmt.Sprint("writer", at), tc.rules...)
			lock := lockOn(t, peers[0], key)
			if tc.before {
				tc.strike(t, i, queueOf(key))
			}
			type result struct {
				lock *redlock.Lock
				err  error
				at   time.Time
			}
			got := make(chan result, 1)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			go func() {
				lock, err := peers[1].Lock(ctx, key)
				got <- result{lock, err, time.Now()}
			}()
			if tc.before {
				time.Sleep(hold) // until the waiter has asked
			} else {
				waitQueued(t, s, key, 1)
				tc.strike(t, i, queueOf(key))
			}
			if len(got) > 0 && time.Now().Before(lock.Until()) {
				t.Fatal("unsafe: the waiter has the lock while another client holds it")
			}
			watch := stall.Begin()
			start := time.Now()
			unlock(t, lock)
			r := <-got
			watch.End()
			stood := watch.Within(start, r.at)
			if r.err != nil {
				t.Fatal(r.err)
			}
			took := r.at.Sub(start)
			if took < tc.least-hold { // a stall does not make it shorter
				t.Errorf("the hand-over took %v, want at least %v", took, tc.least-hold)
			}
			within(t, "the hand-over, without stalls,", took-stood, 0, tc.most)
			unlock(t, r.lock)
			setUser(t, s, i.name, "resetkeys")
			i.denied(t, "ZADD", queueOf(key), 0, "20:x")
			i.denied(t, "DEL", queueOf(key))
		})
	}
}

// A client that knows the name of a lock, but not its token, cannot release or extend it through
// the library. If it may write to the key on a majority, it can end the lock. Then two clients
// believe that they hold it, and only the fencing token protects the resource.
func TestHostileKey(t *testing.T) {
	list := hostileServers(t, 3)
	peers := newPeers(t, list, 2, redlock.WithFencing())
	var writers []*intruder
	for _, s := range list {
		writers = append(writers, intrude(t, s, "writer", "~"+key, "+set", "+del", "+get", "+pexpire"))
	}
	first := lockOn(t, peers[0], key)
	for _, p := range peers {
		if err := p.Release(t.Context(), redlock.NewHandover(key, "another token", 0)); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("a release with another token: %v, want ErrNotHeld", err)
		}
		if _, err := p.Resume(t.Context(), redlock.NewHandover(key, "another token", 1)); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("Resume with another token: %v, want ErrNotHeld", err)
		}
	}
	for _, n := range nodesOf(t, drivers.All[0], addrsOf(list)) {
		if ok, err := n.EvalDelete(t.Context(), key, "another token"); ok || err != nil {
			t.Errorf("a deletion with another token: %v, %v", ok, err)
		}
		if ok, err := n.Extend(t.Context(), key, "another token", time.Hour); ok || err != nil {
			t.Errorf("an extension with another token: %v, %v", ok, err)
		}
	}
	if err := first.Extend(t.Context(), 10*time.Second); err != nil {
		t.Errorf("after all that: %v", err)
	}

	// On one server of three, a deletion has no effect.
	writers[0].must(t, "DEL", key)
	if _, err := peers[1].TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
		t.Errorf("after a deletion on one of three: %v, want ErrTaken", err)
	}
	if err := first.Extend(t.Context(), 10*time.Second); err != nil {
		t.Errorf("after a deletion on one of three: %v", err)
	}

	var guard fence.Guard
	nothing := func() error { return nil }
	if err := guard.Do(first.Fence(), nothing); err != nil {
		t.Error(err)
	}
	for _, w := range writers[1:] {
		w.must(t, "DEL", key)
	}
	second := lockOn(t, peers[1], key)
	if !time.Now().Before(first.Until()) || first.Err() != nil {
		t.Error("the first lock has ended; want it held, so that the test proves something")
	}
	if err := guard.Do(second.Fence(), nothing); err != nil {
		t.Errorf("the write of the later holder: %v", err)
	}
	if err := guard.Do(first.Fence(), nothing); !errors.Is(err, fence.ErrStale) {
		t.Errorf("the late write of the first holder: %v, want ErrStale", err)
	}
	if err := first.Extend(t.Context(), 10*time.Second); !errors.Is(err, redlock.ErrNotHeld) {
		t.Errorf("the first extends: %v, want ErrNotHeld", err)
	}

	// A key without an expiry blocks all callers until it is deleted.
	for _, w := range writers {
		w.must(t, "SET", key, "x")
	}
	if err := second.Extend(t.Context(), 10*time.Second); !errors.Is(err, redlock.ErrNotHeld) {
		t.Errorf("the second extends: %v, want ErrNotHeld", err)
	}
	if _, err := peers[0].TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
		t.Errorf("a key that was overwritten: %v, want ErrTaken", err)
	}
	for _, w := range writers {
		w.must(t, "DEL", key)
		setUser(t, w.server, w.name, "resetkeys")
		w.denied(t, "DEL", key)
		w.denied(t, "SET", key, "x")
		w.denied(t, "GET", key)
	}
	unlock(t, lockOn(t, peers[0], key))
}

// A client that may write to counters can cause the same token to be granted twice. The resource
// then accepts the late write of the earlier holder.
func TestHostileCounter(t *testing.T) {
	s := hostileServers(t, 1)[0]
	peers := newPeers(t, []*servers.Server{s}, 2, redlock.WithFencing())
	w := intrude(t, s, "writer", "~*:fence", "+set", "+del")
	w.denied(t, "SET", key, "x")
	ahead := time.Now().Add(time.Hour).UnixMicro()
	w.must(t, "SET", counterOf(key), ahead)
	first := lockOn(t, peers[0], key)
	unlock(t, first)
	w.must(t, "SET", counterOf(key), ahead)
	second := lockOn(t, peers[1], key)
	unlock(t, second)
	if first.Fence() != second.Fence() {
		t.Errorf("the tokens are %d and %d, want equal tokens", first.Fence(), second.Fence())
	}
	setUser(t, s, w.name, "resetkeys")
	w.denied(t, "SET", counterOf(key), ahead)
	if third := lockOn(t, peers[0], key); third.Fence() <= second.Fence() {
		t.Errorf("unsafe: without the intruder, the token %d follows %d", third.Fence(), second.Fence())
	} else {
		unlock(t, third)
	}
}

// A client that may write to tombstones cannot affect a lock that is held. If it knows the token
// of an attempt that is under way, it can make that attempt fail.
func TestHostileTombstone(t *testing.T) {
	s := hostileServers(t, 1)[0]
	p := newPeers(t, []*servers.Server{s}, 1, redlock.WithFencing())[0]
	w := intrude(t, s, "writer", "~*:gone:*", "+set", "+del")
	w.denied(t, "SET", key, "x")
	lock := lockOn(t, p, key)
	w.must(t, "SET", tombstoneOf(key, lock.Token()), "1")
	w.must(t, "SET", tombstoneOf(key, "another"), "1")
	if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}
	unlock(t, lock)
	next := lockOn(t, p, key)
	if next.Fence() <= lock.Fence() {
		t.Errorf("unsafe: the token %d follows %d", next.Fence(), lock.Fence())
	}
	unlock(t, next)

	// The control: a vote for the token is rejected while the tombstone exists.
	vote := func() any {
		return s.Do(t, "EVAL", lua.Vote.Source(), 3, key, counterOf(key), tombstoneOf(key, "another"), "another", 1000, 1, 0).([]any)[0]
	}
	if got := vote(); got != int64(0) {
		t.Errorf("a vote with a tombstone answers %v, want 0", got)
	}
	w.must(t, "DEL", tombstoneOf(key, "another"))
	if got := vote(); got != int64(1) {
		t.Errorf("a vote without a tombstone answers %v, want 1", got)
	}
	setUser(t, s, w.name, "resetkeys")
	w.denied(t, "SET", tombstoneOf(key, "another"), "1")
}

// A client that may write to the marker of the quarantine can begin a quarantine by deleting it.
// If it also knows the server's run_id, it can end one.
func TestHostileMarker(t *testing.T) {
	const marker = "redlock:marker"
	s := hostileServers(t, 1)[0]
	p := newPeers(t, []*servers.Server{s}, 1, redlock.WithQuarantine(redlock.DefaultTTL+time.Second))[0]
	if _, err := p.EndQuarantine(t.Context()); err != nil {
		t.Fatal(err)
	}
	healthy := s.Do(t, "GET", marker)
	held := lockOn(t, p, "held")
	unlock(t, lockOn(t, p, key))

	w := intrude(t, s, "writer", "~"+marker, "+set", "+del")
	w.denied(t, "SET", key, "x")
	quarantined := func(by string) {
		t.Helper()
		if _, err := p.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "QUARANTINE") {
			t.Errorf("after %s: %v, want a quarantine", by, err)
		}
	}
	w.must(t, "DEL", marker)
	quarantined("a deletion")
	w.must(t, "SET", marker, "no marker")
	quarantined("an overwrite")
	if err := held.Extend(t.Context(), 10*time.Second); err != nil {
		t.Errorf("a lock that is held: %v", err)
	}
	unlock(t, held)
	// The control: the client ends the quarantine of a server that may have lost locks.
	w.must(t, "SET", marker, healthy)
	unlock(t, lockOn(t, p, key))

	setUser(t, s, w.name, "resetkeys")
	w.denied(t, "DEL", marker)
	w.denied(t, "SET", marker, healthy)
	unlock(t, lockOn(t, p, key))
}

// A client that may read everything, and write nothing, learns the names of locks and inboxes,
// and with MONITOR or GET the tokens. It cannot use them. A user who may run scripts on the key
// can release a lock with its token.
func TestHostileReader(t *testing.T) {
	s := hostileServers(t, 1)[0]
	peers := newPeers(t, []*servers.Server{s}, 2)
	reader := intrude(t, s, "reader", "+keys", "+info", "+pubsub", "+monitor")
	monitor := connect(t, s, reader.name)
	monitor.must(t, "MONITOR")

	lock := lockOn(t, peers[0], key)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // a waiter, so that there is an inbox
		l, err := peers[1].Lock(ctx, key)
		if err == nil {
			err = l.Unlock(t.Context())
		}
		done <- err
	}()
	channel := inboxesOf(t, s, 1)[0]
	if keys := fmt.Sprint(reader.must(t, "KEYS", "*")); !strings.Contains(keys, key) {
		t.Errorf("KEYS answers %s", keys)
	}
	if channels := fmt.Sprint(reader.must(t, "PUBSUB", "CHANNELS")); !strings.Contains(channels, channel) {
		t.Errorf("PUBSUB CHANNELS answers %s", channels)
	}
	if id := fmt.Sprint(reader.must(t, "INFO", "server")); !strings.Contains(id, "run_id:") {
		t.Error("INFO does not contain the run_id")
	}
	monitor.conn.SetDeadline(time.Now().Add(5 * time.Second))
	for seen := false; !seen; {
		line, err := monitor.next()
		if err != nil {
			t.Fatalf("MONITOR does not show the token: %v", err)
		}
		seen = strings.Contains(fmt.Sprint(line), lock.Token())
	}
	remove := []any{"EVAL", lua.Delete.Source(), 1, key, lock.Token()}
	reader.denied(t, "GET", key)
	reader.denied(t, "DEL", key)
	reader.denied(t, "PUBLISH", channel, "g"+key)
	reader.denied(t, remove...)

	// With a read-only pattern, a user can read locks, but cannot run scripts on them.
	looker := intrude(t, s, "looker", "%R~*", "+get", "+pttl", "+zcard", "+zrange", "+del", "+set", "+zadd", "+eval")
	if got := looker.must(t, "GET", key); got != lock.Token() {
		t.Errorf("GET answers %v", got)
	}
	looker.must(t, "PTTL", key)
	looker.must(t, "ZCARD", queueOf(key))
	looker.must(t, "ZRANGE", queueOf(key), 0, -1)
	looker.denied(t, remove...)
	looker.denied(t, "DEL", key)
	looker.denied(t, "SET", key, "x")
	looker.denied(t, "ZADD", queueOf(key), 0, "20:x")
	if err := lock.Extend(t.Context(), 10*time.Second); err != nil {
		t.Error(err)
	}

	// The control: with rights to the key, the token releases the lock.
	writer := intrude(t, s, "writer", "~"+key, "+eval", "+get", "+del")
	if got := writer.must(t, remove...); got != int64(1) {
		t.Errorf("a deletion with the token answers %v, want 1", got)
	}
	if err := lock.Extend(t.Context(), 10*time.Second); !errors.Is(err, redlock.ErrNotHeld) {
		t.Errorf("after that the holder extends: %v, want ErrNotHeld", err)
	}
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
