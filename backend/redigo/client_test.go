package redigo

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
)

func TestParseURL(t *testing.T) {
	for _, test := range []struct {
		url  string
		want target
	}{
		{"", target{network: "tcp", address: "localhost:6379"}},
		{"redis://", target{network: "tcp", address: "localhost:6379"}},
		{"redis://h", target{network: "tcp", address: "h:6379"}},
		{"redis://h:1/", target{network: "tcp", address: "h:1"}},
		{"redis://h/3", target{network: "tcp", address: "h:6379", db: 3}},
		{"redis://h?db=3", target{network: "tcp", address: "h:6379", db: 3}},
		{"redis://h/3?db=3", target{network: "tcp", address: "h:6379", db: 3}},
		{"redis://[::1]:7/0", target{network: "tcp", address: "[::1]:7"}},
		{"redis://[::1]", target{network: "tcp", address: "[::1]:6379"}},
		{"redis://:p%40s%2Fs@h", target{network: "tcp", address: "h:6379", password: "p@s/s"}},
		{"rediss://u%3A:p@h", target{network: "tcp", address: "h:6379", tls: true, user: "u:", password: "p"}},
		{"unix:///a/b.sock", target{network: "unix", address: "/a/b.sock"}},
		{"unix://u:p@/a/b%40c.sock?db=2", target{network: "unix", address: "/a/b@c.sock", user: "u", password: "p", db: 2}},
	} {
		got, err := parseURL(test.url)
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
		} else if *got != test.want {
			t.Errorf("%q: got %+v, want %+v", test.url, *got, test.want)
		}
	}
}

func TestNewPoolRejects(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"http://u:secret@h/", "unknown scheme"},
		{"localhost:6379", "unknown scheme"},
		{"127.0.0.1:6379", "want redis://"},
		{"/a.sock", "no scheme"},
		{"u:secret@h:6379", "want redis://"},
		{"redis:h", "slashes"},
		{"redis://u@h", "user without a password"},
		{"redis://u:@h", "user without a password"},
		{"redis://h/x", "database number"},
		{"redis://h/-1", "database number"},
		{"redis://h/0/1", "database number"},
		{"redis://h/1?db=2", "more than one database"},
		{"redis://h?db=1&db=2", "more than one database"},
		{"redis://h?password=secret", "unknown parameter"},
		{"redis://h:x", "does not parse"},
		{"redis://u:sec#ret@h", "%23"},
		{"redis://u:sec/ret@h", "%2F"},
		{"redis://u:12/secret@h", "%40"},
		{"redis://u:a@b/secret@h", "%40"},
		{"redis://u:12?secret@h", "%40"},
		{"redis://u:12#secret@h", "%23"},
		{"redis://u:sec%ret@h", "%25"},
		{"redis://u:sec@ret@h", "%40"},
		{"redis://:6379", "a port and no host"},
		{"redis://h:65536", "host or port"},
		{"redis://password=secret", "host or port"},
		{"unix://u:p@/a/b@c.sock", "%40"},
		{"unix://a.sock", "unix:///"},
		{"unix://", "unix:///"},
	} {
		p, err := NewPool(test.url)
		if err == nil || p != nil {
			t.Errorf("%q: got %v, %v, want an error", test.url, p, err)
			continue
		}
		if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %q, want it to say %q", test.url, err, test.want)
		}
		for _, part := range []string{"secret", "sec", "ret@"} {
			if strings.Contains(err.Error(), part) {
				t.Errorf("%q: the error shows %q of the password: %q", test.url, part, err)
			}
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

// A server that accepts and says nothing must not keep a dial beyond its
// context, not even during the TLS handshake.
func TestNewPoolHonoursContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() // it never accepts: the kernel does
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
