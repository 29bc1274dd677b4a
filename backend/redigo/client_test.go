package redigo

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
)

func TestNewPoolRejects(t *testing.T) {
	for url, want := range map[string]string{
		"http://u:p@h/":         "unknown scheme",
		"redis://u@h":           "user without a password",
		"redis://h?pool_size=5": "unknown parameter",

		"redis+sentinel://h?master_name=m": "which redigo does not support",
		"redis+cluster://h":                "which redigo does not support",
		"rediss://h?tls_ca=/no/such":       "a file in tls_ca that does not exist",
		"redis://u@h?password_file=/no":    "a file in password_file that does not exist",
	} {
		p, err := NewPool(url)
		if err == nil || p != nil || !strings.HasPrefix(err.Error(), "redigo: the URL ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error that contains %q", url, p, err, want)
		}
	}
}

func TestNewPoolDials(t *testing.T) {
	var got []string
	s := serve(t, func(_ int, args []string) string {
		got = append(got, strings.Join(args, " "))
		return "+OK\r\n"
	})
	p, err := NewPool("redis://u:p%40@" + s.addr + "/3")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if s.dialled() != 0 {
		t.Error("NewPool dialled")
	}
	if err := ping(t.Context(), New(p)); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(got, ", "), "AUTH u p@, SELECT 3, PING"; got != want {
		t.Errorf("the server received %q, want %q", got, want)
	}
}

// A server that accepts and stays silent must not keep a dial beyond its context, not even during
// the TLS handshake.
func TestNewPoolHonoursContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // never accepts; the kernel does
	addr := l.Addr().String()
	for _, url := range []string{"rediss://" + addr, "redis://:p@" + addr, "redis://" + addr + "/1"} {
		p, err := NewPool(url)
		if err != nil {
			t.Fatal(err)
		}
		soon(t, "GetContext", func() {
			c, err := p.GetContext(short(t))
			if err == nil {
				_ = c.Close()
				t.Errorf("%s: got a connection", url)
			}
			if err := backend.MarkTimeout(err); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%s: got %v, want %v", url, err, context.DeadlineExceeded)
			}
		})
		_ = p.Close()
	}
}
