package behaviour

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend/backendtest/netfault"
	"github.com/quorumlock/quorumlock/integration/internal/stall"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A redsync mutex and a lock of this library on the same servers exclude each other.
func TestExcludesRedsync(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3, 5} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n)
				locker := a.locker(t, addrs(list))
				mutex := redsync.New(redsyncPools(t, addrs(list))...).NewMutex("k")

				lock, err := locker.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if err := mutex.TryLockContext(t.Context()); err == nil {
					t.Errorf("%sredsync acquired a lock that we hold", unsafeIf(time.Now().Before(lock.Until())))
				}
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := mutex.TryLockContext(t.Context()); err != nil {
					t.Fatalf("redsync, after our unlock: %v", err)
				}
				if _, err := locker.TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrTaken) {
					t.Errorf("%swhile redsync holds the lock: %v, want ErrTaken", unsafeIf(err == nil && time.Now().Before(mutex.Until())), err)
				}
				if status, err := locker.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateHeld {
					t.Errorf("while redsync holds the lock: %v, %v", status, err)
				}
				if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
					t.Fatalf("redsync: unlock: %v, %v", ok, err)
				}
				if err := free(t.Context(), locker, "k"); err != nil {
					t.Errorf("after redsync's unlock: %v", err)
				}
			})
		}
	})
}

// redisPy acquires and releases redis-py's Lock, with one line of input per operation.
const redisPy = `
import sys, redis
r = redis.Redis(host=sys.argv[1], port=int(sys.argv[2]))
lock = r.lock(sys.argv[3], timeout=10)
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "acquire":
        print(lock.acquire(blocking=False), flush=True)
    else:
        lock.release()
        print("released", flush=True)
`

// python starts a program that uses redis-py on one lock. It returns a function that sends a line
// and returns the answer.
func python(t *testing.T, program string, s *servers.Server, key string) (ask func(line string) string) {
	t.Helper()
	// Use Debian's interpreter, because another one on PATH lacks its packages.
	interpreter := "/usr/bin/python3"
	if err := exec.Command(interpreter, "-c", "import redis").Run(); err != nil {
		servers.Require(t, "no redis-py for %s (Debian: python3-redis): %v", interpreter, err)
	}
	host, port := s.HostPort()
	cmd := exec.Command(interpreter, "-c", program, host, port, key)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // ends the program
		if err := cmd.Wait(); err != nil {
			t.Error("python: ", err)
		}
	})
	lines := bufio.NewScanner(out)
	read := func() string {
		if !lines.Scan() {
			t.Fatal("python ended: ", lines.Err())
		}
		return lines.Text()
	}
	if got := read(); got != "ready" {
		t.Fatal("the program's first line is ", got)
	}
	return func(line string) string {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
		return read()
	}
}

