package conformance

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// These tests run the scripts of an earlier release, kept as data, together with the current ones
// on one server. docs/compatibility.md lists what must hold. The node in memory is not tested,
// because it does not run the text of a script, and two processes never share its state.

// previous is the release whose scripts are in testdata.
const previous = "release-0"

// previousScripts returns the scripts of the previous release by name. Their text must be
// unchanged, so the SHA-1 of each is stored with them.
func previousScripts(t *testing.T) map[string]*backend.Script {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join("testdata", previous, "SHA1SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	scripts := map[string]*backend.Script{}
	for line := range strings.Lines(string(sums)) {
		fields := strings.Fields(line)
		text, err := os.ReadFile(filepath.Join("testdata", previous, fields[1]))
		if err != nil {
			t.Fatal(err)
		}
		sum := sha1.Sum(text)
		if got := hex.EncodeToString(sum[:]); got != fields[0] {
			t.Fatalf("%s/%s is not the released text: its SHA-1 is %s, want %s", previous, fields[1], got, fields[0])
		}
		name := strings.TrimSuffix(fields[1], ".lua")
		scripts[name] = backend.NewScript(name, string(text), fields[0])
	}
	return scripts
}

// An oldNode runs the scripts of the previous release instead of the current ones.
type oldNode struct {
	backend.Node // has SetNX and Name; has no Unwrap
	scripts      map[string]*backend.Script
}

func (n *oldNode) Eval(ctx context.Context, s *backend.Script, keys, args []string) (backend.Reply, error) {
	old := n.scripts[s.Name()]
	if old == nil {
		return nil, fmt.Errorf("%s has no script %s", previous, s.Name())
	}
	return n.Node.(backend.Scripter).Eval(ctx, old, keys, args)
}

func (n *oldNode) EvalDelete(ctx context.Context, key, token string) (bool, error) {
	return n.truth(n.Eval(ctx, lua.Delete, []string{key}, []string{token}))
}

func (n *oldNode) Extend(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return n.truth(n.Eval(ctx, lua.Extend, []string{key}, []string{token, strconv.FormatInt(ttl.Milliseconds(), 10)}))
}

func (n *oldNode) truth(r backend.Reply, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	i, err := r.Int(0)
	return i == 1, err
}

func (n *oldNode) Subscribe(ctx context.Context, channel string, events backend.Events) error {
	return n.Node.(backend.Subscriber).Subscribe(ctx, channel, events)
}

// A mixture is one server with clients of two releases.
type mixture struct {
	kind     servers.Kind
	server   *servers.Server
	old, new backend.Node
}

// eachMixture runs f with each kind of server.
func eachMixture(t *testing.T, f func(t *testing.T, m mixture)) {
	scripts := previousScripts(t)
	servers.Each(t, func(t *testing.T, kind servers.Kind) {
		server := servers.Start(t, kind, 1)[0]
		d := drivers.All[0]
		f(t, mixture{kind, server, &oldNode{d.Node(t, server.Addr()), scripts}, d.Node(t, server.Addr())})
	})
}

// locker returns a Locker over one node. It is closed when the test ends.
func (m mixture) locker(t *testing.T, n backend.Node, opts ...redlock.Option) *redlock.Locker {
	t.Helper()
	l, err := redlock.New([]backend.Node{n}, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return l
}

// queued waits until that many tickets are in the queue of key.
func (m mixture) queued(t *testing.T, key string, n int64) {
	t.Helper()
	queue := key + "{" + key + "}:queue"
	for start := time.Now(); m.server.Do(t, "ZCARD", queue) != n; time.Sleep(time.Millisecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("%v tickets are in the queue %q, want %d", m.server.Do(t, "ZCARD", queue), queue, n)
		}
	}
}

// Lockers of both releases share a key. There is one holder at a time, fencing tokens go up, and
// every caller gets its turns.
func TestReleasesMixed(t *testing.T) {
	for name, opts := range map[string][]redlock.Option{
		"plain":      nil,
		"fencing":    {redlock.WithFencing()},
		"quarantine": {redlock.WithFencing(), redlock.WithQuarantine(redlock.DefaultTTL + 2*time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			eachMixture(t, func(t *testing.T, m mixture) {
				if name == "quarantine" {
					if m.kind == servers.Embedded {
						t.Skip("embedded servers have no run_id, which a quarantine needs")
					}
					m.mark(t, m.old, "redlock:marker")
				}
				var (
					wg      sync.WaitGroup
					holders atomic.Int32
					last    atomic.Uint64
					turns   [2]int
					changes int
					before  = -1
				)
				const clients, each = 6, 30
				for i := range clients {
					release := i % 2
					l := m.locker(t, []backend.Node{m.old, m.new}[release], opts...)
					wg.Go(func() {
						for range each {
							lock, err := l.Lock(t.Context(), "mixed "+name, redlock.WithWait(time.Minute))
							if err != nil {
								t.Error(err)
								return
							}
							if n := holders.Add(1); n != 1 {
								t.Errorf("unsafe: %d holders at the same time", n)
							}
							if name != "plain" {
								// Nobody is next while the lock is valid, even if the machine stands still.
								fence := lock.Fence()
								if prior := last.Swap(fence); fence <= prior && time.Now().Before(lock.Until()) {
									t.Errorf("unsafe: the fencing token %d is not above the one before, %d", fence, prior)
								}
							}
							turns[release]++ // protected by the lock
							if before != release {
								before = release
								changes++
							}
							holders.Add(-1)
							if err := lock.Unlock(context.WithoutCancel(t.Context())); err != nil {
								t.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				if turns != [2]int{clients / 2 * each, clients / 2 * each} {
					t.Errorf("%s had the lock %d times, the current release %d times", previous, turns[0], turns[1])
				}
				if changes < 2*each/3 {
					t.Errorf("the lock changed between the releases only %d times, which proves too little", changes)
				}
			})
		})
	}
}

// mark marks the server as having lost nothing.
func (m mixture) mark(t *testing.T, n backend.Node, marker string) {
	t.Helper()
	if r, err := n.(backend.Scripter).Eval(t.Context(), lua.Mark, []string{marker}, nil); err != nil || r[0] != int64(1) {
		t.Fatalf("mark: %v, %v", r, err)
	}
}

// A current Locker waits for a lock that a client of the previous release holds. The release by
// that client notifies it.
func TestReleasesOldHolder(t *testing.T) {
	eachMixture(t, func(t *testing.T, m mixture) {
		const key = "old holder"
		keys := []string{key, key + "{" + key + "}:queue"}
		if r := eval(t, m.old, lua.Acquire, keys[:1], "old token", "60000"); r[0] != int64(1) {
			t.Fatalf("acquire answers %v", r)
		}
		l := m.locker(t, m.new)
		if _, err := l.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
			t.Fatalf("TryLock: %v, want the lock to be held", err)
		}
		done := make(chan error, 1)
		go func() {
			lock, err := l.Lock(t.Context(), key, redlock.WithWait(20*time.Second))
			if err == nil {
				err = lock.Unlock(t.Context())
			}
			done <- err
		}()
		m.queued(t, key, 1)
		start := time.Now()
		if r := eval(t, m.old, lua.Release, keys, "old token"); r[0] != int64(1) || len(r) != 1 {
			t.Errorf("release answers %v", r)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("the handover took %v, so the waiter was not notified", took)
		}
	})
}

// Two waiters of the previous release are queued. A current Locker notifies them with messages
// that they understand.
func TestReleasesOldWaiters(t *testing.T) {
	eachMixture(t, func(t *testing.T, m mixture) {
		const key = "old waiters"
		keys := []string{key, key + "{" + key + "}:queue"}
		lock, err := m.locker(t, m.new).Lock(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		first, second := hears(t, m.new, "redlock:inbox:first"), hears(t, m.new, "redlock:inbox:second")
		for rank, ticket := range []string{"900:redlock:inbox:first", "800:redlock:inbox:second"} {
			r := eval(t, m.old, lua.Acquire, keys, "token", "60000", ticket, strconv.Itoa(1000-rank))
			if len(r) != 4 || r[0] != int64(0) || r[2] != int64(rank) || r[3] != lock.Token()[max(0, len(lock.Token())-32):] {
				t.Fatalf("acquire answers %v, want {0, a time to live, %d, the end of the token}", r, rank)
			}
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		await(t, first, "g"+key)
		await(t, second, "n900:"+key)
		if held := m.server.Do(t, "GET", key); held != nil && held != "~900:redlock:inbox:first" { // nil: this test was too slow
			t.Errorf("the lock holds %q, want it reserved for the first waiter", held)
		}
		if r := eval(t, m.old, lua.Acquire, keys, "first token", "60000", "900:redlock:inbox:first", "1000"); r[0] != int64(1) {
			t.Errorf("acquire by the waiter that was notified answers %v", r)
		}
		if _, err := m.locker(t, m.new).TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("TryLock: %v, want the lock to be held", err)
		}
		status, err := m.locker(t, m.new).Inspect(t.Context(), key)
		if err != nil || status.State != redlock.StateHeld || status.Waiting != 1 || len(status.Waiters) != 1 {
			t.Errorf("Inspect: %v, %v, want the lock held and one waiter", status, err)
		}
		m.server.Do(t, "DEL", keys[0], keys[1])
	})
}

// Each script of one release continues what a script of the other has begun. The state that both
// leave on the server has the form that docs/compatibility.md describes.
func TestReleasesState(t *testing.T) {
	eachMixture(t, func(t *testing.T, m mixture) {
		for _, tc := range []struct {
			name     string
			one, two backend.Node
		}{{"old then new", m.old, m.new}, {"new then old", m.new, m.old}} {
			t.Run(tc.name, func(t *testing.T) {
				lock := tc.name
				queue, counter, tomb, marker := lock+"{"+lock+"}:queue", lock+"{"+lock+"}:fence", lock+"{"+lock+"}:gone:a", lock+"{"+lock+"}:marker"
				ticket := "700:redlock:inbox:" + tc.name
				hears(t, m.new, "redlock:inbox:"+tc.name)
				wants := func(n backend.Node, s *backend.Script, keys []string, want backend.Reply, args ...string) backend.Reply {
					t.Helper()
					r := eval(t, n, s, keys, args...)
					for i := range want {
						if i >= len(r) || want[i] != nil && r[i] != want[i] {
							t.Fatalf("%s answers %v, want %v", s.Name(), r, want)
						}
					}
					return r
				}
				stored := func(key, pattern string, expires bool) {
					t.Helper()
					value, _ := m.server.Do(t, "GET", key).(string)
					if !regexp.MustCompile("^" + pattern + "$").MatchString(value) {
						t.Errorf("%q holds %q, want %s", key, value, pattern)
					}
					if left := m.server.Do(t, "PTTL", key).(int64); expires != (left > 0) {
						t.Errorf("%q lives for %d ms, want an expiry: %v", key, left, expires)
					}
				}

				// A vote, a raise and an extension, a refusal that queues, and a release that
				// notifies.
				hint := strconv.FormatInt(time.Now().UnixMicro(), 10)
				wants(tc.one, lua.Vote, []string{lock, counter, tomb}, nil, "a", "60000", hint, "600000")
				stored(lock, "a", true)
				stored(counter, `\d{16}`, true)
				held := m.counter(t, counter)
				raised := strconv.FormatInt(held+5, 10)
				wants(tc.two, lua.Raise, []string{lock, counter}, backend.Reply{int64(1)}, "a", raised, "600000")
				wants(tc.one, lua.Prolong, []string{lock, counter}, backend.Reply{int64(1)}, "a", "60000", raised, "600000")
				wants(tc.two, lua.Extend, []string{lock}, backend.Reply{int64(1)}, "a", "60000")
				stored(counter, raised, true)
				wants(tc.two, lua.Vote, []string{lock, counter, tomb + "b", queue},
					backend.Reply{int64(0), held + 5, nil, nil, int64(0), "a"}, "b", "60000", hint, "600000", ticket, "10")
				if members := fmt.Sprint(m.server.Do(t, "ZRANGE", queue, 0, -1)); members != "["+ticket+"]" {
					t.Errorf("the queue is %s, want %s", members, ticket)
				}
				wants(tc.one, lua.Release, []string{lock, queue, tomb}, backend.Reply{int64(1)}, "a", "", "", "60000")
				stored(tomb, "1", true)
				stored(lock, "~"+ticket, true)
				r := wants(tc.two, lua.Vote, []string{lock, counter, tomb + "b", queue}, nil, "b", "60000", hint, "600000", ticket, "10")
				if now := m.counter(t, counter); now <= held+5 || len(r) == 0 || r[0] == int64(0) {
					t.Errorf("the waiter's vote answers %v, and the counter went from %d to %d, want it granted, and a higher one", r, held+5, now)
				}
				// The other release's tombstone refuses a late vote.
				wants(tc.two, lua.Vote, []string{lock, counter, tomb}, backend.Reply{int64(0), nil, nil, int64(-2)}, "a", "60000", hint, "600000")
				// A rollback deletes the other release's lock.
				wants(tc.one, lua.Rollback, []string{lock, queue}, backend.Reply{int64(1)}, "b", "", "", "0")
				if left := m.server.Do(t, "EXISTS", lock, queue); left != int64(0) {
					t.Errorf("%v keys of the lock and its queue are left", left)
				}

				if m.kind == servers.Embedded {
					return // the server has no run_id, which a quarantine needs
				}
				// One release begins a quarantine, and the other one detects and ends it.
				quarantined := func(n backend.Node) error {
					_, err := n.(backend.Scripter).Eval(t.Context(), lua.Acquire, []string{lock, lock, marker}, []string{"c", "60000", "", "", "60000"})
					return err
				}
				if err := quarantined(tc.one); !errors.Is(err, backend.ErrQuarantined) {
					t.Errorf("acquire without a marker: %v, want a quarantine", err)
				}
				stored(marker, `[0-9a-f]{40} \d{16}`, false)
				since := m.server.Do(t, "GET", marker)
				if err := quarantined(tc.two); !errors.Is(err, backend.ErrQuarantined) || m.server.Do(t, "GET", marker) != since {
					t.Errorf("acquire by the other release: %v, want the same quarantine", err)
				}
				m.mark(t, tc.two, marker)
				stored(marker, `[0-9a-f]{40} 0`, false)
				if err := quarantined(tc.one); err != nil {
					t.Errorf("acquire after the other release has ended the quarantine: %v", err)
				}
				wants(tc.two, lua.Delete, []string{lock}, backend.Reply{int64(1)}, "c")
			})
		}
	})
}

// counter returns the value of a counter.
func (m mixture) counter(t *testing.T, key string) int64 {
	t.Helper()
	text, _ := m.server.Do(t, "GET", key).(string)
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
