package backend_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
)

func TestPlainAddress(t *testing.T) {
	for _, address := range []string{
		"localhost", "localhost:6379", ":6379", "10.0.0.1:7000", "redis_1.example-2.org:1", "::1", "[::1]", "[::1]:7000", "[fe80::1%eth0]:1", "bücher.example:1",
	} {
		if !backend.PlainAddress(address) {
			t.Errorf("%q is not a plain address", address)
		}
	}
	for _, address := range []string{
		"redis://h", "redis://:pw@h:1", "user:pw@h:1", "pw@h", "user:pw", "h:1,password=pw", "password=pw", "h:1/0", "h:99999", "a b", "p:w:1", "h:pw:1", "[pw]:1",
		"[pw", "pw]", "h%41", "h\x1b:1", "h\xff", "h:-1", "[::1]pw",
	} {
		if backend.PlainAddress(address) {
			t.Errorf("%q is a plain address", address)
		}
	}
}

// The net package returns these errors if an address is something else that people write.
func TestHideAddress(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	dial := func(network, address string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		d := net.Dialer{Resolver: &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, errors.New("no name server in this test")
		}}}
		conn, err := d.DialContext(ctx, network, address)
		if err == nil {
			conn.Close()
			t.Fatalf("dialling %q worked", address)
		}
		return err
	}
	_, parse := url.Parse(strings.Join([]string{"redis://user:", secret}, ""))
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"a URL that does not parse":   {parse, "%40"},
		"a URL as the address":        {dial("tcp", "redis://:"+secret+"@h:1"), "too many colons"},
		"a password as the port":      {dial("tcp", "user:"+secret), "host:port"},
		"a password before the host":  {dial("tcp", secret+"@h:1"), "host:port"},
		"a connection string":         {dial("tcp", "h:1,password="+secret), "host:port"},
		"a password without a port":   {dial("tcp", secret), "missing port"},
		"a URL as the network":        {dial("redis://:"+secret+"@h", "h:1"), "unknown: want tcp or unix"},
		"an error that wraps another": {fmt.Errorf("dial %s: %w", secret, parse), "%40"},
	} {
		t.Run(name, func(t *testing.T) {
			if !strings.Contains(test.err.Error(), secret) {
				t.Fatalf("the driver's error does not contain the secret, so the test proves nothing: %v", test.err)
			}
			got := backend.HideAddress(test.err)
			if strings.Contains(got.Error(), secret) || !strings.Contains(got.Error(), test.want) {
				t.Errorf("got %q, want %q and no secret", got, test.want)
			}
			if !errors.Is(got, test.err) {
				t.Error("the driver's error cannot be reached")
			}
			if backend.NotExecuted(got) != backend.NotExecuted(test.err) {
				t.Error("the result of NotExecuted has changed")
			}
			if again := backend.HideAddress(got); again.Error() != got.Error() {
				t.Errorf("the second time: %q", again)
			}
		})
	}
}

func TestHideAddressKeepsOtherErrors(t *testing.T) {
	for _, err := range []error{
		nil,
		errors.New("NOPERM this user has no permissions"),
		&net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: "/a/b@c.sock"}, Err: errors.New("no such file or directory")},
		&net.DNSError{Err: "no such host", Name: "redis.example"},
		&url.Error{Op: "Get", URL: "https://h", Err: errors.New("refused")},
	} {
		if got := backend.HideAddress(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
