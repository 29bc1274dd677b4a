package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	goredisdriver "github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/integration/drivers"
	"github.com/quorumlock/quorumlock/redlock"
)

// The client is a separate process, so its goroutines and sockets are those of a program that
// only has a Locker.
const (
	callers = 8                     // each locks its own key in a loop
	rest    = 25 * time.Millisecond // between two locks of a caller
	others  = 16                    // other users of the driver's client, at the beginning
	ttl     = 10 * time.Second      // of all locks
)

// clientVariable is the environment variable that makes this program a client. It contains the
// target.
const clientVariable = "QUORUMLOCK_RECOVERY_CLIENT"

// A target is what a client connects to. One of URLs, Cluster and Sentinel is set.
type target struct {
	Adapter  string
	URLs     []string // of independent servers
	Cluster  []string // addresses
	Sentinel []string // addresses
	Master   string   // the name of the Sentinel set's master
	Tag      string   // a part of all keys
}

// An event is a message of the client, one JSON object per line.
type event struct {
	What       string // see below
	Caller     int
	Start, End time.Time
	Err        string
	N, Sockets int
}

// The kinds of events.
const (
	ready   = "ready"   // the lock is held, and callers begin
	locked  = "locked"  // Caller requested a lock at Start and got it at End
	failed  = "failed"  // Caller's Lock returned Err at End
	unfreed = "unfreed" // Caller's Unlock returned Err at End
	lost    = "lost"    // the held lock was lost at End
	counted = "counted" // there are N goroutines and that many Sockets while no call is under way
	ended   = "ended"   // the held lock was unlocked, with Err
)

// runClient is the client's main function. It ends with its standard input.
func runClient(where string) error {
	return within("client", func(t *scope) {
		var to target
		if err := json.Unmarshal([]byte(where), &to); err != nil {
			t.Fatal(err)
		}
		goredisdriver.SetLogger(silent{}) // it logs each failure to connect
		nodes := to.nodes(t)
		locker, err := redlock.New(nodes, redlock.WithTTL(ttl))
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		out := json.NewEncoder(os.Stdout)
		tell := func(e event) {
			mu.Lock()
			defer mu.Unlock()
			out.Encode(e)
		}

		fill(t, nodes, to.Tag)
		held, err := locker.Lock(t.ctx, to.Tag+"held", redlock.WithAutoExtend())
		if err != nil {
			t.Fatal(err)
		}
		var unlocking atomic.Bool
		go func() {
			<-held.Context(t.ctx).Done()
			if !unlocking.Load() {
				tell(event{What: lost, End: time.Now()})
			}
			select {} // one goroutine, whether the lock is lost or not
		}()
		tell(event{What: ready})

		var quiet sync.RWMutex // callers hold its read lock while they call
		for i := range callers {
			key := fmt.Sprintf("%scaller%d", to.Tag, i)
			go func() {
				for ; ; time.Sleep(rest) {
					quiet.RLock()
					start := time.Now()
					lock, err := locker.Lock(t.ctx, key)
					end := time.Now()
					if err == nil {
						tell(event{What: locked, Caller: i, Start: start, End: end})
						if err := lock.Unlock(t.ctx); err != nil {
							tell(event{What: unfreed, Caller: i, End: time.Now(), Err: err.Error()})
						}
					} else {
						tell(event{What: failed, Caller: i, Start: start, End: end, Err: err.Error()})
					}
					quiet.RUnlock()
				}
			}()
		}
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			switch in.Text() {
			case counted:
				quiet.Lock()
				time.Sleep(time.Second) // until background work is done
				tell(event{What: counted, N: runtime.NumGoroutine(), Sockets: sockets()})
				quiet.Unlock()
			case ended:
				unlocking.Store(true)
				e := event{What: ended}
				if err := held.Unlock(t.ctx); err != nil {
					e.Err = err.Error()
				}
				tell(e)
			}
		}
		os.Exit(0)
	})
}

// fill makes other users of the driver's client lock at the same time, so that its pool, if it
// has one, has many connections. A Locker alone opens few.
func fill(t *scope, nodes []backend.Node, tag string) {
	var all sync.WaitGroup
	for i := range others {
		all.Go(func() {
			locker, err := redlock.New(nodes)
			if err != nil {
				t.Error(err)
				return
			}
			lock, err := locker.Lock(t.ctx, fmt.Sprintf("%sother%d", tag, i))
			if err == nil {
				err = lock.Unlock(t.ctx)
			}
			if err := errors.Join(err, locker.Close(t.ctx)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// nodes makes the nodes.
func (to *target) nodes(t *scope) (nodes []backend.Node) {
	for _, d := range drivers.All {
		if d.Name != to.Adapter {
			continue
		}
		for _, url := range to.URLs {
			nodes = append(nodes, d.FromURL(t, url))
		}
		if to.Cluster != nil {
			nodes = append(nodes, d.Cluster(t, to.Cluster))
		}
		if to.Sentinel != nil {
			nodes = append(nodes, d.Sentinel(t, to.Sentinel, to.Master))
		}
	}
	return nodes
}

// sockets returns the number of sockets of this process, or -1 if the system does not report it.
func sockets() int {
	const folder = "/proc/self/fd"
	list, err := os.ReadDir(folder)
	if err != nil {
		return -1
	}
	n := 0
	for _, file := range list {
		if to, _ := os.Readlink(folder + "/" + file.Name()); strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// silent is a logger of go-redis that logs nothing.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}

// A client is a client process, as seen by this process.
type client struct {
	t      *scope
	stdin  interface{ Write([]byte) (int, error) }
	events chan event // closed when the process has ended

	locks []event // locked
	fails []event // failed and unfreed
	lost  *event
}

// startClient starts a client and waits until it is ready. It ends with the scope.
func startClient(t *scope, to target) *client {
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	where, err := json.Marshal(to)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary)
	cmd.Env = append(os.Environ(), clientVariable+"="+string(where))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, stdin: stdin, events: make(chan event, 1<<16)}
	go func() { // ends with the process
		defer close(c.events)
		for d := json.NewDecoder(stdout); ; {
			var e event
			if d.Decode(&e) != nil {
				return
			}
			c.events <- e
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		for range c.events { // until the reader has ended
		}
		cmd.Wait()
	})
	c.until(time.After(patience), func(e event) bool { return e.What == ready })
	return c
}

// patience limits what takes no longer on any machine.
const patience = time.Minute

var errTimeout = errors.New("the client does not answer")

// until records the client's events until ok returns true for one, and returns that event. If
// timeout comes first, the scope fails.
func (c *client) until(timeout <-chan time.Time, ok func(event) bool) event {
	for {
		select {
		case e, more := <-c.events:
			if !more {
				c.t.Fatal("the client has ended")
			}
			c.note(e)
			if ok(e) {
				return e
			}
		case <-timeout:
			c.t.Fatal(errTimeout)
		}
	}
}

// during records the client's events for that time.
func (c *client) during(d time.Duration) {
	for timeout := time.After(d); ; {
		select {
		case e, more := <-c.events:
			if !more {
				c.t.Fatal("the client has ended")
			}
			c.note(e)
		case <-timeout:
			return
		}
	}
}

func (c *client) note(e event) {
	switch e.What {
	case locked:
		c.locks = append(c.locks, e)
	case failed, unfreed:
		c.fails = append(c.fails, e)
	case lost:
		c.lost = &e
	}
}

// ask makes the client answer a request, whose name is also the name of the answer.
func (c *client) ask(what string) event {
	fmt.Fprintln(c.stdin, what)
	return c.until(time.After(patience), func(e event) bool { return e.What == what })
}
