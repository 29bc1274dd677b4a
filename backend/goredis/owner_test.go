package goredis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// slowDialer returns connections whose first large write stops halfway until it is released.
type slowDialer struct {
	once    sync.Once
	writing chan struct{} // closed when the write has stopped
	release chan struct{} // closed by the test
}

func (d *slowDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	var dialer net.Dialer
	c, err := dialer.DialContext(ctx, network, address)
	return slowConn{c, d}, err
}

type slowConn struct {
	net.Conn
	d *slowDialer
}

func (c slowConn) Write(b []byte) (int, error) {
	if len(b) < 64<<10 {
		return c.Conn.Write(b)
	}
	half, err := c.Conn.Write(b[:len(b)/2])
	if err != nil {
		return half, err
	}
	c.d.once.Do(func() {
		close(c.d.writing)
		<-c.d.release
	})
	n, err := c.Conn.Write(b[half:])
	return half + n, err
}

// A call that is left behind in a client of an unknown type keeps its arguments, even if its
// caller changes its own lists.
func TestWrappedOwnsArguments(t *testing.T) {
	key := strings.Repeat("k", 8<<20)
	for _, batch := range []bool{false, true} {
		t.Run(fmt.Sprintf("batch=%v", batch), func(t *testing.T) {
			got := make(chan []string, 1)
			s := newFakeServer(t, func(args []string) string {
				if !strings.HasPrefix(args[0], "eval") {
					return ""
				}
				got <- args[2:]
				return ":1\r\n"
			})
			slow := &slowDialer{writing: make(chan struct{}), release: make(chan struct{})}
			n := New(wrapper{newClient(t, &redis.Options{Addr: s.addr(), Dialer: slow.dial, Protocol: 2})})
			ctx, cancel := context.WithCancel(within(t, time.Minute))
			go func() {
				<-slow.writing
				cancel()
			}()
			ops := []backend.Op{{Kind: backend.OpEval, Script: lua.Release, Keys: []string{key, "queue"}, Args: []string{"mine", "ticket"}}}
			keys, args := ops[0].Keys, ops[0].Args
			var err error
			if batch {
				err = n.Batch(ctx, ops)[0].Err
			} else {
				_, err = n.Eval(ctx, lua.Release, keys, args)
			}
			if !errors.Is(err, context.Canceled) || backend.NotExecuted(err) {
				t.Fatalf("got %v, want a cancellation with an unknown outcome", err)
			}
			ops[0] = backend.Op{Kind: backend.OpSetNX, Key: "other", Token: "other", TTL: time.Second}
			for i := range keys {
				keys[i], args[i] = "other", "other"
			}
			close(slow.release)
			select {
			case got := <-got:
				if want := []string{"2", key, "queue", "mine", "ticket"}; !slices.Equal(got, want) {
					t.Errorf("the server received %.20q, want %.20q", got, want)
				}
			case <-time.After(10 * time.Second):
				t.Error("the command did not arrive")
			}
		})
	}
}
