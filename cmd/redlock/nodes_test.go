package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/backend/adapterkit"
)

// A password comes from the URL, from its file, from the flag, and from the environment,
// in this order.
func TestPasswords(t *testing.T) {
	file := func(text string) string { return writeFile(t, "password", text+"\n") }
	for name, tt := range map[string]struct {
		url  string
		flag string
		env  map[string]string
		user string
		want string
		err  string
	}{
		"none":                      {url: "h"},
		"environment":               {url: "h", env: map[string]string{"REDLOCK_PASSWORD": "e@,/"}, want: "e@,/"},
		"environment, with a user":  {url: "redis://u@h", env: map[string]string{"REDLOCK_PASSWORD": "e"}, user: "u", want: "e"},
		"file of the environment":   {url: "h", env: map[string]string{"REDLOCK_PASSWORD_FILE": file("ef")}, want: "ef"},
		"flag":                      {url: "h", flag: file("f"), env: map[string]string{"REDLOCK_PASSWORD": "e"}, want: "f"},
		"file of the URL":           {url: "redis://u@h?password_file=" + file("uf"), flag: file("f"), user: "u", want: "uf"},
		"URL":                       {url: "redis://:u@h", flag: file("f"), want: "u"},
		"user without a password":   {url: "redis://u@h", err: "REDLOCK_NODES: the URL has a user without a password"},
		"both of the environment":   {url: "h", env: map[string]string{"REDLOCK_PASSWORD": "e", "REDLOCK_PASSWORD_FILE": file("ef")}, err: "REDLOCK_PASSWORD and REDLOCK_PASSWORD_FILE are both set"},
		"missing file":              {url: "h", flag: "/no/such/file", err: "--password-file: the file does not exist"},
		"missing environment file":  {url: "h", env: map[string]string{"REDLOCK_PASSWORD_FILE": "/no/such/file"}, err: "REDLOCK_PASSWORD_FILE: the file does not exist"},
		"missing sentinel password": {url: "h", env: map[string]string{"REDLOCK_SENTINEL_PASSWORD_FILE": "/no/such/file"}, err: "REDLOCK_SENTINEL_PASSWORD_FILE: the file does not exist"},
		"empty file":                {url: "h", flag: file(""), err: "--password-file: the file has an empty line in place of a password"},
		"missing file of the URL":   {url: "redis://h?password_file=/no/such", err: "REDLOCK_NODES: the URL names a file in password_file that does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			env := map[string]string{"REDLOCK_NODES": tt.url}
			for k, v := range tt.env {
				env[k] = v
			}
			f := nodeFlags{passwordFile: tt.flag, timeout: defaultNodeTimeout}
			conn, err := f.connect(func(name string) (string, bool) { value, set := env[name]; return value, set })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer conn.close(0)
			if o := conn.clients[0].(*redis.Client).Options(); o.Password != tt.want || o.Username != tt.user {
				t.Errorf("user %q, password %q, want %q, %q", o.Username, o.Password, tt.user, tt.want)
			}
		})
	}
}

// The sentinels have a password of their own, which nothing else gets.
func TestSentinelPassword(t *testing.T) {
	d := defaults{password: "p", sentinelPassword: "s"}
	for entry, want := range map[string][2]string{
		"h":                                {"p", ""},
		"redis+sentinel://h?master_name=m": {"p", "s"},
		"valkey+sentinel://:q@h?master_name=m&sentinel_password=t":   {"q", "t"},
		"redis+sentinel://h?master_name=m&sentinel_password_file=/f": {"p", ""},
	} {
		u, err := parseEntry(entry, d)
		if err != nil || u.Password != want[0] || u.SentinelPassword != want[1] {
			t.Errorf("%s: %q, %q, %v, want %q", entry, u.Password, u.SentinelPassword, err, want)
		}
	}
}

// Lists that lead to the same servers have the same identity, whatever the order is. It is
// what a run inside the command of another one compares.
func TestIdentity(t *testing.T) {
	t.Parallel()
	hash := func(nodes string) string {
		t.Helper()
		f := nodeFlags{timeout: defaultNodeTimeout}
		conn, err := f.connect(func(name string) (string, bool) {
			if name != "REDLOCK_NODES" {
				return "", false
			}
			return nodes, true
		})
		if err != nil {
			t.Fatalf("%s: %v", nodes, err)
		}
		defer conn.close(0)
		return lockHash("k", conn.servers())
	}
	for _, same := range [][2]string{
		{"h", "redis://:p@h:6379/0"}, {"a b c", "c,b,a"},
		{"redis+sentinel://a?master_name=m&addr=b", "valkey+sentinel://b:26379/0?addr=a:26379&master_name=m"},
		{"redis+cluster://a?addr=b", "redis+cluster://:p@b?addr=a:6379"},
	} {
		if hash(same[0]) != hash(same[1]) {
			t.Errorf("%s and %s differ", same[0], same[1])
		}
	}
	for _, different := range [][2]string{
		{"h", "h/1"}, {"a", "b"}, {"a", "redis+cluster://a"}, {"a:26379", "redis+sentinel://a?master_name=m"},
		{"redis+sentinel://a?master_name=m", "redis+sentinel://a?master_name=n"}, {"redis+sentinel://a?master_name=m", "redis+sentinel://a/1?master_name=m"},
		{"redis+sentinel://a?master_name=m", "redis+sentinel://b?master_name=m"}, {"redis+cluster://a", "redis+cluster://b"},
	} {
		if hash(different[0]) == hash(different[1]) {
			t.Errorf("%s and %s are the same", different[0], different[1])
		}
	}
}

