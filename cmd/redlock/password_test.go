package main

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/internal/long"
)

// No part of what may be a password is printed, whatever is wrong with the URL of a
// server, in a flag, alone in a variable, and as one of several.
func TestURLHidesPassword(t *testing.T) {
	long.Test(t)
	wrong, failed := 0, 0
	check := func(t *testing.T, secret, url string, code int, stdout, stderr string) {
		t.Helper()
		if part := leak(stdout+stderr, secret); part != "" {
			t.Errorf("%q: %q shows %q", url, stderr, part)
		}
		if stdout != "" || !strings.HasPrefix(stderr, "redlock: ") || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: stdout %q, stderr %q, want one line on stderr", url, stdout, stderr)
		}
		switch code {
		case exitUsage:
			wrong++
		case exitFailed:
			failed++
		default:
			t.Errorf("%q: exit code %d", url, code)
		}
	}
	for _, secret := range secrets() {
		for _, url := range secretURLs(secret) {
			t.Setenv("REDLOCK_NODES", "")
			if strings.Contains(secret, ",") && !strings.Contains(url, "@") {
				continue // the rest of the password is a valid host name
			}
			code, stdout, stderr := inProcess("end-quarantine", "--node", url)
			check(t, secret, url, code, stdout, stderr)
			code, stdout, stderr = inProcess("end-quarantine", "--node", "127.0.0.1:2", "--node", url)
			check(t, secret, url, code, stdout, stderr)
			if code == exitUsage && !strings.Contains(secret+url, ",") && !strings.Contains(stderr, "--node: entry 2 of 2: ") {
				t.Errorf("%q: %q does not say which entry is wrong", url, stderr)
			}
			if strings.Contains(url, "\x00") || strings.ContainsAny(secret, ", \n") && !strings.Contains(url, "@") {
				continue // no variable can hold it; or the rest of the password is a valid host name
			}
			for _, nodes := range []string{url, "127.0.0.1:2," + url, "127.0.0.1:2 " + url + "\n127.0.0.1:3"} {
				t.Setenv("REDLOCK_NODES", nodes)
				code, stdout, stderr := inProcess("end-quarantine")
				check(t, secret, nodes, code, stdout, stderr)
			}
		}
	}
	if wrong < 1000 || failed < 100 {
		t.Errorf("%d times the usage was wrong and %d times the servers failed: the table is not what it should be", wrong, failed)
	}
}

// An entry is named by its position, and the error says what to do.
func TestEntryErrors(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	for _, tt := range []struct{ nodes, says string }{
		{"redis://:Zq7,Xv9Kw3J@h", "REDLOCK_NODES: entry 1 of 2: the URL does not parse: "},
		{"redis://:Zq7,Xv9Kw3J@h", "in a password, write , as %2C"},
		{"redis://u:12,Xv9Kw3J@h", "REDLOCK_NODES: entry 2 of 2: the URL has an @ and no scheme: write redis://USER:PASSWORD@HOST:PORT"},
		{"redis://u:12 Xv9 Kw3J@h", "REDLOCK_NODES: entry 3 of 3: the URL has an @ and no scheme"},
		{"h:6379,password=Zq7Xv9Kw3J", "REDLOCK_NODES: entry 2 of 2: the URL has a host or port that cannot be one"},
		{"h1,h2,redis://:Zq7#Xv9Kw3J@h3", "entry 3 of 3: the URL does not parse: want redis://, rediss:// or unix://, and in a user name or password, write @ as %40"},
		{"redis://:Zq7@Xv9Kw3J@h", "REDLOCK_NODES: the URL has more than one @"},
		{"redis://user:12#Zq7Xv9Kw3J@h", "REDLOCK_NODES: the URL has a fragment: in a user name or password, write "},
		{"redis://:48361", "REDLOCK_NODES: the URL has a port and no host: write redis://localhost:PORT"},
	} {
		t.Run(tt.nodes, func(t *testing.T) {
			t.Setenv("REDLOCK_NODES", tt.nodes)
			code, _, stderr := inProcess("end-quarantine")
			if code != exitUsage || !strings.Contains(stderr, tt.says) {
				t.Errorf("code %d, stderr %q, want %q", code, stderr, tt.says)
			}
			if part := leak(stderr, secret) + leak(stderr, "48361"); part != "" {
				t.Errorf("stderr %q shows %q", stderr, part)
			}
		})
	}
}

