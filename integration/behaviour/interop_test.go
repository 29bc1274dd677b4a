package behaviour

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/go-redsync/redsync/v4"
	redsyncredis "github.com/go-redsync/redsync/v4/redis"
	redsyncgoredis "github.com/go-redsync/redsync/v4/redis/goredis/v9"
	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/redlock"
)

// A redsync mutex and our lock on the same servers exclude each other.
func TestExcludesRedsync(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		for _, n := range []int{1, 3, 5} {
			t.Run(fmt.Sprintf("N=%d", n), func(t *testing.T) {
				list := servers.Start(t, servers.Any, n)
				locker := a.locker(t, addrs(list))
				var pools []redsyncredis.Pool
				for _, addr := range addrs(list) {
					client := goredisdriver.NewClient(&goredisdriver.Options{Addr: addr})
					defer client.Close()
					pools = append(pools, redsyncgoredis.NewPool(client))
				}
				mutex := redsync.New(pools...).NewMutex("k")

				lock, err := locker.Lock(t.Context(), "k")
				if err != nil {
					t.Fatal(err)
				}
				if err := mutex.TryLockContext(t.Context()); err == nil {
					t.Error("redsync took a lock that we hold")
				}
				if err := lock.Unlock(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := mutex.TryLockContext(t.Context()); err != nil {
					t.Fatalf("redsync, after our unlock: %v", err)
				}
				if _, err := locker.TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrTaken) {
					t.Errorf("while redsync holds it: %v, want ErrTaken", err)
				}
				if status, err := locker.Inspect(t.Context(), "k"); err != nil || status.State != redlock.StateHeld {
					t.Errorf("while redsync holds it: %v, %v", status, err)
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

// redisPy holds, tries and releases redis-py's Lock, a line of input each.
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

// python starts redis-py on one lock, and returns what answers a line with a line.
func python(t *testing.T, s *servers.Server, key string) (ask func(line string) string) {
	t.Helper()
	// Debian's interpreter: another one on PATH has not its packages.
	interpreter := "/usr/bin/python3"
	if err := exec.Command(interpreter, "-c", "import redis").Run(); err != nil {
		servers.Require(t, "no redis-py for %s (Debian: python3-redis): %v", interpreter, err)
	}
	host, port := s.HostPort()
	cmd := exec.Command(interpreter, "-c", redisPy, host, port, key)
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
		in.Close() // which ends it
		if err := cmd.Wait(); err != nil {
			t.Error("redis-py: ", err)
		}
	})
	lines := bufio.NewScanner(out)
	read := func() string {
		if !lines.Scan() {
			t.Fatal("redis-py ended: ", lines.Err())
		}
		return lines.Text()
	}
	if got := read(); got != "ready" {
		t.Fatal("redis-py says ", got)
	}
	return func(line string) string {
		if _, err := io.WriteString(in, line+"\n"); err != nil {
			t.Fatal(err)
		}
		return read()
	}
}

// redis-py's Lock and ours exclude each other on one server.
func TestExcludesRedisPy(t *testing.T) {
	eachAdapter(t, func(t *testing.T, a adapter) {
		list := servers.Start(t, servers.Any, 1)
		locker := a.locker(t, addrs(list))
		ask := python(t, list[0], "k")
		lock, err := locker.Lock(t.Context(), "k")
		if err != nil {
			t.Fatal(err)
		}
		if got := ask("acquire"); got != "False" {
			t.Errorf("redis-py, while we hold the lock: %s", got)
		}
		if err := lock.Unlock(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := ask("acquire"); got != "True" {
			t.Fatalf("redis-py, after our unlock: %s", got)
		}
		if _, err := locker.TryLock(t.Context(), "k"); !errors.Is(err, redlock.ErrTaken) {
			t.Errorf("while redis-py holds it: %v, want ErrTaken", err)
		}
		ask("release")
		if err := free(t.Context(), locker, "k"); err != nil {
			t.Errorf("after redis-py's release: %v", err)
		}
		servers.WaitEmpty(t, time.Second, list...)
	})
}
