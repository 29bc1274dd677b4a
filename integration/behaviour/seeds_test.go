package behaviour

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	redigodriver "github.com/gomodule/redigo/redis"
	goredisdriver "github.com/redis/go-redis/v9"
	rueidisdriver "github.com/redis/rueidis"
	valkeydriver "github.com/valkey-io/valkey-go"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/backend/redigo"
	rueidisnode "github.com/quorumlock/quorumlock/backend/rueidis"
	valkeynode "github.com/quorumlock/quorumlock/backend/valkey"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The tests of this file belong to rows of docs/seeds.md.

// A holder imitates one of the Python libraries from which this one grew: the commands that it
// sends, and how it reads the replies.
type holder struct {
	name  string
	sizes []int         // numbers of servers that it can lock
	ttl   time.Duration // backend.NoExpiry: it sets no expiry
	token func() string
	set   []any // the arguments after SET NAME token

	// Its release script, which some libraries send in full and others by its hash, and its
	// arguments in addition to the name and the token.
	script        string
	channel, text string
}

const (
	compareAndDelete = `
		if redis.call('GET', KEYS[1]) == ARGV[1] then
			return redis.call('DEL', KEYS[1])
		end
		return 0`

	compareDeleteAndPublish = `
		if redis.call('GET', KEYS[1]) ~= ARGV[1] then
			return 0
		end
		redis.call('DEL', KEYS[1])
		redis.call('PUBLISH', KEYS[2], ARGV[2])
		return 1`
)

func hex32() string { return fmt.Sprintf("%x", rand.Text()[:16]) }

var holders = []holder{
	{
		name: "glasslion", sizes: []int{1, 3}, ttl: 10 * time.Second, token: hex32,
		set: []any{"PX", 10_000, "NX"}, script: compareAndDelete,
	},
	{
		name: "redlock-py", sizes: []int{1, 3}, ttl: 10 * time.Second, token: func() string { return rand.Text()[:22] },
		set: []any{"PX", 10_000, "NX"}, script: compareAndDelete,
	},
	{
		name: "miintto", sizes: []int{1}, ttl: 10 * time.Second, token: hex32,
		set: []any{"EX", 10, "NX"}, script: compareDeleteAndPublish, channel: "rlock-channel:", text: "ok",
	},
	{
		name: "miintto without expiry", sizes: []int{1}, ttl: backend.NoExpiry, token: hex32,
		set: []any{"NX"}, script: compareDeleteAndPublish, channel: "rlock-channel:", text: "ok",
	},
	{
		name: "miintto spin lock", sizes: []int{1}, ttl: backend.NoExpiry, token: hex32,
		set: []any{"NX"}, script: compareAndDelete,
	},
}

// eachHolder runs f for every adapter with every holder, on each number of servers that the
// holder can lock.
func eachHolder(t *testing.T, f func(t *testing.T, a adapter, h holder, list []*servers.Server)) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, h := range holders {
			for _, n := range h.sizes {
				t.Run(fmt.Sprintf("%s/N=%d", h.name, n), func(t *testing.T) {
					f(t, a, h, servers.Start(t, servers.Any, n))
				})
			}
		}
	})
}

// acquire makes one attempt, and reports whether it has the lock. If not, it releases what it was
// granted.
func (h holder) acquire(t *testing.T, list []*servers.Server, key, token string) bool {
	t.Helper()
	granted := 0
	for _, s := range list {
		if s.Do(t, append([]any{"SET", key, token}, h.set...)...) == "OK" {
			granted++
		}
	}
	if granted > len(list)/2 {
		return true
	}
	h.release(t, list, key, token)
	return false
}

// release returns the number of servers on which it deleted the lock.
func (h holder) release(t *testing.T, list []*servers.Server, key, token string) (deleted int) {
	t.Helper()
	args := []any{"EVAL", h.script, 1, key, token}
	if h.channel != "" {
		args = []any{"EVAL", h.script, 2, key, h.channel + key, token, h.text}
	}
	for _, s := range list {
		deleted += int(s.Do(t, args...).(int64))
	}
	return deleted
}

