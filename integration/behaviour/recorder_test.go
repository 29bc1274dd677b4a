package behaviour

import (
	"bufio"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend/lua"
)

const (
	// short is the number of bytes of an argument that a recorder keeps.
	short = 256

	// slowRate is the speed in bytes per second at which a recorder reads a large argument.
	slowRate = 400 << 20
)

// An argument is what a test keeps of a command's argument. A large one is only hashed, because
// copies of megabytes would make these tests slow under the race detector.
type argument struct {
	size int
	hash uint64
	head string
}

var hashSeed = maphash.MakeSeed()

func argumentOf(text string) argument {
	return argument{len(text), maphash.String(hashSeed, text), strings.Clone(text[:min(len(text), short)])}
}

func (a argument) String() string {
	if a.size <= 40 {
		return strconv.Quote(a.head)
	}
	return fmt.Sprintf("%.20q… (%d bytes)", a.head, a.size)
}

// A recorder is a server that reads large arguments slowly, passes each command that has arrived
// to see, and grants every request.
type recorder struct {
	addr string
	see  func(args []argument) // called on several goroutines
}

// record starts a recorder, which ends with the test.
func record(t testing.TB, see func(args []argument)) *recorder {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorder{addr: l.Addr().String(), see: see}
	var (
		mu    sync.Mutex
		conns []net.Conn
		wg    sync.WaitGroup
	)
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // the listener is closed
			}
			// The kernel's own buffer can grow to megabytes. Then a write would end long before
			// its data has arrived.
			_ = c.(*net.TCPConn).SetReadBuffer(256 << 10)
			mu.Lock()
			conns = append(conns, c)
			mu.Unlock()
			wg.Go(func() { r.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for _, c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return r
}

func (r *recorder) serve(c net.Conn) {
	defer c.Close()
	in := bufio.NewReaderSize(c, 256<<10)
	for {
		args, err := readCommand(in)
		if err != nil {
			return // the client has left, perhaps in the middle of a command
		}
		r.see(args)
		if _, err := io.WriteString(c, answer(args)); err != nil {
			return
		}
	}
}

// answer is the reply of a server that grants everything.
func answer(args []argument) string {
	switch strings.ToUpper(args[0].head) {
	case "HELLO":
		return "%3\r\n+server\r\n+redis\r\n+version\r\n+7.4.0\r\n+proto\r\n:3\r\n"
	case "PING":
		return "+PONG\r\n"
	case "EVAL", "EVALSHA":
		return ":1\r\n"
	}
	return "+OK\r\n"
}

// readCommand reads an array of bulk strings, large ones slowly.
func readCommand(r *bufio.Reader) ([]argument, error) {
	n, err := readLength(r, '*')
	if err != nil {
		return nil, err
	}
	args := make([]argument, n)
	for i := range args {
		if args[i], err = readArgument(r); err != nil {
			return nil, err
		}
	}
	return args, nil
}

func readArgument(r *bufio.Reader) (argument, error) {
	size, err := readLength(r, '$')
	if err != nil {
		return argument{}, err
	}
	var h maphash.Hash
	h.SetSeed(hashSeed)
	head := make([]byte, 0, short)
	start := time.Now()
	for left := size; left > 0; {
		b, err := r.Peek(min(left, r.Size()))
		if err != nil {
			return argument{}, err
		}
		head = append(head, b[:min(len(b), short-len(head))]...)
		_, _ = h.Write(b)
		_, _ = r.Discard(len(b))
		left -= len(b)
		// The next pause is shorter if this one was too long.
		if early := time.Duration(size-left)*time.Second/slowRate - time.Since(start); early > time.Millisecond {
			time.Sleep(early)
		}
	}
	if end, err := r.ReadString('\n'); err != nil || end != "\r\n" {
		return argument{}, fmt.Errorf("an argument ends with %q, %v", end, err)
	}
	return argument{size, h.Sum64(), string(head)}, nil
}

func readLength(r *bufio.Reader, kind byte) (int, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if line[0] != kind {
		return 0, fmt.Errorf("read %q, want a %q", line, kind)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

// parsed is the part of a command that concerns a lock.
type parsed struct {
	name       string // SET, or the hash of the script
	keys, args []argument
}

// hashes finds a script's hash by its text.
var hashes = func() map[argument]string {
	m := make(map[argument]string)
	for _, s := range lua.All {
		m[argumentOf(s.Source())] = s.Hash()
	}
	return m
}()

// parse returns false for a command that does not concern a lock, such as those that set up a
// connection.
func parse(args []argument) (p parsed, ok bool) {
	switch name := strings.ToUpper(args[0].head); {
	case name == "SET":
		for i := range args {
			if option := strings.ToUpper(args[i].head); i > 2 && (option == "NX" || option == "PX") {
				args[i] = argumentOf(option)
			}
		}
		return parsed{name, args[1:2], args[2:]}, true
	case (name == "EVAL" || name == "EVALSHA") && len(args) > 2:
		n, err := strconv.Atoi(args[2].head)
		if err != nil || n > len(args)-3 {
			n = 0 // the caller reports it as wrong
		}
		p = parsed{args[1].head, args[3 : 3+n], args[3+n:]}
		if hash, ok := hashes[args[1]]; ok && name == "EVAL" {
			p.name = hash
		}
		return p, true
	}
	return parsed{}, false
}

// same returns a key that only equal commands share.
func (p parsed) same() string {
	b := []byte(p.name)
	for _, list := range [][]argument{p.keys, p.args} {
		b = strconv.AppendInt(append(b, '/'), int64(len(list)), 10)
		for _, a := range list {
			b = strconv.AppendUint(append(b, ' '), a.hash, 36)
		}
	}
	return string(b)
}

func (p parsed) String() string { return fmt.Sprintf("%.8s %v %v", p.name, p.keys, p.args) }

func (p parsed) large() bool {
	return slices.ContainsFunc(p.keys, func(a argument) bool { return a.size > 1<<20 })
}
