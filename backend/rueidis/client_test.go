package rueidis

import (
	"errors"
	"slices"
	"strings"
	"syscall"
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
		t.Error("a closed client still works")
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

		"redis+sentinel://h":            "lacks a valid master_name",
		"rediss://h?tls_ca=/no/such":    "a file in tls_ca that does not exist",
		"redis://u@h?password_file=/no": "a file in password_file that does not exist",
	} {
		client, err := NewClient(url)
		if err == nil || client != nil || !strings.HasPrefix(err.Error(), "rueidis: the URL ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, %v, want an error that contains %q", url, client, err, want)
		}
	}
}

func TestParseSeveralAddresses(t *testing.T) {
	o, err := parse("rediss+sentinel://u:p@h1/2?master_name=m&addr=h2:7&sentinel_username=su&sentinel_password=sp&tls_server_name=n")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.InitAddress, []string{"h1:26379", "h2:7"}) || o.Username != "u" || o.Password != "p" || o.SelectDB != 2 || o.TLSConfig.ServerName != "n" {
		t.Errorf("got %q, user %q, password %q, database %d, TLS for %q", o.InitAddress, o.Username, o.Password, o.SelectDB, o.TLSConfig.ServerName)
	}
	s := o.Sentinel
	if s.MasterSet != "m" || s.Username != "su" || s.Password != "sp" || s.TLSConfig != o.TLSConfig || s.Dialer.Timeout == 0 || o.ForceSingleClient {
		t.Errorf("sentinels: %+v", s)
	}
	o, err = parse("redis+cluster://:p@h1?addr=h2:7")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(o.InitAddress, []string{"h1:6379", "h2:7"}) || o.Password != "p" || o.TLSConfig != nil || o.Sentinel.MasterSet != "" || o.ForceSingleClient {
		t.Errorf("a Cluster: %+v", o)
	}
}

// The driver connects when it makes a client for several addresses. If none answers, its
// error shows no password.
func TestSeveralAddressesDown(t *testing.T) {
	for _, url := range []string{
		"redis+sentinel://u:Zq7Xv9Kw3J@127.0.0.1:1?master_name=m&sentinel_password=Zq7Xv9Kw3J", "redis+cluster://u:Zq7Xv9Kw3J@127.0.0.1:1",
	} {
		client, err := NewClient(url)
		if err == nil || client != nil || !errors.Is(err, syscall.ECONNREFUSED) || leak(err.Error(), "Zq7Xv9Kw3J") != "" {
			t.Errorf("%s: %v, %v, want a refused connection", url, client, err)
		}
	}
}
