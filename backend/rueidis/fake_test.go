package rueidis

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// As an answer, drop closes the connection, and silence sends nothing.
const (
	drop    = "drop"
	silence = "silence"
)

// A fake is a server whose replies a test determines.
type fake struct {
	address string

	mu       sync.Mutex
	answer   func(args []string) string // the reply as sent; "" for the usual one
	usual    func(args []string) string
	received [][]string
	from     []net.Conn // the connection of each command
	accepted int
	conns    map[net.Conn]bool // whether it gets replies
	arrived  chan []string     // every command, if there is room
}

// newFake starts a fake on a free port. It ends with the test.
func newFake(t *testing.T, answer func(args []string) string) *fake {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{
		address: listener.Addr().String(),
		answer:  answer,
		usual:   usual,
		conns:   make(map[net.Conn]bool),
		arrived: make(chan []string, 4096),
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.accepted++
			f.conns[conn] = true
			f.mu.Unlock()
			serving.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		f.hangUp()
		serving.Wait()
	})
	return f
}

func (f *fake) serve(conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		args, err := readCommand(r)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.received = append(f.received, args)
		f.from = append(f.from, conn)
		answer, usual, deaf := f.answer, f.usual, !f.conns[conn]
		f.mu.Unlock()
		select {
		case f.arrived <- args:
		default:
		}
		reply := ""
		if answer != nil {
			reply = answer(args)
		}
		if deaf {
			reply = silence
		}
		switch reply {
		case drop:
			return
		case silence:
			continue
		case "":
			reply = usual(args)
		}
		if _, err := io.WriteString(conn, reply); err != nil {
			return
		}
	}
}

// usual returns the reply of an empty server.
func usual(args []string) string {
	switch strings.ToUpper(args[0]) {
	case "HELLO":
		if args[1] == "2" {
			return "*4\r\n" + bulk("version") + bulk("7.0.0") + bulk("proto") + ":2\r\n"
		}
		return "%2\r\n" + bulk("version") + bulk("7.0.0") + bulk("proto") + ":3\r\n"
	case "PING":
		return "+PONG\r\n"
	case "EVALSHA", "EVAL":
		return ":1\r\n"
	case "SUBSCRIBE":
		return ">3\r\n" + bulk("subscribe") + bulk(args[1]) + ":1\r\n"
	case "CLUSTER":
		return "-ERR This instance has cluster support disabled\r\n"
	}
	return "+OK\r\n"
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

func readCommand(r *bufio.Reader) ([]string, error) {
	count, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, count)
	for i := range args {
		length, err := readLength(r, '$')
		if err != nil {
			return nil, err
		}
		data := make([]byte, length+2)
		if _, err := io.ReadFull(r, data); err != nil {
			return nil, err
		}
		args[i] = string(data[:length])
	}
	return args, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, errors.New("not the wire format")
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// setAnswer replaces the replies of the fake from now on.
func (f *fake) setAnswer(answer func(args []string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

// setUsual replaces the replies of the fake where the test sets no others.
func (f *fake) setUsual(usual func(args []string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.usual = usual
}

// push sends raw to every client.
func (f *fake) push(raw string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		io.WriteString(conn, raw)
	}
}

// hangUp closes every connection.
func (f *fake) hangUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		conn.Close()
		delete(f.conns, conn)
	}
}

// forget stops replies on the open connections.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for conn := range f.conns {
		f.conns[conn] = false
	}
}

// count returns the number of commands of that name.
func (f *fake) count(name string) int { return len(f.commands(name)) }

// connectionsOf returns the number of connections on which these commands came.
func (f *fake) connectionsOf(names ...string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	conns := make(map[net.Conn]bool)
	for i, args := range f.received {
		if slices.Contains(names, args[0]) {
			conns[f.from[i]] = true
		}
	}
	return len(conns)
}

// connections returns the number of accepted connections.
func (f *fake) connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.accepted
}

// commands returns the commands received of that name.
func (f *fake) commands(name string) [][]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found [][]string
	for _, args := range f.received {
		if strings.EqualFold(args[0], name) {
			found = append(found, args)
		}
	}
	return found
}

// await waits until a command of that name arrives.
func (f *fake) await(t *testing.T, name string) []string {
	t.Helper()
	for {
		select {
		case args := <-f.arrived:
			if strings.EqualFold(args[0], name) {
				return args
			}
		case <-t.Context().Done():
			t.Fatalf("%s did not arrive", name)
		}
	}
}
