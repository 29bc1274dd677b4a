package adapterkit

import (
	"net/url"
	"reflect"
	"regexp"
	"strings"
	"testing"
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
	} {
		if want.Parameters == nil {
			want.Parameters = url.Values{}
		}
		if got, err := ParseURL(raw); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v, want %+v", raw, got, err, want)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	for raw, want := range map[string]string{
		"http://user:secret@host:1/":              "unknown scheme",
		"redis+sentinel://:secret@host/?x=secret": "unknown scheme",
		"localhost:6379":                          "redis://, rediss:// or unix://",
		"127.0.0.1:6379":                          "redis://, rediss:// or unix://",
		"user:secret@host:6379":                   "no scheme",
		"redis:secret@host":                       "no scheme",
		"redis:host":                              "no scheme",
		"user:secret://secret@host:6379":          "no scheme",
		"redis://user:sec/ret@host:6379":          "/ as %2F",
		"redis://user:sec?ret@host:6379":          "? as %3F",
		"redis://user:sec#ret@host:6379":          "# as %23",
		"redis://user:sec%ret@host:6379":          "% as %25",
		"redis://sec/ret@host:6379":               "one after its host",
		"redis://user:sec@ret@host:6379":          "@ as %40",
		"redis://user:12#ret@host:6379":           "fragment",
		"redis://:secret":                         "does not parse",
		"redis://:6379":                           "a port and no host",
		"redis://host:65536":                      "host or port",
		"redis://host:99999":                      "host or port",
		"redis://host:6379,password=secret":       "does not parse",
		"redis://password=secret":                 "host or port",
		"redis://user@host":                       "a user without a password",
		"redis://secret@host":                     "a user without a password",
		"redis://user:secret@host/sixteen":        "database number",
		"redis://user:secret@host/1/2":            "database number",
		"redis://host/-1":                         "database number",
		"redis://host?db=-1":                      "database number",
		"redis://host?db=":                        "database number",
		"redis://host/1?db=2":                     "more than one database",
		"redis://host?db=1&db=2":                  "more than one database",
		"redis://host?db=%zz":                     "query",
		"unix://":                                 "absolute path",
		"unix://secret/path.sock":                 "absolute path",
		"unix:run/redis.sock":                     "no scheme",
	} {
		_, err := ParseURL(raw)
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

// whatToDo matches advice in an error.
var whatToDo = regexp.MustCompile(`: (want|write|in a user name or password, write) `)

// No part of what may be a password is shown, whatever is wrong with the URL.
func TestParseURLHidesPassword(t *testing.T) {
	accepted, rejected := 0, 0
	for _, secret := range secrets() {
		for _, raw := range secretURLs(secret) {
			_, err := ParseURL(raw)
			if err == nil {
				accepted++
				continue
			}
			rejected++
			if part := leak(err.Error(), secret); part != "" {
				t.Errorf("%q: the error shows %q: %v", raw, part, err)
			}
			if !whatToDo.MatchString(err.Error()) {
				t.Errorf("%q: the error does not say what to do: %v", raw, err)
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
		"redis://127.0.0.1:1?pool_size=%s",
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