// A URL or a password in the wrong place is not printed either.
func TestArgumentsHidePassword(t *testing.T) {
	const secret = "Zq7Xv9Kw3J"
	const url = "redis://:" + secret + "@127.0.0.1:1"
	run := []string{"run", "--node", "127.0.0.1:1", "--wait", "0"}
	for i, tt := range []struct {
		env, value string
		args       []string
		says       string
	}{
		{args: []string{url}, says: "there is no command (not shown"},
		{args: []string{"help", url}, says: "there is no command (not shown"},
		{args: []string{"end-quarantine", url}, says: "end-quarantine takes no argument, but was given (not shown"},
		{args: []string{"version", "user:" + secret + "@h"}, says: "was given (not shown"},
		{args: []string{"demo", "h:1,password=" + secret}, says: "was given (not shown"},
		{args: []string{"completion", "bash", url}, says: "wrong arguments"},
		{args: []string{"run", url, "job", "--", "true"}, says: `there are 2: (not shown, because it may contain a password), "job"`},
		{args: []string{"run", url, "job"}, says: "redlock run NAME -- COMMAND"},
		{args: []string{"run", "job", url}, says: "redlock run NAME -- COMMAND"},
		{args: []string{"run", url, "--", "true"}, says: "the URL of a server, which belongs into --node"},
		{args: []string{"run", "REDIS://user:" + secret, "--", "true"}, says: "the URL of a server, which belongs into --node"},
		{args: []string{"run", "-p" + secret, "job", "--", "true"}, says: "unknown flag: -p;"},
		{args: []string{"run", "-qN" + url, "job", "--", "true"}, says: "unknown flag: -N;"},
		{args: []string{"run", "--" + url, "job", "--", "true"}, says: "unknown flag: (not shown"},
		{args: []string{"run", "--password=" + secret, "job", "--", "true"}, says: "unknown flag: --password;"},
		{args: []string{"run", "--=" + url, "job", "--", "true"}, says: "a flag is written --NAME"},
		{args: []string{"run", "--wait", url, "job", "--", "true"}, says: "invalid argument for --wait: (not shown"},
		{args: []string{"run", "--ttl", url, "job", "--", "true"}, says: "invalid argument for --ttl: (not shown"},
		{args: []string{"run", "--quiet=" + url, "job", "--", "true"}, says: "invalid argument for --quiet: (not shown"},
		{args: slices.Concat(run, []string{"job", "--", url}), says: "there is no command (not shown"},
		{args: slices.Concat(run, []string{"job", "--", "mysql -p" + secret}), says: "a line of shell needs a shell"},
		{env: "REDIS_HOST", value: url, args: []string{"end-quarantine"}, says: "REDIS_HOST is no host name"},
		{env: "REDIS_HOST", value: secret + "@127.0.0.1", args: []string{"end-quarantine"}, says: "REDIS_HOST is no host name"},
		{env: "REDIS_HOST", value: "h:1,password=" + secret, args: []string{"end-quarantine"}, says: "REDIS_HOST is no host name"},
		{env: "REDIS_PORT", value: "1,password=" + secret, args: []string{"end-quarantine"}, says: "REDIS_PORT is no port number"},
		{env: "REDIS_PORT", value: "tcp://:" + secret + "@127.0.0.1:1", args: []string{"end-quarantine"}, says: "127.0.0.1:1: connection refused"},
		{env: "REDIS_DB", value: "0@" + secret, args: []string{"end-quarantine"}, says: "REDIS_DB is no database number"},
		{env: "REDLOCK_QUARANTINE", value: url, args: slices.Concat(run, []string{"job", "--", "true"}), says: "REDLOCK_QUARANTINE is (not shown"},
	} {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			if tt.env != "" {
				t.Setenv(tt.env, tt.value)
			}
			code, stdout, stderr := inProcess(tt.args...)
			if code == 0 || stdout != "" || !strings.Contains(stderr, tt.says) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("code %d, stdout %q, stderr %q, want one line with %q", code, stdout, stderr, tt.says)
			}
			if part := leak(stderr, secret); part != "" {
				t.Errorf("%q shows %q", stderr, part)
			}
		})
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
