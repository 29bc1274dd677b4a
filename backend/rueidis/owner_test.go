package rueidis

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/rueidis"
)

// A server may answer a large command before it has read all of it, for example if the command is
// too large. The command keeps its arguments until the write has ended. Otherwise the driver
// would recycle it when the reply arrives.
func TestEarlyAnswerKeepsArguments(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	release, arrived := make(chan struct{}), make(chan []string, 1)
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				defer context.AfterFunc(t.Context(), func() { c.Close() })()
				r := bufio.NewReaderSize(c, 32<<10)
				for {
					early := false
					if b, _ := r.Peek(1); len(b) > 0 {
						b, _ = r.Peek(r.Buffered())
						early = strings.Contains(string(b), "kkkkkkkk")
					}
					if early {
						io.WriteString(c, "-ERR Protocol error: invalid bulk length\r\n")
						<-release
					}
					args, err := readCommand(r)
					if err != nil {
						return
					}
					if early {
						arrived <- args
						continue
					}
					if _, err := io.WriteString(c, usual(args)); err != nil {
						return
					}
				}
			})
		}
	})
	client, err := rueidis.NewClient(rueidis.ClientOption{InitAddress: []string{l.Addr().String()}, ForceSingleClient: true, DisableCache: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		l.Close()
		client.Close()
	}()
	n := New(client)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var crowd sync.WaitGroup // so that the driver writes on its own goroutine
	for range 16 {
		crowd.Go(func() { n.SetNX(ctx, "k", "t", time.Second) })
	}
	crowd.Wait()

	key := strings.Repeat("k", 8<<20)
	if _, err := n.SetNX(ctx, key, "mine", time.Minute); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v, want the server's error", err)
	}
	for range 64 {
		crowd.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			n.SetNX(ctx, "other", "other", time.Second)
		})
	}
	crowd.Wait()
	close(release)
	select {
	case got := <-arrived:
		if want := []string{"SET", key, "mine", "NX", "PX", "60000"}; !slices.Equal(got, want) {
			t.Errorf("the server received %.20q, want %.20q", got, want)
		}
	case <-time.After(10 * time.Second):
		t.Error("the command did not arrive")
	}
}
