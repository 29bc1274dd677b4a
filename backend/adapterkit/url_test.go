package adapterkit

import (
	"errors"
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/quorumlock/quorumlock/backend"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]URL{
		"":                                      {Network: "tcp", Address: "localhost:6379", Host: "localhost"},
		"redis://":                              {Network: "tcp", Address: "localhost:6379", Host: "localhost"},
		"redis://10.0.0.1":                      {Network: "tcp", Address: "10.0.0.1:6379", Host: "10.0.0.1"},
		"REDIS://10.0.0.1:7000/3":               {Network: "tcp", Address: "10.0.0.1:7000", Host: "10.0.0.1", DB: 3},
		"redis://10.0.0.1:7000?db=4":            {Network: "tcp", Address: "10.0.0.1:7000", Host: "10.0.0.1", DB: 4},
		"redis://10.0.0.1:7000/4?db=4":          {Network: "tcp", Address: "10.0.0.1:7000", Host: "10.0.0.1", DB: 4},
		"redis://10.0.0.1/":                     {Network: "tcp", Address: "10.0.0.1:6379", Host: "10.0.0.1"},
		"redis://:p%40ss%2Fw%3Ard@h":            {Network: "tcp", Address: "h:6379", Host: "h", Password: "p@ss/w:rd"},
		"rediss://u:p@h:1/2":                    {Network: "tcp", Address: "h:1", Host: "h", TLS: true, User: "u", Password: "p", DB: 2},
		"redis://[::1]:7000":                    {Network: "tcp", Address: "[::1]:7000", Host: "::1"},
		"redis://h?pool_size=5&db=1&pool_x=%20": {Network: "tcp", Address: "h:6379", Host: "h", DB: 1, Parameters: url.Values{"pool_size": {"5"}, "pool_x": {" "}}},
		"unix:///run/redis.sock":                {Network: "unix", Address: "/run/redis.sock"},
		"unix://u:p@/run/redis.sock?db=5":       {Network: "unix", Address: "/run/redis.sock", User: "u", Password: "p", DB: 5},

		"redis://u@h?password_file=/p": {Network: "tcp", Address: "h:6379", Host: "h", User: "u", PasswordFile: "/p"},
		"rediss://h?tls_ca=/ca&tls_cert=/c&tls_key=/k&tls_server_name=n&pool_size=5": {Network: "tcp", Address: "h:6379", Host: "h", TLS: true,
			CAFile: "/ca", CertFile: "/c", KeyFile: "/k", ServerName: "n", Parameters: url.Values{"pool_size": {"5"}}},

		"redis+sentinel://?master_name=m": {Network: "tcp", Address: "localhost:26379", Addresses: []string{"localhost:26379"}, MasterName: "m"},
		"redis+sentinel://u:p@a/2?master_name=my.Master-1_&addr=b&addr=c:7&addr=b:26379&addr=[::1]:8&sentinel_username=su&sentinel_password=%2Fs": {
			Network: "tcp", Address: "a:26379", Addresses: []string{"a:26379", "b:26379", "c:7", "[::1]:8"}, MasterName: "my.Master-1_",
			User: "u", Password: "p", DB: 2, SentinelUser: "su", SentinelPassword: "/s"},
		"rediss+sentinel://a?master_name=m&tls_ca=/ca&sentinel_password_file=/s": {Network: "tcp", Address: "a:26379", TLS: true,
			Addresses: []string{"a:26379"}, MasterName: "m", CAFile: "/ca", SentinelPasswordFile: "/s"},
		"redis+cluster://a/0":                       {Network: "tcp", Address: "a:6379", Addresses: []string{"a:6379"}, Cluster: true},
		"REDISS+CLUSTER://:p@a:1?addr=b&addr=c%3A2": {Network: "tcp", Address: "a:1", TLS: true, Addresses: []string{"a:1", "b:6379", "c:2"}, Cluster: true, Password: "p"},
	} {
		if want.Parameters == nil {
			want.Parameters = url.Values{}
		}
		_, want.Query, _ = strings.Cut(raw, "?")
		if got, err := ParseURL(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", raw, got, err, want)
		}
	}
}