// wantValue fails the test unless key holds value on all servers.
func wantValue(t *testing.T, list []*servers.Server, key, value string) {
	t.Helper()
	for _, s := range list {
		if got := s.Do(t, "GET", key); got != value {
			t.Errorf("%s has %v, want %s", s, got, value)
		}
	}
}

// Each of the Python libraries and this one exclude each other, and neither deletes or extends
// the other's lock.
func TestSeedsOnTheWire(t *testing.T) {
	eachHolder(t, func(t *testing.T, a adapter, h holder, list []*servers.Server) {
		ctx := t.Context()
		locker := a.locker(t, addrs(list))
		ours, err := locker.Lock(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, func() error { return onAll(ctx, locker, "k") })
		theirs := h.token()
		if h.acquire(t, list, "k", theirs) {
			t.Errorf("%sthe Python library acquired a lock that we hold", unsafeIf(time.Now().Before(ours.Until())))
		}
		wantValue(t, list, "k", ours.Token())
		if err := ours.Extend(ctx, 20*time.Second); err != nil {
			t.Errorf("after its attempt: %v", err)
		}
		if err := ours.Unlock(ctx); err != nil {
			t.Errorf("after its attempt: %v", err)
		}
		servers.WaitEmpty(t, time.Second, list...)

		if !h.acquire(t, list, "k", theirs) {
			t.Fatal("the Python library does not get a lock that we have released")
		}
		if _, err := locker.TryLock(ctx, "k"); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("while the Python library holds the lock: %v, want ErrTaken", err)
		}
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		defer cancel()
		if _, err := locker.Lock(short, "k"); !errors.Is(err, redlock.ErrTaken) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waited for 50ms: %v, want ErrTaken and DeadlineExceeded", err)
		}
		if _, err := locker.Resume(ctx, ours.Handover(), redlock.WithTTL(time.Minute)); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("resumed with our token: %v, want ErrNotHeld", err)
		}
		if err := locker.Release(ctx, ours.Handover()); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("released with our token: %v, want ErrNotHeld", err)
		}
		wantValue(t, list, "k", theirs)
		status, err := locker.Inspect(ctx, "k")
		if err != nil || status.State != redlock.StateHeld {
			t.Errorf("inspected: %v, %v, want it held", status, err)
		}
		if forever := h.ttl == backend.NoExpiry; forever != (status.TTL == backend.NoExpiry) || status.TTL > h.ttl && !forever {
			t.Errorf("inspected: a TTL of %v, want that of the holder, %v", status.TTL, h.ttl)
		}
		if got := h.release(t, list, "k", theirs); got != len(list) {
			t.Errorf("the Python library released %d of %d", got, len(list))
		}
		if err := free(ctx, locker, "k"); err != nil {
			t.Errorf("after its release: %v", err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}

// S6: each of the Python libraries can release a lock of ours with its token. We can resume and
// release a lock of theirs.
func TestSeedsReleaseElsewhere(t *testing.T) {
	eachHolder(t, func(t *testing.T, a adapter, h holder, list []*servers.Server) {
		ctx := t.Context()
		locker := a.locker(t, addrs(list))
		ours, err := locker.Lock(ctx, "k")
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, time.Second, func() error { return onAll(ctx, locker, "k") })
		if got := h.release(t, list, "k", ours.Token()); got != len(list) {
			t.Errorf("the Python library released %d of %d", got, len(list))
		}
		if err := ours.Extend(ctx, 20*time.Second); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("extended after that: %v, want ErrNotHeld", err)
		}
		if err := ours.Unlock(ctx); !errors.Is(err, redlock.ErrNotHeld) {
			t.Errorf("unlocked after that: %v, want ErrNotHeld", err)
		}
		servers.WaitEmpty(t, time.Second, list...)

		theirs := h.token()
		if !h.acquire(t, list, "k", theirs) {
			t.Fatal("the Python library does not get a free lock")
		}
		resumed, err := locker.Resume(ctx, redlock.NewHandover("k", theirs, 0), redlock.WithTTL(time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Until(resumed.Until()); d < 50*time.Second {
			t.Errorf("resumed for a minute, but valid for %v", d)
		}
		for _, s := range list { // an extension does not shorten a life without end
			eventually(t, time.Second, func() error {
				left := s.Do(t, "PTTL", "k").(int64)
				if h.ttl == backend.NoExpiry && left != -1 || h.ttl != backend.NoExpiry && left < 50_000 {
					return fmt.Errorf("%s: %d ms are left", s, left)
				}
				return nil
			})
		}
		if err := locker.Release(ctx, redlock.NewHandover("k", theirs, 0)); err != nil {
			t.Error(err)
		}
		servers.WaitEmpty(t, time.Second, list...)
		if got := h.release(t, list, "k", theirs); got != 0 {
			t.Errorf("the Python library released %d after us", got)
		}
	})
}

// G1, G3, S2, S19: a node is made from a URL, which may come from the environment and can be used
// again.
func TestSeedsNodeFromURL(t *testing.T) {
	const password = "s3cret/@:?#%"
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1, servers.WithPassword(password))
		host, port := list[0].HostPort()
		t.Setenv("REDIS_HOST", host)
		t.Setenv("REDIS_PORT", port)
		t.Setenv("REDIS_DB", "3")
		where := (&url.URL{
			Scheme: "redis",
			User:   url.UserPassword("", password),
			Host:   net.JoinHostPort(os.Getenv("REDIS_HOST"), os.Getenv("REDIS_PORT")),
			Path:   "/" + os.Getenv("REDIS_DB"),
		}).String()
		for range 2 {
			locker := newLocker(t, []backend.Node{a.FromURL(t, where)})
			lock, err := locker.Lock(t.Context(), "k")
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(list[0].Do(t, "INFO", "keyspace")); !strings.Contains(got, "db3:keys=1,") {
				t.Errorf("the lock is not in database 3: %s", got)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}

// G2, G4, S2: a node is made from the caller's client, with any options. The caller still uses
// the client, and closes it.
func TestSeedsCallersClient(t *testing.T) {
	const name = "callers" // the client's name on the servers
	clients := map[string]func(t *testing.T, addr string) (node backend.Node, set func(key string) error){
		"goredis": func(t *testing.T, addr string) (backend.Node, func(string) error) {
			client := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr, ClientName: name, ReadTimeout: 200 * time.Millisecond, PoolSize: 2})
			t.Cleanup(func() { client.Close() })
			before := *client.Options()
			return goredis.New(client), func(key string) error {
				if after := client.Options(); after.ReadTimeout != before.ReadTimeout || after.MaxRetries != before.MaxRetries || after.ContextTimeoutEnabled {
					t.Errorf("the client's options have changed: %+v", after)
				}
				return client.Set(t.Context(), key, "v", 0).Err()
			}
		},
		"redigo": func(t *testing.T, addr string) (backend.Node, func(string) error) {
			pool := &redigodriver.Pool{MaxIdle: 2, MaxActive: 2, Dial: func() (redigodriver.Conn, error) {
				return redigodriver.Dial("tcp", addr, redigodriver.DialClientName(name), redigodriver.DialReadTimeout(200*time.Millisecond))
			}}
			t.Cleanup(func() { pool.Close() })
			return redigo.New(pool), func(key string) error {
				conn := pool.Get()
				defer conn.Close()
				_, err := conn.Do("SET", key, "v")
				return err
			}
		},
		"rueidis": func(t *testing.T, addr string) (backend.Node, func(string) error) {
			client, err := rueidisdriver.NewClient(rueidisdriver.ClientOption{InitAddress: []string{addr}, ClientName: name, ConnWriteTimeout: 200 * time.Millisecond, DisableCache: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			return rueidisnode.New(client), func(key string) error {
				return client.Do(t.Context(), client.B().Set().Key(key).Value("v").Build()).Error()
			}
		},
		"valkey": func(t *testing.T, addr string) (backend.Node, func(string) error) {
			client, err := valkeydriver.NewClient(valkeydriver.ClientOption{InitAddress: []string{addr}, ClientName: name, ConnWriteTimeout: 200 * time.Millisecond, DisableCache: true})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			return valkeynode.New(client), func(key string) error {
				return client.Do(t.Context(), client.B().Set().Key(key).Value("v").Build()).Error()
			}
		},
	}
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		s := list[0]
		node, set := clients[a.Name](t, s.Addr())
		locker := newLocker(t, []backend.Node{node})
		cycle(t, locker, "k")
		if s.Kind() != servers.Embedded {
			others := 0
			for line := range strings.Lines(fmt.Sprint(s.Do(t, "CLIENT", "LIST"))) {
				if strings.Contains(line, " cmd=client") { // the connection that asks
					continue
				}
				others++
				if !strings.Contains(line, " name="+name+" ") {
					t.Errorf("a connection that does not belong to the caller's client: %s", line)
				}
			}
			if others == 0 {
				t.Error("the caller's client has no connection")
			}
		}
		if err := set("beside the locks"); err != nil {
			t.Error(err)
		}
		if err := locker.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := set("after them"); err != nil {
			t.Errorf("after the Locker was closed: %v", err)
		}
	})
}

