package servers

import (
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

// ownerLabel is the label with the process that owns a container: its machine, an address where
// the process answers as long as it lives, and a word with which it answers. The word is needed
// because another process may get the address.
const ownerLabel = "quorumlock.test.owner"

// owner is this process, as in the label.
type owner struct {
	label    string
	listener net.Listener
}

func newOwner() (*owner, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	machine, err := os.Hostname()
	if err != nil {
		l.Close()
		return nil, err
	}
	word := rand.Text()
	go func() { // ends with close, or with the process
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.SetDeadline(time.Now().Add(time.Second))
			io.WriteString(conn, word)
			conn.Close()
		}
	}()
	return &owner{strings.Join([]string{machine, l.Addr().String(), word}, " "), l}, nil
}

func (o *owner) close() { o.listener.Close() }

// stale reports whether label belongs to a dead process of this machine. In doubt it reports
// false.
func stale(ctx context.Context, label string) bool {
	parts := strings.Fields(label)
	machine, err := os.Hostname()
	if err != nil || len(parts) != 3 || parts[0] != machine {
		return false
	}
	dialer := net.Dialer{Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", parts[1])
	if err != nil {
		return ctx.Err() == nil && !isTimeout(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(time.Second))
	word, err := io.ReadAll(io.LimitReader(conn, 64))
	return !isTimeout(err) && string(word) != parts[2]
}

func isTimeout(err error) bool {
	t, ok := err.(net.Error)
	return ok && t.Timeout()
}