// redis-py's Lock and a lock of this library exclude each other on one server.
func TestExcludesRedisPy(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		locker := a.locker(t, addrs(list))
		ask := python(t, redisPy, list[0], "k")
		lock, err := locker.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got := ask("acquire"); got != "False" {
			t.Errorf("%sredis-py, while we hold the lock: %s", unsafeIf(got == "True" && time.Now().Before(lock.Until())), got)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if got := ask("acquire"); got != "True" {
			t.Fatalf("redis-py, after our unlock: %s", got)
		}
		if _, err := locker.TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("%swhile redis-py holds it: %v, want ErrTaken", unsafeIf(err == nil && time.Since(start) < 10*time.Second), err)
		}
		ask("release")
		if err := free(t.Context(), locker, "k"); err != nil {
			t.Errorf("after redis-py's release: %v", err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// waits starts to wait for key. It returns a function that returns the time from a moment until
// the lock was acquired.
func waits(t *testing.T, locker *redlock.Locker, key string) (since func(time.Time) time.Duration) {
	t.Helper()
	type result struct {
		lock *redlock.Lock
		err  error
		at   time.Time
	}
	got := make(chan result, 1)
	go func() {
		lock, err := locker.Lock(t.Context(), key)
		got <- result{lock, err, time.Now()}
	}()
	eventually(t, 10*time.Second, func() error {
		status, err := locker.Inspect(t.Context(), key)
		if err == nil && status.Waiting < 1 { // -1: unknown
			err = errors.New("nobody is in the queue")
		}
		return err
	})
	return func(moment time.Time) time.Duration {
		t.Helper()
		r := receive(t, "result of the waiter", got)
		if r.err != nil {
			t.Fatal("the waiter: ", r.err)
		}
		if err := r.lock.Unlock(t.Context()); err != nil {
			t.Error(err)
		}
		return r.at.Sub(moment)
	}
}

// looksAgain is the longest time until the first waiter in a queue looks while it sees a holder
// of another library: 313 ms, plus an allowance for a busy machine.
const looksAgain = 450 * time.Millisecond

// Holders of other libraries notify nobody when they unlock. A waiter finds the lock free when it
// looks, or when the holder's lease has ended.
func TestWaitsForOthers(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3} {
			list := servers.Start(t, servers.Any, n)
			locker := a.locker(t, addrs(list))
			for _, how := range []string{"unlocks", "expires"} {
				t.Run(fmt.Sprintf("redsync %s, N=%d", how, n), func(t *testing.T) {
					t.Parallel()
					const expiry = 1500 * time.Millisecond
					opts := []redsync.Option{redsync.WithExpiry(time.Minute)}
					if how == "expires" {
						opts = []redsync.Option{redsync.WithExpiry(expiry)}
					}
					mutex := redsync.New(redsyncPools(t, addrs(list))...).NewMutex(how, opts...)
					watch := stall.Begin()
					start := time.Now()
					if err := mutex.TryLockContext(t.Context()); err != nil {
						t.Fatal(err)
					}
					since, most := waits(t, locker, how), expiry+100*time.Millisecond
					if how == "unlocks" {
						start, most = time.Now(), looksAgain
						if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
							t.Fatalf("redsync: unlock: %v, %v", ok, err)
						}
					}
					took := since(start)
					t.Logf("locked after %v", took)
					watch.End()
					if took -= watch.Within(start, start.Add(took)); took > most {
						t.Errorf("locked after %v, want at most %v", took, most)
					}
				})
			}
			if n > 1 {
				continue
			}
			t.Run("redis-py releases", func(t *testing.T) {
				t.Parallel()
				ask := python(t, redisPy, list[0], "python")
				if got := ask("acquire"); got != "True" {
					t.Fatal("redis-py: acquire: ", got)
				}
				since := waits(t, locker, "python")
				watch := stall.Begin()
				start := time.Now()
				ask("release")
				took := since(start)
				t.Logf("locked after %v", took)
				watch.End()
				if took -= watch.Within(start, start.Add(took)); took > looksAgain {
					t.Errorf("locked after %v, want at most %v", took, looksAgain)
				}
			})
		}
	})
}

// redsync finds a lock taken while it is reserved for a notified waiter.
func TestRedsyncRespectsReservation(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		s := servers.Start(t, servers.Any, 1)[0]
		proxy := netfault.New(t, s.Addr())
		proxy.Delay(netfault.ToServer, 50*time.Millisecond) // so that the waiter's grace is long
		first := a.locker(t, []string{s.Addr()}, redlock.WithNodeTimeout(time.Second))
		second := a.locker(t, []string{proxy.Addr()})
		mutex := redsync.New(redsyncPools(t, []string{s.Addr()})...).NewMutex("k")

		lock, err := first.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		since := waits(t, second, "k")
		if status, err := first.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateHeld || status.Waiting != 1 || len(status.Waiters) != 1 {
			t.Errorf("inspected: %v, %v, want it held, and one waiter", status, err)
		}
		proxy.Hold() // the waiter is notified, but does not answer
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		ticket, _ := s.Do(t, "GET", "k").(string)
		grace, _, _ := strings.Cut(strings.TrimPrefix(ticket, "~"), ":")
		t.Logf("reserved for %s ms", grace)
		if !strings.HasPrefix(ticket, "~") {
			t.Fatalf("the lock is %q, want it reserved", ticket)
		}
		if status, err := first.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateReserved || status.Waiting != 0 {
			t.Errorf("inspected: %v, %v, want it reserved, and no other waiters", status, err)
		}
		taken := mutex.TryLockContext(t.Context())
		if still := s.Do(t, "GET", "k"); taken == nil || still != ticket {
			t.Errorf("redsync's attempt for a reserved lock: %v; afterwards the lock is %v", taken, still)
		}
		eventually(t, 2*time.Second, func() error { return mutex.TryLockContext(t.Context()) })
		if ok, err := mutex.UnlockContext(t.Context()); !ok || err != nil {
			t.Errorf("redsync: unlock: %v, %v", ok, err)
		}
		if err := proxy.Resume(); err != nil {
			t.Fatal(err)
		}
		since(time.Now())
		servers.WaitEmpty(t, 2*time.Second, s)
	})
}