// S3: the adapter's helper rejects a bad URL before any I/O. The error does not show the
// password.
func TestSeedsBadURL(t *testing.T) {
	helpers := map[string]func(url string) error{
		"goredis": func(url string) error { _, err := goredis.NewClient(url); return err },
		"redigo":  func(url string) error { _, err := redigo.NewPool(url); return err },
		"rueidis": func(url string) error { _, err := rueidisnode.NewClient(url); return err },
		"valkey":  func(url string) error { _, err := valkeynode.NewClient(url); return err },
	}
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, bad := range []string{
			"127.0.0.1:6379",
			"http://:s3cret@127.0.0.1:6379",
			"redis://:s3cret@127.0.0.1:port",
			"redis://:s3cret@127.0.0.1:6379/first",
			"redis://:s3cret/@127.0.0.1:6379",
		} {
			err := helpers[a.Name](bad)
			if err == nil {
				t.Errorf("%s: no error", bad)
			} else if strings.Contains(err.Error(), "s3cret") {
				t.Errorf("%s: the error shows the password: %v", bad, err)
			}
		}
	})
}

// G19: with one of three servers dead, locks work as before. With two dead, no lock is granted.
func TestSeedsMinorityDead(t *testing.T) {
	list := servers.Start(t, servers.Any, 3, servers.WithOutages())
	lockers := make(map[string]*redlock.Locker)
	for _, d := range drivers.All {
		lockers[d.Name] = adapter{d}.locker(t, addrs(list), redlock.WithTTL(2*time.Second))
		cycle(t, lockers[d.Name], "warm")
	}
	try := func(t *testing.T, a adapter) (*redlock.Lock, error) {
		return lockers[a.Name].TryLock(t.Context(), "k")
	}

	list[0].Kill(t)
	t.Run("one dead", func(t *testing.T) {
		eachAdapter(t, func(t *testing.T, a adapter) {
			lock, err := try(t, a)
			if err != nil {
				t.Fatal(err)
			}
			if d := time.Until(lock.Until()); d < 1700*time.Millisecond || d > 1978*time.Millisecond {
				t.Errorf("valid for %v, want just under 1.978s", d)
			}
			if err := lock.Unlock(t.Context()); err != nil {
				t.Error(err)
			}
			servers.WaitEmpty(t, time.Second, list[1:]...)
		})
	})
	list[1].Kill(t)
	t.Run("two dead", func(t *testing.T) {
		eachAdapter(t, func(t *testing.T, a adapter) {
			if _, err := try(t, a); !errors.Is(err, redlock.ErrUnavailable) {
				t.Errorf("got %v, want ErrUnavailable", err)
			}
			servers.WaitEmpty(t, time.Second, list[2])
		})
	})
}
