package rueidis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/internal/long"
)

// After a failover behind a name, the driver's connection leads to a replica. One call notices
// this, and the next one uses a new connection.
func TestReplicaConnectionIsReplaced(t *testing.T) {
	for name, reply := range map[string]string{
		"READONLY":   "-READONLY You can't write against a read only replica.\r\n",
		"MASTERDOWN": "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
		"in a script of Redis 6": "-ERR Error running script (call to f_131b5f2ed4a6e4f431cc21897ae043d687859f08): " +
			"@user_script:1: @user_script: 1: -READONLY You can't write against a read only replica. \r\n",
	} {
		for how, option := range options {
			for _, c := range calls {
				t.Run(name+"/"+how+"/"+c.name, func(t *testing.T) {
					f := newFake(t, nil)
					n := newNode(t, f, option)
					if err := ping(soon(t), n); err != nil {
						t.Fatal(err)
					}
					old := f.connections()
					f.setAnswer(func(args []string) string {
						switch {
						case args[0] == "QUIT":
							return drop
						case args[0] == c.command && f.connections() <= old:
							return reply
						}
						return ""
					})
					if err := c.call(soon(t), n); !errors.Is(err, backend.ErrNotMaster) {
						t.Fatalf("got %v, want an error of a replica", err)
					}
					if err := c.call(soon(t), n); err != nil {
						t.Errorf("the second call: %v", err)
					}
				})
			}
		}
	}
}

// If a server stays a replica, the connection is not replaced again and again.
func TestReplicaReconnectsAreLimited(t *testing.T) {
	f := newFake(t, func(args []string) string {
		switch args[0] {
		case "QUIT":
			return drop
		case "SET":
			return "-READONLY You can't write against a read only replica.\r\n"
		}
		return ""
	})
	n := newNode(t, f, options["RESP2"])
	before, start := f.connections(), time.Now()
	for range 500 {
		if _, err := n.SetNX(soon(t), "key", "token", time.Second); !errors.Is(err, backend.ErrNotMaster) {
			t.Fatalf("got %v, want an error of a replica", err)
		}
	}
	if got, most := f.connections()-before, 1+int(time.Since(start)/replacePause); got < 1 || got > most {
		t.Errorf("%d more connections in %v, want from 1 to %d", got, time.Since(start), most)
	}
}

// A server in quarantine is reached over the connection that calls share. So that connection leads
// to the right server. It is kept, and calls keep using it, although the core asks for new ones.
func TestQuarantineKeepsTheConnection(t *testing.T) {
	for how, option := range options {
		t.Run(how, func(t *testing.T) {
			f := newFake(t, func(args []string) string {
				if args[0] == "EVAL" || args[0] == "EVALSHA" {
					return "-QUARANTINE not yet\r\n"
				}
				return ""
			})
			n := newNode(t, f, option)
			if err := ping(soon(t), n); err != nil {
				t.Fatal(err)
			}
			before := f.connections()
			for range 100 {
				if _, err := n.EvalDelete(soon(t), "key", "token"); !errors.Is(err, backend.ErrQuarantined) {
					t.Fatalf("got %v, want a quarantine", err)
				}
				n.Reconnect("key")
			}
			if got := f.connections() - before; got != 0 || f.count("QUIT") != 0 {
				t.Errorf("%d more connections and %d QUITs, want none", got, f.count("QUIT"))
			}
		})
	}
}

