package goredis

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// A fakeServer implements the part of the protocol that these tests need. It answers the setup of
// a connection itself, and passes everything else to its handler.
type fakeServer struct {
	listener net.Listener

	mu      sync.Mutex
	handler func(args []string) string
	deaf    bool              // reads, but ignores everything
	got     []string          // the commands received, without those of a setup
	total   int               // number of connections accepted
	conns   map[net.Conn]bool // whether it has subscribed
	wg      sync.WaitGroup
}

// Other things that a handler may do instead of replying.
const (
	drop   = "drop"   // close the connection
	ignore = "ignore" // send no reply
)

func newFakeServer(t *testing.T, handler func(args []string) string) *fakeServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{listener: l, handler: handler, conns: make(map[net.Conn]bool)}
	s.wg.Go(s.serve)
	t.Cleanup(func() {
		l.Close()
		s.hangUp()
		s.wg.Wait()
	})
	return s
}

func (s *fakeServer) addr() string { return s.listener.Addr().String() }

func (s *fakeServer) setHandler(handler func(args []string) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = handler
}

func (s *fakeServer) setDeaf() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deaf = true
}

func (s *fakeServer) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.total++
		s.conns[conn] = false
		s.mu.Unlock()
		s.wg.Go(func() { s.talk(conn) })
	}
}

func (s *fakeServer) talk(conn net.Conn) {
	defer func() {
		conn.Close()
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
	}()
	s.mu.Lock()
	deaf := s.deaf
	s.mu.Unlock()
	if deaf {
		io.Copy(io.Discard, conn)
		return
	}
	r := bufio.NewReader(conn)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		s.mu.Lock()
		handler := s.handler
		word := args[0]
		if word == "subscribe" {
			s.conns[conn] = true
		}
		if word != "hello" && word != "client" && word != "cluster" {
			s.got = append(s.got, strings.Join(args, " "))
		}
		s.mu.Unlock()
		answer := ""
		if handler != nil {
			answer = handler(args)
		}
		switch {
		case answer == drop:
			return
		case answer == ignore:
			continue
		case answer != "":
		case word == "hello":
			answer = "-ERR unknown command 'HELLO'\r\n" // so that the driver uses RESP2
		default:
			answer = "+OK\r\n"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// push writes text to every connection that has subscribed.
func (s *fakeServer) push(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn, subscribed := range s.conns {
		if subscribed {
			io.WriteString(conn, text)
		}
	}
}

// subscribed reports whether an open connection has subscribed.
func (s *fakeServer) subscribed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, subscribed := range s.conns {
		if subscribed {
			return true
		}
	}
	return false
}

// hangUp closes every connection.
func (s *fakeServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *fakeServer) open() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *fakeServer) accepted() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// received returns the commands that begin with word.
func (s *fakeServer) received(word string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var got []string
	for _, c := range s.got {
		if strings.HasPrefix(c, word) {
			got = append(got, c)
		}
	}
	return got
}

func readCommand(r *bufio.Reader) ([]string, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(r, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("got %q, want a line that begins with %q", line, kind)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// bulk returns a reply with one string, and list one with several replies.
func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func list(replies ...string) string {
	return fmt.Sprintf("*%d\r\n%s", len(replies), strings.Join(replies, ""))
}

// slots returns the reply to CLUSTER SLOTS if all slots are split evenly among servers, in order.
func slots(t *testing.T, servers ...*fakeServer) string {
	t.Helper()
	var ranges []string
	for i, s := range servers {
		host, port, err := net.SplitHostPort(s.addr())
		if err != nil {
			t.Fatal(err)
		}
		first, last := 16384*i/len(servers), 16384*(i+1)/len(servers)-1
		ranges = append(ranges, list(
			fmt.Sprintf(":%d\r\n", first),
			fmt.Sprintf(":%d\r\n", last),
			list(bulk(host), ":"+port+"\r\n", bulk(fmt.Sprintf("%040d", i))),
		))
	}
	return list(ranges...)
}

func newClient(t *testing.T, o *redis.Options) *redis.Client {
	t.Helper()
	c := redis.NewClient(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// within returns a context that ends after d.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until cond holds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 10 seconds: %s", what)
		}
	}
}