// redsyncPools returns a pool of redsync's for each server.
func redsyncPools(t testing.TB, addrs []string) []redsyncredis.Pool {
	var pools []redsyncredis.Pool
	for _, addr := range addrs {
		client := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr})
		t.Cleanup(func() { client.Close() })
		pools = append(pools, redsyncgoredis.NewPool(client))
	}
	return pools
}

// redisLockPy waits for a lock as redis-lock-py does, which is not installed. It makes an attempt
// and subscribes to the lock's channel. It makes further attempts when a message says "ok", and
// after pauses of 0.5, 1.5, 3.5 … s. It returns which of the two was successful.
const redisLockPy = `
import sys, uuid, redis
r = redis.Redis(host=sys.argv[1], port=int(sys.argv[2]))
name, channel, token = sys.argv[3], "rlock-channel:" + sys.argv[3], uuid.uuid4().hex
release = r.register_script("""
    if redis.call('GET', KEYS[1]) ~= ARGV[1] then
        return 0
    end
    redis.call('DEL', KEYS[1])
    redis.call('PUBLISH', KEYS[2], 'ok')
    return 1""")
messages = r.pubsub()
print("ready", flush=True)
for line in sys.stdin:
    if line.strip() == "try":
        print(bool(r.set(name, token, nx=True, ex=10)), flush=True)
    elif line.strip() == "subscribe":
        messages.subscribe(channel)
        print(messages.get_message(timeout=5)["type"], flush=True)
    elif line.strip() == "wait":
        pause, tries, why = 0.5, 0, None
        while why is None:
            m = messages.get_message(timeout=pause)
            called = m is not None and m["type"] == "message" and m["data"] == b"ok"
            if r.set(name, token, nx=True, ex=10):
                why = "called" if called else "polled"
            tries += 1
            pause += 0.5 * 2**tries
        print(why, flush=True)
    else:
        print(release(keys=[name, channel], args=[token]), flush=True)
`

// Waiters of redis-lock-py get a message about each release if releases are announced, and then
// have the lock at once. Otherwise they get it by polling.
func TestAnnouncesToRedisLockPy(t *testing.T) {
	list := servers.Start(t, servers.Any, 1)
	eachAdapter(t, func(t *testing.T, a adapter) {
		for want, opts := range map[string][]redlock.Option{
			"called": {redlock.WithAnnounce("rlock-channel:")},
			"polled": nil,
		} {
			t.Run(want, func(t *testing.T) {
				t.Parallel()
				key := a.Name + want
				locker := a.locker(t, addrs(list), opts...)
				ask := python(t, redisLockPy, list[0], key)
				lock, err := locker.Lock(t.Context(), key)
				if err != nil {
					t.Fatal(err)
				}
				if tried, channel := ask("try"), ask("subscribe"); tried != "False" || channel != "subscribe" {
					t.Fatalf("%sredis-lock-py, while we hold the lock: %s, %s", unsafeIf(tried == "True" && time.Now().Before(lock.Until())), tried, channel)
				}
				got := make(chan string, 1)
				go func() {
					defer close(got)
					got <- ask("wait")
				}()
				time.Sleep(700 * time.Millisecond) // until it has polled once
				watch := stall.Begin()
				start := time.Now()
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				how := receive(t, "result of redis-lock-py", got)
				took := time.Since(start)
				t.Logf("redis-lock-py locked after %v: %s", took, how)
				if took -= watch.End(); how != want || want == "called" && took > 500*time.Millisecond {
					t.Errorf("redis-lock-py locked after %v, %s; want it %s", took, how, want)
				}
				if _, err := locker.TryLock(t.Context(), key); !errors.Is(err, redlock.ErrTaken) {
					t.Errorf("%swhile redis-lock-py holds the lock: %v, want ErrTaken", unsafeIf(err == nil && time.Since(start) < 10*time.Second), err)
				}
				if got := ask("release"); got != "1" {
					t.Errorf("redis-lock-py: release: %s", got)
				}
				if err := free(t.Context(), locker, key); err != nil {
					t.Errorf("after redis-lock-py's release: %v", err)
				}
			})
		}
	})
}
