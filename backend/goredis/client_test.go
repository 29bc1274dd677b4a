package goredis

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/lua"
)

func TestNewClient(t *testing.T) {
	for _, test := range []struct {
		url, network, addr, user, password string
		db                                 int
		tls                                bool
	}{
		{url: "", network: "tcp", addr: "localhost:6379"},
		{url: "redis://", network: "tcp", addr: "localhost:6379"},
		{url: "redis://10.0.0.1", network: "tcp", addr: "10.0.0.1:6379"},
		{url: "REDIS://10.0.0.1:7000/3", network: "tcp", addr: "10.0.0.1:7000", db: 3},
		{url: "redis://10.0.0.1:7000?db=4", network: "tcp", addr: "10.0.0.1:7000", db: 4},
		{url: "redis://:p%40ss%2Fw%3Ard@h", network: "tcp", addr: "h:6379", password: "p@ss/w:rd"},
		{url: "rediss://u:p@h:1/2", network: "tcp", addr: "h:1", user: "u", password: "p", db: 2, tls: true},
		{url: "redis://[::1]:7000", network: "tcp", addr: "[::1]:7000"},
		{url: "unix:///run/redis.sock", network: "unix", addr: "/run/redis.sock"},
		{url: "unix://u:p@/run/redis.sock?db=5", network: "unix", addr: "/run/redis.sock", user: "u", password: "p", db: 5},
	} {
		c, err := NewClient(test.url)
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
			continue
		}
		defer c.Close()
		o := c.Options()
		if o.Network != test.network || o.Addr != test.addr || o.Username != test.user || o.Password != test.password ||
			o.DB != test.db || (o.TLSConfig != nil) != test.tls {
			t.Errorf("%q: got %s %s, user %q, password %q, db %d, TLS %v",
				test.url, o.Network, o.Addr, o.Username, o.Password, o.DB, o.TLSConfig != nil)
		}
		if !o.ContextTimeoutEnabled || o.MaxRetries != 0 {
			t.Errorf("%q: ContextTimeoutEnabled %v, MaxRetries %d", test.url, o.ContextTimeoutEnabled, o.MaxRetries)
		}
		if c.PoolStats().TotalConns != 0 {
			t.Errorf("%q: connected", test.url)
		}
	}
}

func TestNewClientParameters(t *testing.T) {
	c, err := NewClient("redis://h?max_retries=2&dial_timeout=7s&conn_max_idle_time=9s&read_timeout=1s&pool_size=5")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := c.Options()
	if o.MaxRetries != 2 || o.DialTimeout != 7*time.Second || o.ConnMaxIdleTime != 9*time.Second ||
		o.ReadTimeout != time.Second || o.PoolSize != 5 {
		t.Errorf("the parameters are lost: %+v", o)
	}
}

func TestNewClientErrors(t *testing.T) {
	for _, test := range []struct{ url, want string }{
		{"http://user:secret@host:1/", "unknown scheme"},
		{"redis://user:secret@host?db=1&color=secret", "unknown parameter, number 2"},
		{"redis://user:secret@host?pool_size=secret", "the parameter pool_size"},
		{"redis://secret@host", "user without a password"},
		{"rediss://host?tls_ca=secret", "a file in tls_ca that does not exist"},
		{"rediss://host?tls_ca=secret&color=secret", "unknown parameter, number 2"},
		{"rediss://host?tls_server_name=h&pool_size=5&min_idle_conns=secret", "the parameter min_idle_conns"},
		{"redis+cluster://:secret@host", "want NewUniversalClient"},
		{"redis+sentinel://host?master_name=m&color=secret", "unknown parameter, number 2"},
		{"redis+sentinel://host?master_name=m&password=secret", "unknown parameter, number 2"},
		{"redis+sentinel://host?master_name=m&route_by_latency=true", "unknown parameter, number 2"},
		{"redis+sentinel://host?master_name=m&pool_size=secret", "the parameter pool_size"},
	} {
		c, err := NewClient(test.url)
		if err == nil {
			t.Errorf("%q: no error", test.url)
			c.Close()
			continue
		}
		text := err.Error()
		if !strings.Contains(text, test.want) || !strings.HasPrefix(text, "goredis: ") {
			t.Errorf("%q: error %q does not contain %q", test.url, text, test.want)
		}
		for _, part := range []string{"sec", "ret"} {
			if strings.Contains(text, part) {
				t.Errorf("%q: error %q contains %q of the password", test.url, text, part)
			}
		}
	}
}

