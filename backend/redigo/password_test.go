package redigo

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gomodule/redigo/redis"

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
		"redis+sentinel://u:%s@127.0.0.1:1?master_name=m&sentinel_password=%s", "redis://127.0.0.1:1?password_file=%s", "rediss://127.0.0.1:1?tls_ca=%s",
	} {
		url = strings.ReplaceAll(url, "%s", secret)
		pool, err := NewPool(url)
		if err != nil {
			rejected++
			if !strings.HasPrefix(err.Error(), "redigo: the URL ") {
				t.Errorf("%q: the error does not mention the URL: %v", url, err)
			}
			if part := leak(err.Error(), secret); part != "" {
				t.Errorf("%q: the error shows %q: %v", url, part, err)
			}
			continue
		}
		accepted++
		node := New(pool)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		_, err = node.SetNX(ctx, "key", "token", time.Second)
		cancel()
		_ = pool.Close()
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

// The same holds for a pool that dials a wrong address.
func TestPoolHidesPassword(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	dials := make(map[string]func(context.Context) (redis.Conn, error))
	for _, address := range []string{
		"redis://:" + secret + "@127.0.0.1:1", "user:" + secret + "@127.0.0.1:1", secret + "@127.0.0.1:1", "127.0.0.1:1,password=" + secret, "user:" + secret,
	} {
		dials["address "+address] = func(ctx context.Context) (redis.Conn, error) { return redis.DialContext(ctx, "tcp", address) }
	}
	for _, url := range []string{
		"redis://user:" + secret, "redis://:" + secret + "/@127.0.0.1:1", "redis:" + secret + "@127.0.0.1:1",
		"redis://127.0.0.1:1/" + secret, "redis://:%zz" + secret + "@127.0.0.1:1", secret + "://127.0.0.1:1",
	} {
		dials["URL "+url] = func(ctx context.Context) (redis.Conn, error) { return redis.DialURLContext(ctx, url) }
	}
	for name, dial := range dials {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			_, plain := dial(ctx)
			if plain == nil || leak(plain.Error(), secret) == "" {
				t.Fatalf("the driver's error does not contain the secret, so the test proves nothing: %v", plain)
			}
			pool := &redis.Pool{DialContext: dial}
			t.Cleanup(func() { _ = pool.Close() })
			node := New(pool)
			_, err := node.SetNX(ctx, "key", "token", time.Second)
			subscribed := node.Subscribe(ctx, "channel", backend.Events{})
			if err == nil || subscribed == nil {
				t.Fatal("a server answered")
			}
			batch := node.Batch(ctx, []backend.Op{{Kind: backend.OpSetNX, Key: "key", Token: "token", TTL: time.Second}})
			for _, text := range []string{node.Name(), err.Error(), subscribed.Error(), batch[0].Err.Error()} {
				if part := leak(text, secret); part != "" {
					t.Errorf("%q shows %q", text, part)
				}
			}
			var dialled *net.OpError
			if strings.HasPrefix(name, "address") && (!errors.As(err, &dialled) || !strings.Contains(err.Error(), "host:port")) {
				t.Errorf("error %v, want one that shows the form of an address and wraps the driver's error", err)
			}
		})
	}
}
