package goredis

import (
	"strings"
	"testing"
	"time"
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
