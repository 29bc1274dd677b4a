package tokens

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// counterOf returns the key of the counter for a lock without braces.
func counterOf(key string) string { return fmt.Sprintf("%s{%s}:fence", key, key) }

// A rogue is a client that reaches a server like any other client, and sends arbitrary commands
// for one key.
type rogue struct {
	*servers.Server
	key string
}

// put replaces the counter by a value.
func (r rogue) put(t testing.TB, value any) {
	t.Helper()
	r.Do(t, "SET", counterOf(r.key), value)
}

// putAhead writes a counter that is ahead of the clocks.
func (r rogue) putAhead(t testing.TB, d time.Duration) {
	t.Helper()
	r.put(t, time.Now().Add(d).UnixMicro())
}

// eval runs a script on the key and its counter, with the rogue's token.
func (r rogue) eval(script *backend.Script, keys []string, args ...any) (any, error) {
	command := []any{"EVAL", script.Source(), len(keys)}
	for _, key := range keys {
		command = append(command, key)
	}
	return r.Query(context.Background(), append(append(command, "rogue"), args...)...)
}

// vote votes with a hint as soon as the lock is free there, and then releases it.
func (r rogue) vote(t testing.TB, hint int64) {
	t.Helper()
	keys := []string{r.key, counterOf(r.key), "{" + r.key + "}:gone"}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		answer, err := r.eval(lua.Vote, keys, 60_000, hint, 0)
		if err != nil {
			t.Fatal(err)
		}
		if answer.([]any)[0] == int64(1) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the rogue did not get the lock: %v", answer)
		}
	}
	r.Do(t, "DEL", r.key)
}

// move attempts to move the counter to a value with a script that only a holder may use. The
// server must reject it.
func (r rogue) move(t testing.TB, script *backend.Script, args ...any) {
	t.Helper()
	r.Do(t, "SET", r.key, "rogue")
	defer r.Do(t, "DEL", r.key)
	if got, err := r.eval(script, []string{r.key, counterOf(r.key)}, args...); err == nil || !strings.Contains(err.Error(), "FENCE") {
		t.Errorf("%s answers %v, %v, want FENCE", script.Name(), got, err)
	}
}

