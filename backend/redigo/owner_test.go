package redigo

import (
	"bufio"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

// slowServer is a fake of Redis. Its first connection stops reading at the first large argument
// until release is closed. Other connections are served at once.
type slowServer struct {
	addr    string
	reading chan struct{} // closed when the first connection has stopped
	release chan struct{} // closed by the test
	arrived chan []string // the commands of the first connection
}

func serveSlowly(t *testing.T) *slowServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &slowServer{
		addr:    l.Addr().String(),
		reading: make(chan struct{}),
		release: make(chan struct{}),
		arrived: make(chan []string, 1),
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for first := true; ; first = false {
			c, err := l.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = c.Close() })
			go func() {
				r := bufio.NewReader(c)
				if first {
					_, _ = r.Peek(r.Size())
					close(s.reading)
					<-s.release
				}
				for {
					args, err := readCommand(r)
					if err != nil {
						return
					}
					if first {
						s.arrived <- args
					}
					reply := ":1\r\n"
					if args[0] == "SET" {
						reply = "+OK\r\n"
					}
					if _, err := c.Write([]byte(reply)); err != nil {
						return
					}
				}
			}()
		}
	}()
	return s
}

// A command that is cancelled during its write keeps its arguments until the write has ended,
// whatever the node sends meanwhile.
func TestCancelledWriteKeepsArguments(t *testing.T) {
	key := strings.Repeat("k", 8<<20)
	for _, test := range []struct {
		name   string
		op     backend.Op
		script *backend.Script // nil: a SET
		want   []string        // the arguments after SET or the script
	}{
		{
			name: "SetNX",
			op:   backend.Op{Kind: backend.OpSetNX, Key: key, Token: "mine", TTL: time.Minute},
			want: []string{key, "mine", "NX", "PX", "60000"},
		}, {
			name:   "EvalDelete",
			op:     backend.Op{Kind: backend.OpEvalDelete, Key: key, Token: "mine"},
			script: lua.Delete,
			want:   []string{"1", key, "mine"},
		}, {
			name:   "Extend",
			op:     backend.Op{Kind: backend.OpExtend, Key: key, Token: "mine", TTL: time.Minute},
			script: lua.Extend,
			want:   []string{"1", key, "mine", "60000"},
		}, {
			name:   "Eval",
			op:     backend.Op{Kind: backend.OpEval, Script: lua.Release, Keys: []string{key, "queue"}, Args: []string{"mine", "ticket"}},
			script: lua.Release,
			want:   []string{"2", key, "queue", "mine", "ticket"},
		},
	} {
		for _, batch := range []bool{false, true} {
			name, want := test.name, append([]string{"SET"}, test.want...)
			if batch {
				name += " in a batch"
			}
			switch {
			case test.script != nil && batch: // a batch begins with the hash
				want = append([]string{"EVALSHA", test.script.Hash()}, test.want...)
			case test.script != nil:
				want = append([]string{"EVAL", test.script.Source()}, test.want...)
			}
			t.Run(name, func(t *testing.T) {
				s := serveSlowly(t)
				p := &redis.Pool{MaxIdle: 8, Dial: func() (redis.Conn, error) { return redis.Dial("tcp", s.addr) }}
				defer p.Close()
				n := New(p)
				op := test.op
				op.Keys, op.Args = slices.Clone(op.Keys), slices.Clone(op.Args)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				go func() {
					<-s.reading
					cancel()
				}()
				var r backend.Result
				soon(t, name, func() {
					if batch {
						ops := []backend.Op{op}
						r = n.Batch(ctx, ops)[0]
						ops[0] = backend.Op{Kind: backend.OpSetNX, Key: "other", Token: "other", TTL: time.Second}
					} else {
						r = op.Do(ctx, n)
					}
				})
				if !errors.Is(r.Err, context.Canceled) || backend.NotExecuted(r.Err) {
					t.Fatalf("got %v, want a cancellation with an unknown outcome", r.Err)
				}
				for _, list := range [][]string{op.Keys, op.Args} { // the caller may change them now
					for i := range list {
						list[i] = "other"
					}
				}
				for range 20 {
					if _, err := n.SetNX(t.Context(), "other", "other", time.Second); err != nil {
						t.Fatal(err)
					}
					if _, err := n.Eval(t.Context(), lua.Release, []string{"other", "other"}, []string{"other", "other"}); err != nil {
						t.Fatal(err)
					}
				}
				close(s.release)
				select {
				case got := <-s.arrived:
					if !slices.Equal(got, want) {
						t.Errorf("the server received %.40q, want %.40q", got, want)
					}
				case <-time.After(10 * time.Second):
					t.Error("the command did not arrive")
				}
			})
		}
	}
}
