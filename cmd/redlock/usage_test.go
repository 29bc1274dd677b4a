package main

import (
	"strings"
	"testing"
	"time"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	tests := []struct {
		args string // separated by blanks; '' is empty
		code int
		says string
	}{
		{"", 2, "Usage:\n  redlock COMMAND\n"},
		{"rum", 2, `there is no command "rum"; did you mean "redlock run"?`},
		{"frobnicate", 2, `"redlock --help" lists them`},
		{"--bogus", 2, "unknown flag: --bogus"},
		{"help rum", 2, `there is no command "rum"`},
		{"version 2", 2, "version takes no argument"},
		{"demo fast", 2, "demo takes no argument"},
		{"demo --duration 1s", 2, "it takes 3s at least"},
		{"demo --workers 1", 2, "it takes 2 to fight"},
		{"run", 122, "the name of the lock is missing, as in: redlock run NAME -- COMMAND"},
		{"run -- true", 122, "the name of the lock is missing"},
		{"campaign", 122, "the name of the lock is missing, as in: redlock campaign NAME -- COMMAND"},
		{"campaign a", 122, "the command to run is missing"},
		{"campaign a b -- true", 122, `there are 2: "a", "b"`},
		{"campaign deploy ls", 122, "redlock campaign deploy -- ls"},
		{"campaign --wait 3s a -- true", 122, `come after "--", as in: redlock campaign`},
		{"campaign --ttl 3s --grace 2s a -- true", 122, "take a --ttl of 6s or more"},
		{"campaign --ttl 5ms a -- true", 122, "too short to lead"},
		{"campaign --quarantine 30s a -- true", 122, "must be longer than the TTL, 30s, by 1s"},
		{"campaign --node http://:sekrit@h a -- true", 122, "unknown scheme"},
		{"leader", 2, "leader takes one name, but was given 0 arguments"},
		{"leader a b", 2, "leader takes one name"},
		{"leader ''", 2, "the name of the lock is empty"},
		{"leader --node http://:sekrit@h a", 2, "unknown scheme"},
		{"completion", 2, "the name of a shell is missing"},
		{"completion bsah", 2, `there is no completion for "bsah", but for bash, fish`},
		{"run '' -- true", 122, "the name of the lock is empty"},
		{"run a{b}:queue -- true", 122, "cannot exist"},
		{"run --prefix a{b}: queue -- true", 122, "cannot exist"},
		{"run a", 122, "the command to run is missing"},
		{"run a --", 122, "the command to run is missing"},
		{"run a b -- true", 122, `there are 2: "a", "b"`},
		{"run deploy ls", 122, "redlock run deploy -- ls"},
		{"run deploy ls -l", 122, `come after "--"`},
		{"run --bogus a -- true", 122, "unknown flag: --bogus"},
		{"run --ttl 30x a -- true", 122, "must be a number of seconds, or a number with a unit"},
		{"run --ttl 1.2.3 a -- true", 122, "must be a number of seconds"},
		{"run --ttl 0 a -- true", 122, "must be positive"},
		{"run --ttl 2ms a -- true", 122, "leaves no validity"},
		{"run --ttl 96360h a -- true", 122, "a TTL of 96360h0m0s: must be at most 87600h0m0s"},
		{"campaign --ttl 96360h a -- true", 122, "must be at most 87600h0m0s"},
		{"lock a --ttl 96360h", 2, "must be at most 87600h0m0s"},
		{"lock a 346896000000", 2, "must be at most 87600h0m0s"},
		{"doctor --ttl 96360h", 122, "must be at most 87600h0m0s"},
		{"run --ttl 3s --grace 2s a -- true", 122, "take a --ttl of 6s or more"},
		{"run --grace -1s a -- true", 122, "cannot be negative"},
		{"run --wait -1s a -- true", 122, `"forever" waits without an end`},
		{"run --wait -1 a -- true", 122, `"forever" waits without an end`},
		{"run --wait 3x a -- true", 122, "a number with a unit, such as 90s"},
		{"run --ttl 3 --grace 2 a -- true", 122, "take a --ttl of 6s or more"},
		{"demo --duration 1", 2, "--duration is 1s: it takes 3s at least"},
		{"run --node-timeout 0 a -- true", 122, "must be positive"},
		{"run --node-timeout 4s a -- true", 122, "a node timeout of 4s: must be at most an eighth of the TTL, 30s"},
		{"run --max-hold 0 a -- true", 122, "--max-hold is 0s: it must be at least as long as --ttl, which is 30s"},
		{"run --max-hold 20s a -- true", 122, "it must be at least as long as --ttl, which is 30s"},
		{"run --max-hold 40s --min-hold 50s a -- true", 122, "must not be shorter than the minimum hold"},
		{"run --taken-exit-code 256 a -- true", 122, "--taken-exit-code is 256: it must be from 0 to 255"},
		{"run -E -1 a -- true", 122, "must be from 0 to 255"},
		{"run -E x a -- true", 122, "invalid argument"},
		{"run --permits 0 a -- true", 122, "--permits is 0: it must be from 1 to 1024"},
		{"run --permits 1025 a -- true", 122, "--permits is 1025: it must be from 1 to 1024"},
		{"run --permits 2 --also b a -- true", 122, "--permits holds a permit instead of a lock"},
		{"run --permits 2 --fencing a -- true", 122, "with --permits several hold tokens at a time"},
		{"run --permits 2 a}b -- true", 122, "there are no permits of"},
		{"run --owner ~x a -- true", 122, "must not begin with ~"},
		{"run --quarantine -1s a -- true", 122, "a quarantine of -1s"},
		{"run --quarantine 30999ms a -- true", 122, "must be longer than the TTL, 30s, by 1s"},
		{"run --quarantine 30 a -- true", 122, "must be longer than the TTL, 30s, by 1s"},
		{"end-quarantine now", 2, "end-quarantine takes no argument"},
		{"end-quarantine --ttl 3s", 2, "unknown flag: --ttl"},
		{"end-quarantine --node http://:sekrit@h", 2, "unknown scheme"},
		{"doctor now", 122, "doctor takes no argument"},
		{"doctor --bogus", 122, "unknown flag: --bogus"},
		{"doctor --ttl 0", 122, "must be positive"},
		{"doctor --node-timeout 0", 122, "must be positive"},
		{"doctor --quarantine -1s", 122, "must be longer"},
		{"doctor --quarantine 30s", 122, "must be longer than the TTL, 30s, by 1s"},
		{"doctor --node http://:sekrit@h", 122, "unknown scheme"},
		{"status", 2, "the name of the lock is missing, as in: redlock status NAME"},
		{"status ''", 2, "the name of the lock is empty"},
		{"status a redis://:sekrit@h", 2, "the name of the lock is the URL of a server"},
		{"status a{b}:queue", 2, "cannot exist"},
		{"status --interval 2s a", 2, "--interval is for --watch"},
		{"status --watch --interval 10ms a", 2, "--interval is 10ms: it must be at least 100ms"},
		{"status --watch --quiet a", 2, "--quiet prints nothing"},
		{"status --json --quiet a", 2, "--quiet prints nothing"},
		{"status --node-timeout 0 a", 2, "must be positive"},
		{"status --node http://:sekrit@h a", 2, "unknown scheme"},
		{"break", 2, "the name of the lock is missing, as in: redlock break NAME"},
		{"break ''", 2, "the name of the lock is empty"},
		{"break a b", 2, `break takes one lock, but was given 2: "a", "b"`},
		{"break --yes '' a", 2, `--yes is "": it must be the fingerprint`},
		{"break --yes y a", 2, `--yes is "y": it must be the fingerprint of the holder, eight digits as "redlock status" shows them`},
		{"break --yes 0123ABCD a", 2, "it must be the fingerprint"},
		{"break --yes redis://:sekrit@h a", 2, "it must be the fingerprint"},
		{"break --yes 0123abcd --node http://:sekrit@h a", 2, "unknown scheme"},
		{"run --node '' a -- true", 122, "--node: an empty URL"},
		{"run --node h, a -- true", 122, "--node: entry 2 of 2: an empty URL"},
		{"run --node valkey://:sekrit@h:port a -- true", 122, "--node: "},
		{"run --node h,h a -- true", 122, "a node must not vote twice"},
		{"run --node valkey://h --node redis://h a -- true", 122, "a node must not vote twice"},
		{"run --node http://h a -- true", 122, "want redis://, rediss:// or unix://"},
		{"run --node redis://h/x a -- true", 122, "not a database number"},
		{"run --node h --node h a -- true", 122, "a node must not vote twice"},
		{"run --node http://:sekrit@h a -- true", 122, "unknown scheme"},
		{"run --node redis://u:sekrit@h:port a -- true", 122, "%40"},
		{"run --node redis://:sek/sekrit@h a -- true", 122, "--node: "},
		{"run --node :sekrit@h:port a -- true", 122, "--node: "},
		{"run --node redis://h?password=sekrit a -- true", 122, "--node: "},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			args := strings.Fields(tt.args)
			for i, a := range args {
				if a == "''" {
					args[i] = ""
				}
			}
			code, stdout, stderr := inProcess(args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if stdout != "" {
				t.Errorf("stdout %q, want nothing", stdout)
			}
			if !strings.Contains(stderr, tt.says) {
				t.Errorf("stderr %q, want it to say %q", stderr, tt.says)
			}
			if strings.Contains(stderr, "sekrit") {
				t.Errorf("the password was printed: %q", stderr)
			}
			if len(args) > 0 && (!strings.HasPrefix(stderr, "redlock: ") || strings.Count(stderr, "\n") != 1) {
				t.Errorf("stderr %q, want one line that begins with the tool's name", stderr)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	tests := []struct {
		args []string
		has  []string
	}{
		{[]string{"--help"}, []string{"Examples:", "Environment:", "Exit codes:", "REDLOCK_NODES", "demo ", "end-quarantine ", "run ", "status ", "break ", "version "}},
		{[]string{"help"}, []string{"Usage:\n  redlock COMMAND\n", `"redlock help servers" how to name servers.`}},
		{[]string{"completion", "--help"}, []string{"script.\n\nUsage:\n  redlock completion SHELL\n\nCommands:\n", "\n\"redlock completion COMMAND --help\" tells more about a command.\n"}},
		{[]string{"run", "--help"}, []string{"Examples:", "Environment:", "REDLOCK_NAME", "REDLOCK_FENCE", "REDLOCK_QUARANTINE", "REDIS_HOST", "Exit codes:", "  121  ", "  122  ", "  123  ", "  124  ", "  126  ", "  127  ", "--node URL", "--wait duration", "(default forever)", "--max-hold duration", "-E, --taken-exit-code N"}},
		{[]string{"help", "run"}, []string{"redlock run [flags] NAME -- COMMAND"}},
		{[]string{"end-quarantine", "--help"}, []string{"Examples:", "Environment:", "REDLOCK_NODES", "Exit codes:", "--node URL"}},
		{[]string{"doctor", "--help"}, []string{"Examples:", "Environment:", "REDLOCK_QUARANTINE", "Exit codes:", "  122  ", "--json", "--ttl duration", "no output, only the exit code"}},
		{[]string{"status", "--help"}, []string{"Examples:", "Environment:", "Exit codes:", "  5  split", "--watch", "--interval duration", "--json"}},
		{[]string{"break", "--help"}, []string{"Examples:", "Environment:", "Exit codes:", "  3  not released", "--yes fingerprint", "The holder is not stopped."}},
		{[]string{"demo", "--help"}, []string{"Examples:", "Exit codes:", "--duration duration"}},
		{[]string{"version"}, []string{"redlock ", "go1."}},
		{[]string{"--version"}, []string{"redlock ", "go1."}},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			code, stdout, stderr := inProcess(tt.args...)
			if code != 0 || stderr != "" {
				t.Errorf("exit code %d, stderr %q", code, stderr)
			}
			for _, want := range tt.has {
				if !strings.Contains(stdout, want) {
					t.Errorf("the help lacks %q:\n%s", want, stdout)
				}
			}
			for line := range strings.Lines(stdout) {
				if len(line) > 101 {
					t.Errorf("a line of %d characters: %q", len(line), line)
				}
			}
		})
	}
}

func TestFindNodes(t *testing.T) {
	tests := []struct {
		name  string
		flags []string
		env   map[string]string
		want  string // joined with blanks
		err   string
	}{
		{"nothing", nil, nil, "redis://localhost:6379/0", ""},
		{"flags first", []string{"a", "b"}, map[string]string{"REDLOCK_NODES": "c"}, "a b", ""},
		{"flags with commas", []string{"a,b", "c"}, nil, "a b c", ""},
		{"commas", nil, map[string]string{"REDLOCK_NODES": "a,b,c"}, "a b c", ""},
		{"blanks and lines", nil, map[string]string{"REDLOCK_NODES": " a, b\n\tc,\r\n"}, "a b c", ""},
		{"blanks only", nil, map[string]string{"REDLOCK_NODES": " , "}, "", "REDLOCK_NODES is set, but names no server"},
		{"host", nil, map[string]string{"REDIS_HOST": "h"}, "redis://h:6379/0", ""},
		{"all three", nil, map[string]string{"REDIS_HOST": "h", "REDIS_PORT": "1", "REDIS_DB": "2"}, "redis://h:1/2", ""},
		{"IPv6", nil, map[string]string{"REDIS_HOST": "::1"}, "redis://[::1]:6379/0", ""},
		{"Kubernetes", nil, map[string]string{"REDIS_PORT": "tcp://10.0.0.1:6380"}, "redis://10.0.0.1:6380/0", ""},
		{"Kubernetes and a host", nil, map[string]string{"REDIS_HOST": "h", "REDIS_PORT": "tcp://10.0.0.1:6380"}, "redis://h:6380/0", ""},
		{"a host and a port", nil, map[string]string{"REDIS_HOST": "h:1"}, "", "REDIS_PORT"},
		{"a URL as the host", nil, map[string]string{"REDIS_HOST": "redis://h"}, "", "REDLOCK_NODES"},
		{"withheld by an outer run", nil, map[string]string{"REDLOCK_NODES_WITHHELD": "1", "REDIS_HOST": "h"}, "", "has not passed REDLOCK_NODES on"},
		{"given in spite of an outer run", []string{"a"}, map[string]string{"REDLOCK_NODES_WITHHELD": "1"}, "a", ""},
		{"bad port", nil, map[string]string{"REDIS_PORT": "x"}, "", "REDIS_PORT is no port number"},
		{"port out of range", nil, map[string]string{"REDIS_PORT": "65536"}, "", "REDIS_PORT"},
		{"bad database", nil, map[string]string{"REDIS_DB": "-1"}, "", "REDIS_DB is no database number"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := nodeFlags{urls: tt.flags}
			got, _, err := f.find(func(name string) (string, bool) { value, set := tt.env[name]; return value, set })
			if strings.Join(got, " ") != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
			if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"0": 0, "5": 5 * time.Second, "0.25": 250 * time.Millisecond, ".5": 500 * time.Millisecond, "+3": 3 * time.Second, "-1": -time.Second,
		"5s": 5 * time.Second, "1m30s": 90 * time.Second, "250ms": 250 * time.Millisecond,
	} {
		if got, err := parseDuration(s); err != nil || got != want {
			t.Errorf("%q is %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"", "s", "-", ".", "5 s", "1e3", "inf", "0x10", "99999999999", "forever"} {
		if got, err := parseDuration(s); err == nil {
			t.Errorf("%q is %v, want an error", s, got)
		}
	}
}

func TestEntryURL(t *testing.T) {
	for entry, want := range map[string]string{
		"h": "redis://h", " h:1 ": "redis://h:1", "redis://h": "redis://h", "rediss://h": "rediss://h", "unix:///s": "unix:///s",
		"valkey://u:p@h/1": "redis://u:p@h/1", "VALKEY://h": "redis://h", "valkeys://h": "rediss://h", "http://h": "http://h",
	} {
		if got, err := entryURL(entry); err != nil || got != want {
			t.Errorf("%q is %q, %v, want %q", entry, got, err, want)
		}
	}
}