func TestNewClientSentinel(t *testing.T) {
	c, err := NewClient("rediss+sentinel://u:p@h1/2?master_name=m&addr=h2:7&sentinel_username=su&sentinel_password=sp&tls_server_name=n&pool_size=5&dial_timeout=7s")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := c.Options()
	if o.Addr != "FailoverClient" || o.Username != "u" || o.Password != "p" || o.DB != 2 || o.PoolSize != 5 || o.DialTimeout != 7*time.Second {
		t.Errorf("got %s, user %q, password %q, db %d, pool %d, dial timeout %v", o.Addr, o.Username, o.Password, o.DB, o.PoolSize, o.DialTimeout)
	}
	if o.TLSConfig == nil || o.TLSConfig.ServerName != "n" || !o.ContextTimeoutEnabled || o.MaxRetries != 0 || o.DialerRetries != 1 || o.ConnMaxIdleTime != 3*time.Minute {
		t.Errorf("settings: %+v", o)
	}
}

func TestNewUniversalClient(t *testing.T) {
	c, err := NewUniversalClient("rediss+cluster://u:p@h1?addr=h2:7&pool_size=5&read_timeout=2s")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	cluster, ok := c.(*redis.ClusterClient)
	if !ok {
		t.Fatalf("a %T, want a *redis.ClusterClient", c)
	}
	o := cluster.Options()
	if !slices.Equal(o.Addrs, []string{"h1:6379", "h2:7"}) || o.Username != "u" || o.Password != "p" || o.PoolSize != 5 || o.ReadTimeout != 2*time.Second {
		t.Errorf("got %q, user %q, password %q, pool %d, read timeout %v", o.Addrs, o.Username, o.Password, o.PoolSize, o.ReadTimeout)
	}
	if o.TLSConfig == nil || o.TLSConfig.ServerName != "" || !o.ContextTimeoutEnabled || o.DialerRetries != 1 || o.DialTimeout != 3*time.Second {
		t.Errorf("settings: %+v", o)
	}
	for _, url := range []string{"redis://h", "redis+sentinel://h?master_name=m"} {
		c, err := NewUniversalClient(url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, ok := c.(*redis.Client); !ok {
			t.Errorf("%s: a %T, want a *redis.Client", url, c)
		}
	}
	for _, url := range []string{"redis+cluster://h/1", "rediss+cluster://h?skip_verify=true", "redis+cluster://h?color=1"} {
		if c, err := NewUniversalClient(url); err == nil || c != nil || !strings.HasPrefix(err.Error(), "goredis: the URL ") {
			t.Errorf("%s: %v, %v, want an error", url, c, err)
		}
	}
}

// The check of certificates is off only if the URL says so.
func TestNewClientVerifies(t *testing.T) {
	for url, skip := range map[string]bool{"rediss://h": false, "rediss://h?tls_server_name=n": false, "rediss://h?skip_verify=true": true} {
		c, err := NewClient(url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.Options().TLSConfig.InsecureSkipVerify; got != skip {
			t.Errorf("%s: InsecureSkipVerify %v", url, got)
		}
	}
}

// A sentinel that does not know the master answers with a null reply. That is not the
// server's answer to a command: a SET NX would be reported as refused.
func TestSentinelWithoutMaster(t *testing.T) {
	sentinel := newFakeServer(t, func(args []string) string {
		if args[0] == "sentinel" {
			return "*-1\r\n"
		}
		return ""
	})
	client, err := NewClient("redis+sentinel://" + sentinel.addr() + "?master_name=m")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	node := New(client)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	check := func(what string, err error) {
		t.Helper()
		if err == nil || !backend.NotExecuted(err) || !strings.Contains(err.Error(), "sentinels") {
			t.Errorf("%s: error %v, want that of the sentinels, marked as not executed", what, err)
		}
	}
	_, err = node.SetNX(ctx, "k", "t", time.Second)
	check("SetNX", err)
	_, err = node.Eval(ctx, lua.Inspect, []string{"k", "k{k}:queue"}, nil)
	check("Eval", err)
	for i, r := range node.Batch(ctx, []backend.Op{
		{Kind: backend.OpSetNX, Key: "k", Token: "t", TTL: time.Second}, {Kind: backend.OpSetNX, Key: "l", Token: "t", TTL: time.Second},
	}) {
		check(fmt.Sprint("Batch ", i), r.Err)
	}
}