func TestParseURLRejects(t *testing.T) {
	for raw, want := range map[string]string{
		"http://user:secret@host:1/":              "unknown scheme",
		"redis+sentinel://:secret@host/?x=secret": "lacks a valid master_name",
		"redis+sentinels://:secret@host":          "unknown scheme",
		"redis+://:secret@host":                   "unknown scheme",
		"unix+sentinel://:secret@/sock":           "unknown scheme",

		"redis+sentinel://:secret@host?master_name=a%20secret":                               "lacks a valid master_name",
		"redis+sentinel://host?master_name=m&master_name=secret":                             "master_name more than once",
		"redis+sentinel://host?master_name=m&addr=host2:secret":                              "an addr that cannot be an address: want addr=host:26379",
		"redis+sentinel://host?master_name=m&addr=":                                          "an addr that cannot be",
		"redis+sentinel://h1,h2?master_name=m":                                               "a host or port that cannot be one",
		"redis+sentinel://host:secret?master_name=m":                                         "does not parse",
		"redis+sentinel://host?master_name=m&sentinel_username=secret":                       "sentinel_username without a password",
		"redis+sentinel://host?master_name=m&sentinel_password=":                             "sentinel_password without a value",
		"redis+sentinel://h?master_name=m&sentinel_password=x&sentinel_password_file=secret": "a sentinel_password and a sentinel_password_file",
		"redis+cluster://host/1":                                                             "a database other than 0",
		"redis+cluster://host?db=2":                                                          "a database other than 0",
		"redis+cluster://host?master_name=secret":                                            "write redis+sentinel://",
		"redis://host?addr=secret":                                                           "redis+cluster:// for a Cluster",
		"redis://host?master_name=secret":                                                    "write redis+sentinel://",
		"redis://host?tls_ca=/secret":                                                        "does not use TLS: write rediss",
		"redis+cluster://host?tls_server_name=secret":                                        "does not use TLS: write rediss",
		"rediss://host?tls_cert=/secret":                                                     "only one of tls_cert and tls_key",
		"rediss://host?tls_key=/secret":                                                      "only one of tls_cert and tls_key",
		"rediss://host?tls_ca=/secret&tls_ca=/secret":                                        "tls_ca more than once",
		"redis://:secret@host?password_file=secret":                                          "a password and a password_file",
		"redis://user@host?password_file=secret":                                             "a file in password_file that does not exist",
		"rediss://host?tls_ca=/secret":                                                       "a file in tls_ca that does not exist",
		"rediss://host?tls_ca=secret/secret":                                                 "a file in tls_ca that does not exist (its name is not shown",
		"rediss://host?tls_cert=secret&tls_key=secret":                                       "a file in tls_cert that does not exist",
		"localhost:6379":                    "redis://, rediss:// or unix://",
		"127.0.0.1:6379":                    "redis://, rediss:// or unix://",
		"user:secret@host:6379":             "no scheme",
		"redis:secret@host":                 "no scheme",
		"redis:host":                        "no scheme",
		"user:secret://secret@host:6379":    "no scheme",
		"redis://user:sec/ret@host:6379":    "/ as %2F",
		"redis://user:sec?ret@host:6379":    "? as %3F",
		"redis://user:sec#ret@host:6379":    "# as %23",
		"redis://user:sec%ret@host:6379":    "% as %25",
		"redis://sec/ret@host:6379":         "one after its host",
		"redis://user:sec@ret@host:6379":    "@ as %40",
		"redis://user:12#ret@host:6379":     "fragment",
		"redis://:secret":                   "does not parse",
		"redis://:6379":                     "a port and no host",
		"redis://host:65536":                "host or port",
		"redis://host:99999":                "host or port",
		"redis://host:6379,password=secret": "does not parse",
		"redis://password=secret":           "host or port",
		"redis://user@host":                 "a user without a password",
		"redis://secret@host":               "a user without a password",
		"redis://user:secret@host/sixteen":  "database number",
		"redis://user:secret@host/1/2":      "database number",
		"redis://host/-1":                   "database number",
		"redis://host?db=-1":                "database number",
		"redis://host?db=":                  "database number",
		"redis://host/1?db=2":               "more than one database",
		"redis://host?db=1&db=2":            "more than one database",
		"redis://host?db=%zz":               "query",
		"unix://":                           "absolute path",
		"unix://secret/path.sock":           "absolute path",
		"unix:run/redis.sock":               "no scheme",
	} {
		_, err := load(raw)
		if err == nil {
			t.Errorf("%q: no error", raw)
			continue
		}
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %q does not contain %q", raw, err, want)
		}
		if part := regexp.MustCompile("sec|ret").FindString(err.Error()); part != "" {
			t.Errorf("%q: error %q contains %q of the password", raw, err, part)
		}
	}
}

// load parses raw and reads its files, as an adapter does.
func load(raw string) (URL, error) {
	u, err := ParseURL(raw)
	if err == nil {
		err = u.Load()
	}
	return u, err
}

