package rueidis

import (
	"strings"
	"testing"
	"time"
)

func TestNewClientDoesNoIO(t *testing.T) {
	f := newFake(t, nil)
	client, err := NewClient("redis://user:p%40ss@" + f.address + "/3")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if f.connections() != 0 {
		t.Error("NewClient connected")
	}
	n := New(client)
	if n.Name() != f.address {
		t.Errorf("name %q, want %q", n.Name(), f.address)
	}
	if ok, err := n.SetNX(soon(t), "key", "token", time.Second); !ok || err != nil {
		t.Errorf("SetNX: %v, %v", ok, err)
	}
	if got, want := strings.Join(f.await(t, "HELLO"), " "), "HELLO 3 AUTH user p@ss"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := strings.Join(f.await(t, "SELECT"), " "), "SELECT 3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, unwanted := range []string{"CLUSTER", "SUBSCRIBE"} {
		if f.count(unwanted) > 0 {
			t.Errorf("%s sent", unwanted)
		}
	}
	client.Close()
	if _, err := n.SetNX(soon(t), "key", "token", time.Second); err == nil {
		t.Error("a closed client works")
	}
}

func TestParse(t *testing.T) {
	for _, test := range []struct {
		url, address, user, password string
		db                           int
		tls                          string
	}{
		{url: "", address: "localhost:6379"},
		{url: "redis://", address: "localhost:6379"},
		{url: "redis://h", address: "h:6379"},
		{url: "REDIS://u:p%2F%3a@h:1/2", address: "h:1", user: "u", password: "p/:", db: 2},
		{url: "redis://:p@[::1]:1?db=3", address: "[::1]:1", password: "p", db: 3},
		{url: "redis://h/", address: "h:6379"},
		{url: "rediss://h:1", address: "h:1", tls: "h"},
		{url: "unix:///a/b.sock", address: "/a/b.sock"},
		{url: "unix://u:p@/a/b.sock?db=4", address: "/a/b.sock", user: "u", password: "p", db: 4},
	} {
		o, err := parse(test.url)
		if err != nil {
			t.Errorf("%q: %v", test.url, err)
			continue
		}
		if len(o.InitAddress) != 1 || o.InitAddress[0] != test.address || o.Username != test.user || o.Password != test.password || o.SelectDB != test.db {
			t.Errorf("%q: %q, user %q, password %q, database %d", test.url, o.InitAddress, o.Username, o.Password, o.SelectDB)
		}
		if name := ""; o.TLSConfig != nil {
			if name = o.TLSConfig.ServerName; name != test.tls {
				t.Errorf("%q: TLS for %q", test.url, name)
			}
		} else if test.tls != "" {
			t.Errorf("%q: no TLS", test.url)
		}
	}
}

func TestBadURL(t *testing.T) {
	for url, want := range map[string]string{
		"http://u:p@h/":         "unknown scheme",
		"redis://u@h":           "user without a password",
		"redis://h?pool_size=5": "unknown parameter",
	} {
		client, err := NewClient(url)
		if err == nil || client != nil || !strings.HasPrefix(err.Error(), "rueidis: the URL ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error that says %q", url, client, err, want)
		}
	}
}