// A connection that dies just after its server has answered that it is in quarantine is replaced as
// soon as any other.
func TestReconnectAfterQuarantine(t *testing.T) {
	for how, option := range options {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			option.ConnWriteTimeout = 10 * time.Second
			var quarantined atomic.Bool
			quarantined.Store(true)
			f := newFake(t, func(args []string) string {
				if quarantined.Load() && (args[0] == "EVAL" || args[0] == "EVALSHA") {
					return "-QUARANTINE not yet\r\n"
				}
				return ""
			})
			n := newNode(t, f, option)
			if _, err := n.EvalDelete(soon(t), "key", "token"); !errors.Is(err, backend.ErrQuarantined) {
				t.Fatalf("got %v, want a quarantine", err)
			}
			n.Reconnect("key") // as the core does after such an answer
			quarantined.Store(false)
			f.forget()
			var hangs sync.WaitGroup
			defer hangs.Wait()
			hangs.Go(func() { _, _ = n.EvalDelete(within(t, time.Second), "key", "token") })
			time.Sleep(100 * time.Millisecond)
			start := time.Now()
			n.Reconnect("key") // as the core does when it loses a call
			if _, err := n.EvalDelete(within(t, 2*time.Second), "key", "token"); err != nil {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	}
}

// A server moves, some time after calls have used connections of their own. The driver must not
// use these for the old server after the next Reconnect.
func TestReconnectAfterMove(t *testing.T) {
	for how, option := range options {
		if option.DisableAutoPipelining {
			continue // Reconnect has no effect then
		}
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			old, moved := newFake(t, nil), newFake(t, nil)
			var now atomic.Pointer[fake]
			now.Store(old)
			var open atomic.Int64
			option.DialCtxFn = func(ctx context.Context, _ string, d *net.Dialer, _ *tls.Config) (net.Conn, error) {
				conn, err := d.DialContext(ctx, "tcp", now.Load().address)
				if err != nil {
					return nil, err
				}
				open.Add(1)
				return &counted{Conn: conn, open: &open}, nil
			}
			n := newNode(t, old, option)
			if err := ping(soon(t), n); err != nil {
				t.Fatal(err)
			}
			before := open.Load()

			const calls = 3
			var together, aside sync.WaitGroup
			together.Add(calls)
			old.setAnswer(func(args []string) string {
				switch args[0] {
				case "SET":
					together.Done()
					together.Wait()
				case "PING": // the trial on the shared connection
					together.Wait()
				}
				return ""
			})
			n.Reconnect("key")
			for range calls {
				aside.Go(func() {
					if _, err := n.SetNX(soon(t), "key", "token", time.Second); err != nil {
						t.Error(err)
					}
				})
			}
			aside.Wait()
			for end := time.Now().Add(3 * time.Second); !n.gates[0].open.Load(); time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("calls do not share a connection again")
				}
			}
			for end := time.Now().Add(3 * time.Second); open.Load() > before; time.Sleep(time.Millisecond) {
				if time.Now().After(end) {
					t.Errorf("%d connections are left, want %d", open.Load(), before)
					break
				}
			}

			now.Store(moved)
			old.setAnswer(nil)
			old.forget()
			n.Reconnect("key")
			if _, err := n.SetNX(within(t, 2*time.Second), "key", "token", time.Second); err != nil {
				t.Error(err)
			}
			if moved.count("SET") != 1 {
				t.Error("the call did not go to the new server")
			}
		})
	}
}

// A counted connection takes itself off open when it is closed.
type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}

// The connection that calls share is dead. After Reconnect, calls use other connections, while
// one call hangs. They share a connection again when the driver has replaced the dead one.
func TestReconnect(t *testing.T) {
	long.Test(t)
	for how, option := range options {
		option.ConnWriteTimeout = 2 * time.Second
		for _, c := range calls {
			if c.name != "SetNX" && c.name != "Extend" && c.name != "Batch of scripts" {
				continue // these work in the same way
			}
			t.Run(how+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				f := newFake(t, nil)
				n := newNode(t, f, option)
				if _, err := n.EvalDelete(soon(t), "unused", "nobody"); err != nil {
					t.Fatal(err)
				}
				f.forget()
				sent := f.count(c.command)
				hung := make(chan error, 1)
				go func() { hung <- c.call(within(t, time.Second), n) }()
				for f.count(c.command) == sent {
					time.Sleep(time.Millisecond)
				}
				n.Reconnect("key")
				for range 3 {
					if err := c.call(within(t, 900*time.Millisecond), n); err != nil {
						t.Errorf("during a call that hangs: %v", err)
					}
				}
				if err := <-hung; !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("the call that hung: %v", err)
				}
				for end := time.Now().Add(10 * time.Second); !n.gates[0].open.Load(); time.Sleep(10 * time.Millisecond) {
					if err := c.call(soon(t), n); err != nil || time.Now().After(end) {
						t.Fatalf("while the dead connection is replaced: %v", err)
					}
				}
				if err := c.call(soon(t), n); err != nil {
					t.Errorf("on the new connection: %v", err)
				}
			})
		}
	}
}