// Whatever is around a password, the error does not show it, and what is accepted is
// complete.
func FuzzParseURL(f *testing.F) {
	const secret = "Zq7Xv9Kw3J"
	for _, shape := range secretURLs("%s") {
		before, after, _ := strings.Cut(shape, "%s")
		f.Add(before, strings.ReplaceAll(after, "%s", ""))
	}
	f.Fuzz(func(t *testing.T, before, after string) {
		u, err := ParseURL(before + secret + after)
		if err != nil {
			if part := leak(err.Error(), secret); part != "" && leak(before+after, secret) == "" {
				t.Errorf("the error shows %q: %v", part, err)
			}
			return
		}
		if u.Address == "" || u.Network != "tcp" && u.Network != "unix" || u.DB < 0 || u.Parameters == nil {
			t.Errorf("incomplete: %+v", u)
		}
		if several := u.MasterName != "" || u.Cluster; several != (len(u.Addresses) > 0) || several && u.Host != "" {
			t.Errorf("addresses %q of %+v", u.Addresses, u)
		}
		for _, a := range u.Addresses {
			if !backend.PlainAddress(a) {
				t.Errorf("address %q", a)
			}
		}
	})
}

// whatToDo matches advice in an error.
var whatToDo = regexp.MustCompile(`: (want|write|in a user name or password, write) `)

// The error shows no part of a possible password, whatever is wrong with the URL.
func TestParseURLHidesPassword(t *testing.T) {
	accepted, rejected := 0, 0
	for _, secret := range secrets() {
		for _, raw := range secretURLs(secret) {
			_, err := load(raw)
			if err == nil {
				accepted++
				continue
			}
			rejected++
			if part := leak(err.Error(), secret); part != "" {
				t.Errorf("%q: the error shows %q: %v", raw, part, err)
			}
			var file *FileError
			if !whatToDo.MatchString(err.Error()) && !errors.As(err, &file) {
				t.Errorf("%q: the error does not say what to do: %v", raw, err)
			}
		}
	}
	if accepted < 100 || rejected < 1000 {
		t.Errorf("%d URLs were accepted and %d rejected, so the table is wrong", accepted, rejected)
	}
}

// secretURLs returns URLs that contain the password secret, most of them with common mistakes.
// Without a delimiter after it, an @ in the password makes the rest of it a valid host name, so
// that case is left out.
func secretURLs(secret string) []string {
	var urls []string
	for _, shape := range []string{
		"redis://user:%s@127.0.0.1:1", "redis://:%s@127.0.0.1:1/0", "redis://%s@127.0.0.1:1", "rediss://:%s@127.0.0.1:1", "redis://user:12%s@127.0.0.1:1",
		"redis://user:%s@127.0.0.1:port", "redis://:%s@127.0.0.1:1/first", "redis://:%s@127.0.0.1:1/1/2", "redis://:%s@127.0.0.1:1?db=first",
		"redis://:%s@127.0.0.1:99999", "redis://:%s@[::1:1", "http://user:%s@127.0.0.1:1", "redis+tls://user:%s@127.0.0.1:1",
		"redis://127.0.0.1:1/%s",
		"redis://127.0.0.1:1?password=%s", "redis://127.0.0.1:1?%s", "redis://127.0.0.1:1?db=%s", "redis://127.0.0.1:1?db=1&%s=1", "redis://127.0.0.1:1#%s",
		"redis://127.0.0.1:1?pool_size=%s",
		"%s://127.0.0.1:1", "%s@127.0.0.1:1", ":%s@127.0.0.1:1", "user:%s@127.0.0.1:1", "redis:%s@127.0.0.1:1", "redis:/:%s@127.0.0.1:1", "redis:///:%s@127.0.0.1:1",
		"redis+sentinel://:%s@127.0.0.1:1?master_name=m", "redis+sentinel://127.0.0.1:1?master_name=m&sentinel_password=%s", "redis+sentinel://127.0.0.1:1/%s?master_name=m",
		"redis+sentinel://127.0.0.1:1?master_name=m&addr=%s", "redis+sentinel://127.0.0.1:1?master_name=m&sentinel_username=%s", "redis+sentinel://127.0.0.1:1?master_name=%s",
		"redis+cluster://:%s@127.0.0.1:1?addr=127.0.0.1:2", "redis+cluster://127.0.0.1:1/%s", "redis+cluster://127.0.0.1:1?addr=%s",
		"redis://127.0.0.1:1?password_file=%s", "rediss://127.0.0.1:1?tls_ca=%s", "rediss://127.0.0.1:1?tls_cert=%s&tls_key=%s", "redis://127.0.0.1:1?tls_ca=%s",
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

// secrets returns passwords of which no three characters in a row occur in any message.
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