// lockKey locks key or fails the test. It returns the lock, whose token must be higher than last.
func lockKey(t testing.TB, locker *redlock.Locker, key string, last uint64) *redlock.Lock {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	lock, err := locker.Lock(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if lock.Fence() <= last {
		t.Errorf("unsafe: the token %d follows %d", lock.Fence(), last)
	}
	return lock
}

func unlock(t testing.TB, lock *redlock.Lock) {
	t.Helper()
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
}

const year = 365 * 24 * time.Hour

// A client writes arbitrary values to counters, and sends arbitrary hints. If this hits one
// server of three, the others go on. If it hits a majority, it has no effect, or there is an
// error that names the counter and says what to do. After that is done, locks are granted again.
// No client gets a lower token because of it.
func TestRogue(t *testing.T) {
	strikes := []struct {
		name  string
		do    func(t testing.TB, r rogue)
		stops bool // the server stops voting
	}{
		{"the limit", func(t testing.TB, r rogue) { r.put(t, int64(1)<<53-1) }, true},
		{"beyond the limit", func(t testing.TB, r rogue) { r.put(t, "9999999999999999") }, true},
		{"more digits than numbers have", func(t testing.TB, r rogue) { r.put(t, "17000000000000000") }, true},
		{"more than a day ahead", func(t testing.TB, r rogue) { r.putAhead(t, 25*time.Hour) }, true},
		{"less than a day ahead", func(t testing.TB, r rogue) { r.putAhead(t, 23*time.Hour) }, false},
		{"a negative number", func(t testing.TB, r rogue) { r.put(t, -1) }, true},
		{"a fraction", func(t testing.TB, r rogue) { r.put(t, "1.5") }, true},
		{"an exponent", func(t testing.TB, r rogue) { r.put(t, "1e15") }, true},
		{"a number as long as the time", func(t testing.TB, r rogue) { r.put(t, "0x00060a24181e4f") }, true},
		{"nothing", func(t testing.TB, r rogue) { r.put(t, "") }, true},
		{"text", func(t testing.TB, r rogue) { r.put(t, "text") }, true},
		{"a list", func(t testing.TB, r rogue) {
			r.Do(t, "EVAL", "redis.call('DEL', KEYS[1]) return redis.call('RPUSH', KEYS[1], 1)", 1, counterOf(r.key))
		}, true},
		{"a hint a year ahead", func(t testing.TB, r rogue) { r.vote(t, time.Now().Add(year).UnixMicro()) }, false},
		{"a hint at the limit", func(t testing.TB, r rogue) { r.vote(t, 1<<53-1) }, false},
		{"a hint a year ago", func(t testing.TB, r rogue) { r.vote(t, time.Now().Add(-year).UnixMicro()) }, false},
		{"a raise by a year", func(t testing.TB, r rogue) {
			r.move(t, lua.Raise, time.Now().Add(year).UnixMicro(), 0)
		}, false},
		{"an extension by a year", func(t testing.TB, r rogue) {
			r.move(t, lua.Prolong, 60_000, time.Now().Add(year).UnixMicro(), 0)
		}, false},
	}
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		type stopped struct {
			locker *redlock.Locker
			key    string
			last   uint64
		}
		var stops []stopped
		list := servers.Start(t, kind, 3)
		for i, d := range drivers.All {
			locker, other := newLocker(t, list, i, patient), newLocker(t, list, i+1, patient)
			t.Run(d.Name, func(t *testing.T) {
				for j, strike := range strikes {
					t.Run(strike.name+" on one", func(t *testing.T) {
						key := fmt.Sprintf("%s-%d-one", d.Name, j)
						lock := lockKey(t, locker, key, 0)
						unlock(t, lock)
						strike.do(t, rogue{list[j%3], key})
						for _, l := range []*redlock.Locker{locker, other, locker} {
							lock = lockKey(t, l, key, lock.Fence())
							if err := lock.Extend(t.Context(), time.Minute); err != nil {
								t.Error(err)
							}
							unlock(t, lock)
						}
					})
					t.Run(strike.name+" on a majority", func(t *testing.T) {
						key := fmt.Sprintf("%s-%d-majority", d.Name, j)
						lock := lockKey(t, locker, key, 0)
						if !strike.stops {
							unlock(t, lock)
						}
						for _, s := range list[1:] {
							strike.do(t, rogue{s, key})
						}
						if !strike.stops {
							for _, l := range []*redlock.Locker{other, locker} {
								lock = lockKey(t, l, key, lock.Fence())
								unlock(t, lock)
							}
							return
						}
						// The holder keeps the lock.
						if err := lock.Extend(t.Context(), time.Minute); err != nil {
							t.Error(err)
						}
						unlock(t, lock)
						refused(t, other, key)
						eventuallyFree(t, list, key)
						stops = append(stops, stopped{other, key, lock.Fence()})
					})
				}
			})
		}
		t.Run("done as the error says", func(t *testing.T) {
			time.Sleep(apart) // because deleting a counter loses it
			for _, s := range stops {
				for _, server := range list {
					server.Do(t, "DEL", counterOf(s.key))
				}
				unlock(t, lockKey(t, s.locker, s.key, s.last))
			}
		})
	})
}

// refused expects a lock to fail at once, with an error that names the counter and says what to
// do.
func refused(t testing.TB, locker *redlock.Locker, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), redlock.DefaultTTL/2)
	defer cancel()
	lock, err := locker.Lock(ctx, key)
	if err == nil {
		unlock(t, lock)
		t.Fatalf("the call got the token %d", lock.Fence())
	}
	if !errors.Is(err, redlock.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want ErrUnavailable at once", err)
	}
	for _, want := range []string{strconv.Quote(counterOf(key)), "delete"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not contain %s: %v", want, err)
		}
	}
}

