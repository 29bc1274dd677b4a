package rueidis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/quorumlock/quorumlock/backend"
)

// No error shows any part of a possible password, whatever is wrong with the URL. The same holds
// for a node whose server cannot be reached. See also the tests of adapterkit.ParseURL.
func TestURLHidesPassword(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	accepted, rejected := 0, 0
	for _, url := range []string{
		"redis://user:%s@127.0.0.1:1", "redis://:%s@127.0.0.1:1/0", "rediss://:%s@127.0.0.1:1", "unix://user:%s@/no/such.sock?db=1",
		"redis://:%s", "redis://%s@127.0.0.1:1", "redis://127.0.0.1:1?password=%s", "redis://127.0.0.1:1?%s=1", "redis://127.0.0.1:1?db=1&pool_size=%s",
		"redis+sentinel://127.0.0.1:1?master_name=m&addr=%s@", "redis://127.0.0.1:1?password_file=%s", "rediss://127.0.0.1:1?tls_ca=%s",
	} {
		url = strings.ReplaceAll(url, "%s", secret)
		client, err := NewClient(url)
		if err != nil {
			rejected++
			if !strings.HasPrefix(err.Error(), "rueidis: the URL ") {
				t.Errorf("%q: the error does not mention the URL: %v", url, err)
			}
			if part := leak(err.Error(), secret); part != "" {
				t.Errorf("%q: the error shows %q: %v", url, part, err)
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
	if accepted != 4 || rejected != 8 {
		t.Errorf("%d URLs were accepted and %d rejected, want 4 and 8", accepted, rejected)
	}
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

// The same holds if the address is a URL by mistake.
func TestAddressHidesPassword(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	for _, address := range []string{
		"redis://:" + secret + "@127.0.0.1:1", "user:" + secret + "@127.0.0.1:1", secret + "@127.0.0.1:1", "127.0.0.1:1,password=" + secret, "user:" + secret,
	} {
		t.Run(address, func(t *testing.T) {
			// As with NewClient, the client connects at the first use.
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
				t.Errorf("error %v, want one that shows the form of an address and wraps the driver's error", err)
			}
		})
	}
}