// A Sentinel set or a Cluster has a name that tells people which it is, and that is the
// same for every order of its addresses, so that none votes twice.
func TestNames(t *testing.T) {
	f := nodeFlags{urls: []string{"redis+sentinel://u:Zq7Xv9@b?master_name=m&addr=a", "redis+cluster://b?addr=a"}, timeout: defaultNodeTimeout}
	conn, err := f.connect(func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	defer conn.close(0)
	if got, want := strings.Join(conn.names, " and "), "m of a:26379,b:26379 and Cluster of a:6379,b:6379"; got != want {
		t.Errorf("names %q, want %q", got, want)
	}
	code, _, stderr := inProcess("end-quarantine", "--node", "redis+sentinel://b?master_name=m&addr=a", "--node", "redis+sentinel://a?master_name=m&addr=b")
	if code != exitUsage || !strings.Contains(stderr, "a node must not vote twice") {
		t.Errorf("code %d, stderr %q", code, stderr)
	}
}

// The list of servers is given in one place only.
func TestOneList(t *testing.T) {
	file := writeFile(t, "nodes", "a\nb\n")
	for name, tt := range map[string]struct {
		flags nodeFlags
		env   map[string]string
		want  string
		err   string
	}{
		"file":                   {nodeFlags{file: file}, map[string]string{"REDLOCK_NODES": "c", "REDLOCK_NODES_FILE": "/no"}, "a b", ""},
		"file in a variable":     {nodeFlags{}, map[string]string{"REDLOCK_NODES_FILE": file, "REDIS_HOST": "h"}, "a b", ""},
		"flag before a variable": {nodeFlags{urls: []string{"d"}}, map[string]string{"REDLOCK_NODES_FILE": file}, "d", ""},
		"both flags":             {nodeFlags{urls: []string{"d"}, file: file}, nil, "", "--node and --nodes-file are both given"},
		"both variables":         {nodeFlags{}, map[string]string{"REDLOCK_NODES": "c", "REDLOCK_NODES_FILE": file}, "", "REDLOCK_NODES and REDLOCK_NODES_FILE are both set"},
		"missing file":           {nodeFlags{}, map[string]string{"REDLOCK_NODES_FILE": "/no/such/file"}, "", "REDLOCK_NODES_FILE: the file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			got, _, err := tt.flags.find(func(name string) (string, bool) { value, set := tt.env[name]; return value, set })
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("error %v, want %q", err, tt.err)
				}
			} else if err != nil || strings.Join(got, " ") != tt.want {
				t.Errorf("%q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// The help names the parameters that a URL can have.
func TestServersHelp(t *testing.T) {
	_, help, _ := inProcess("help", "servers")
	u, err := adapterkit.ParseURL("rediss+sentinel://a?master_name=m&addr=b&tls_ca=x&tls_cert=x&tls_key=x&tls_server_name=x&password_file=x&sentinel_username=x&sentinel_password_file=x&db=1")
	if err != nil || len(u.Parameters) > 0 {
		t.Fatal(u.Parameters, err)
	}
	for _, parameter := range strings.Split(u.Query+"&sentinel_password=x", "&") {
		if name, _, _ := strings.Cut(parameter, "="); !strings.Contains(help, name) {
			t.Errorf("the help does not say what %s is", name)
		}
	}
}

// An empty variable names no server. It must not mean the one on this machine.
func TestEmptyVariables(t *testing.T) {
	for _, name := range []string{"REDLOCK_NODES", "REDLOCK_NODES_FILE"} {
		for _, value := range []string{"", " ,"} {
			if value != "" && name != "REDLOCK_NODES" {
				continue
			}
			t.Run(name+"="+value, func(t *testing.T) {
				t.Setenv(name, value)
				for _, tt := range []struct {
					args []string
					code int
				}{
					{[]string{"run", "job", "--", "true"}, runUsage},
					{[]string{"status", "job"}, exitUsage},
				} {
					code, _, stderr := inProcess(tt.args...)
					if want := name + " is set, but names no server"; code != tt.code || !strings.Contains(stderr, want) {
						t.Errorf("%q: exit code %d, want %d; stderr %q, want %q", tt.args, code, tt.code, stderr, want)
					}
				}
				code, _, stderr := inProcess("status", "--node", nobody(t), "job")
				if code != statusUnknown {
					t.Errorf("with --node: exit code %d, stderr %q", code, stderr)
				}
			})
		}
	}
}