// eventuallyFree waits until no server has the lock on key.
func eventuallyFree(t testing.TB, list []*servers.Server, key string) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Second)
	for _, s := range list {
		for s.Do(t, "EXISTS", key) != int64(0) {
			if time.Now().After(deadline) {
				t.Errorf("%s still has %s: %v", s, key, s.Do(t, "GET", key))
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// A user without rights to counters gets no lock with a token. The call fails at once, and leaves
// nothing behind. The user can lock without tokens, or if a quorum grants the rights.
func TestRogueWithoutRights(t *testing.T) {
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		list := servers.Start(t, kind, 3, servers.WithUser("locker", "pw", "+@all", "allchannels",
			"~"+key, "~"+key+"{"+key+"}:queue", "~"+key+"{"+key+"}:gone:*"))
		for _, d := range drivers.All {
			t.Run(d.Name, func(t *testing.T) {
				var nodes []backend.Node
				for _, s := range list {
					nodes = append(nodes, d.FromURL(t, s.URL()))
				}
				locker, err := redlock.New(nodes, patient)
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), redlock.DefaultTTL/2)
				defer cancel()
				_, err = locker.Lock(ctx, key, redlock.WithFencing())
				if !errors.Is(err, redlock.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded) ||
					!strings.Contains(err.Error(), "NOPERM") || !strings.Contains(err.Error(), counter) {
					t.Errorf("got %v, want ErrUnavailable at once, with NOPERM and the command or key", err)
				}
				servers.WaitEmpty(t, 2*time.Second, list...)

				lock, err := locker.Lock(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				unlock(t, lock)
				servers.WaitEmpty(t, 2*time.Second, list...)

				for _, s := range list[1:] {
					s.Do(t, "ACL", "SETUSER", "locker", "~"+counter)
				}
				last := uint64(0)
				for range 2 {
					lock, err := locker.Lock(t.Context(), key, redlock.WithFencing())
					if err != nil {
						t.Fatal(err)
					}
					if lock.Fence() <= last {
						t.Errorf("unsafe: the token %d follows %d", lock.Fence(), last)
					}
					last = lock.Fence()
					unlock(t, lock)
				}
				for _, s := range list[1:] {
					s.Do(t, "ACL", "SETUSER", "locker", "resetkeys", "~"+key, "~"+key+"{"+key+"}:queue", "~"+key+"{"+key+"}:gone:*")
					s.Flush(t)
				}
			})
		}
	})
}

// A Cluster is one node. The counter of each key is on the master that has the key. A broken
// counter stops the locks of its key, and of no other key.
func TestRogueInACluster(t *testing.T) {
	cluster := servers.StartCluster(t, servers.Any)
	for _, d := range drivers.All {
		if d.Cluster == nil {
			continue
		}
		t.Run(d.Name, func(t *testing.T) {
			locker, err := redlock.New([]backend.Node{d.Cluster(t, cluster.Addrs())}, patient, redlock.WithFencing())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { locker.Close(context.Background()) })
			keys := make(map[string]string) // and their counters
			tagged := d.Name + "{tag}"
			keys[tagged] = tagged + ":fence"
			onEach := make(map[*servers.Server]string)
			for i := 0; len(onEach) < len(cluster.Nodes); i++ {
				key := fmt.Sprint(d.Name, i)
				onEach[cluster.NodeOf(t, key)] = key
				keys[key] = counterOf(key)
			}
			last := make(map[string]uint64)
			once := func(key string) {
				t.Helper()
				lock := lockKey(t, locker, key, last[key])
				last[key] = lock.Fence()
				if err := lock.Extend(t.Context(), time.Minute); err != nil {
					t.Error(err)
				}
				got := cluster.NodeOf(t, key).Do(t, "GET", keys[key])
				if got != strconv.FormatUint(lock.Fence(), 10) {
					t.Errorf("the token of %s is %d, but its counter %v", key, lock.Fence(), got)
				}
				unlock(t, lock)
			}
			broken := d.Name + "0"
			for range 3 {
				for key := range keys {
					once(key)
				}
			}
			cluster.NodeOf(t, broken).Do(t, "SET", counterOf(broken), "text")
			refused(t, locker, broken)
			for key := range keys {
				if key != broken {
					once(key)
				}
			}
			if _, err := locker.TryLock(t.Context(), "a}b"); err == nil || !strings.Contains(err.Error(), "no fencing token") {
				t.Errorf("a key without a counter: %v", err)
			}
		})
	}
}
