package rueidis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// whatToDo matches advice in an error.
var whatToDo = regexp.MustCompile(`: (want|write|see|in a user name or password, write) `)

// No part of what may be a password is shown, whatever is wrong with the URL.
func TestURLHidesPassword(t *testing.T) {
	accepted, rejected := 0, 0
	for _, secret := range secrets() {
		for _, url := range secretURLs(secret) {
			client, err := NewClient(url)
			if err != nil {
				rejected++
				if part := leak(err.Error(), secret); part != "" {
					t.Errorf("%q: the error shows %q: %v", url, part, err)
				}
				if !strings.HasPrefix(err.Error(), "rueidis: the URL ") || !whatToDo.MatchString(err.Error()) {
					t.Errorf("%q: the error does not say what to do: %v", url, err)
				}
				continue
			}
			accepted++
			node := New(client)
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			_, err = node.SetNX(ctx, "key", "token", time.Second)
			cancel()
			client.Close()
			if err == nil {
				t.Fatalf("%q: a server answered", url)
			}
			for _, text := range []string{node.Name(), err.Error()} {
				if part := leak(text, secret); part != "" {
					t.Errorf("%q: %q shows %q", url, text, part)
				}
			}
		}
	}
	if accepted < 100 || rejected < 1000 {
		t.Errorf("%d URLs were accepted and %d rejected: the table is not what it should be", accepted, rejected)
	}
}

// secretURLs returns URLs that hold the password secret, most of them malformed in a way
// that is easily written. Without a host to stop at, an @ in the password makes the rest
// of it a valid host name, so that case is left out.
func secretURLs(secret string) []string {
	var urls []string
	for _, shape := range []string{
		"redis://user:%s@127.0.0.1:1", "redis://:%s@127.0.0.1:1/0", "redis://%s@127.0.0.1:1", "rediss://:%s@127.0.0.1:1", "redis://user:12%s@127.0.0.1:1",
		"redis://user:%s@127.0.0.1:port", "redis://:%s@127.0.0.1:1/first", "redis://:%s@127.0.0.1:1/1/2", "redis://:%s@127.0.0.1:1?db=first",
		"redis://:%s@127.0.0.1:99999", "redis://:%s@[::1:1", "http://user:%s@127.0.0.1:1", "redis+tls://user:%s@127.0.0.1:1",
		"redis://127.0.0.1:1/%s",
		"redis://127.0.0.1:1?password=%s", "redis://127.0.0.1:1?%s", "redis://127.0.0.1:1?db=%s", "redis://127.0.0.1:1?db=1&%s=1", "redis://127.0.0.1:1#%s",
		"redis://127.0.0.1:1?pool_size=%s", "redis://127.0.0.1:1?dial_timeout=%s", "redis://127.0.0.1:1?pool_fifo=%s",
		"%s://127.0.0.1:1", "%s@127.0.0.1:1", ":%s@127.0.0.1:1", "user:%s@127.0.0.1:1", "redis:%s@127.0.0.1:1", "redis:/:%s@127.0.0.1:1", "redis:///:%s@127.0.0.1:1",
		"unix://:%s@/no/such.sock", "unix://user:%s@/no/such.sock?db=1", "unix://user:%s@no/such.sock", "unix:///:%s@/no/such.sock",
	} {
		urls = append(urls, strings.ReplaceAll(shape, "%s", secret))
	}
	if !strings.Contains(secret, "@") {
		for _, shape := range []string{
			"redis://user:", "redis://:", "rediss://:", "user:", ":", "http://:", "redis:", "unix://:",
			"redis://127.0.0.1:1,password=", "127.0.0.1:1,password=", "redis://127.0.0.1:", "redis://127.0.0.1:1", "redis://password=",
		} {
			urls = append(urls, shape+secret)
		}
	}
	return urls
}

// secrets returns passwords of which no three characters occur in any message.
func secrets() []string {
	list := []string{"Zq7Xv9Kw3J", "748361"}
	special := []string{"@", "#", "/", "?", ":", "%", "%zz", "%2", ",", ";", "=", "&", "+", " ", "\"", "'", "\\", "<", "[", "]", "{", "|", "^", "!", "$", "(", "*", "~",
		"://", "\x1b", "\n", "\x00", "\xff", "é", "@/", "/@", "#@", "?@", ":@", "@:", "@@", "@[", "/1@"}
	for _, c := range special {
		list = append(list, "Zq7Xv9"+c+"Kw3J", c+"Zq7Xv9Kw3", "Zq7Xv9Kw3"+c, "Zq7"+c+"Xv9"+c+"Kw3")
	}
	return list
}

// leak returns a part of secret that text shows, or "".
func leak(text, secret string) string {
	text, secret = strings.ToLower(text), strings.ToLower(secret)
	for i := range len(secret) - 2 {
		part := secret[i : i+3]
		if strings.ContainsAny(part, "zq7xv9kw3j486") && strings.Contains(text, part) {
			return part
		}
	}
	return ""
}

// Nor is it where somebody wrote a URL in place of the address.
func TestAddressHidesPassword(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	for _, address := range []string{
		"redis://:" + secret + "@127.0.0.1:1", "user:" + secret + "@127.0.0.1:1", secret + "@127.0.0.1:1", "127.0.0.1:1,password=" + secret, "user:" + secret,
	} {
		t.Run(address, func(t *testing.T) {
			// As in NewClient: a client that connects when it is used.
			var made atomic.Bool
			client, err := rueidis.NewClient(rueidis.ClientOption{
				InitAddress: []string{address}, ForceSingleClient: true, DisableCache: true, DisableRetry: true,
				DialCtxFn: func(ctx context.Context, address string, dialer *net.Dialer, _ *tls.Config) (net.Conn, error) {
					if !made.Load() {
						return nil, rueidis.ErrClosing
					}
					return dialer.DialContext(ctx, "tcp", address)
				},
			})
			made.Store(true)
			if client == nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			node := New(client)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, err = node.SetNX(ctx, "key", "token", time.Second)
			subscribed := node.Subscribe(ctx, "channel", backend.Events{})
			if err == nil || subscribed == nil {
				t.Fatal("a server answered")
			}
			for _, text := range []string{node.Name(), err.Error(), subscribed.Error()} {
				if part := leak(text, secret); part != "" {
					t.Errorf("%q shows %q", text, part)
				}
			}
			var dial *net.OpError
			if !strings.Contains(err.Error(), "host:port") || !errors.As(err, &dial) || !backend.NotExecuted(err) {
				t.Errorf("error %v, want it to name the form of an address, with the driver's error in its chain", err)
			}
		})
	}
}
