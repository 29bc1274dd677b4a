package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
	"github.com/quorumlock/quorumlock/redlock"
)

// serverSet is servers for tests that also look at them directly.
type serverSet struct {
	t       *testing.T
	servers []*embedded.Server
	clients []*redis.Client
	nodes   string // for REDLOCK_NODES
	addrs   []string
}

func startSeveral(t *testing.T, n int) *serverSet {
	t.Helper()
	s := &serverSet{t: t}
	for range n {
		server := server(t)
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		t.Cleanup(func() { _ = client.Close() })
		s.servers, s.clients, s.addrs = append(s.servers, server), append(s.clients, client), append(s.addrs, server.Addr())
	}
	s.nodes = strings.Join(s.addrs, ",")
	t.Setenv("REDLOCK_NODES", s.nodes)
	return s
}

// set stores a value on server i.
func (s *serverSet) set(i int, key, value string) {
	s.t.Helper()
	if err := s.clients[i].Set(s.t.Context(), key, value, time.Hour).Err(); err != nil {
		s.t.Fatal(err)
	}
}

// hold takes a lock as a rival, and returns its fingerprint.
func (s *serverSet) hold(key string, opts ...redlock.LockOption) (*redlock.Lock, string) {
	s.t.Helper()
	locker := rival(s.t, s.addrs...)
	lock, err := locker.TryLock(s.t.Context(), key, append(opts, redlock.WithTTL(time.Hour))...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = lock.Unlock(context.Background()) })
	if err := locker.Close(s.t.Context()); err != nil { // all servers have it
		s.t.Fatal(err)
	}
	status, err := rival(s.t, s.addrs...).Inspect(s.t.Context(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	return lock, status.Fingerprint
}

// anHour replaces times that are a little less than an hour.
func anHour(page string) string { return almost.ReplaceAllString(page, "1h0m0s") }

var almost = regexp.MustCompile(`59m\d\ds`)

const reservation = "~20:redlock:inbox:waiter:ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// statusJSON runs the tool and parses what it prints.
func statusJSON(t *testing.T, code int, args ...string) jsonSnapshot {
	t.Helper()
	got, stdout, stderr := inProcess(append([]string{"status", "--json"}, args...)...)
	if got != code {
		t.Fatalf("%q: code %d, want %d; stderr %q", args, got, code, stderr)
	}
	var s jsonSnapshot
	if err := json.Unmarshal([]byte(stdout), &s); err != nil || strings.Count(stdout, "\n") != 1 {
		t.Fatalf("%q: %v: %q", args, err, stdout)
	}
	return s
}

func TestStatus(t *testing.T) {
	s := startSeveral(t, 3)
	lock, print := s.hold("held", redlock.WithFencing())
	for i := range 2 {
		s.set(i, "reserved", reservation)
	}
	s.set(0, "split", "one")
	s.set(1, "split", "two")
	down, dead := nobody(t), nobody(t)

	for _, tt := range []struct {
		args  []string
		code  int
		says  []string // lines of the page
		error string   // on stderr
	}{
		{[]string{"free"}, statusFree, []string{`The lock "free" is free.`, "  waiting  0", "  " + s.addrs[0] + "  free   -       -        0"}, ""},
		{[]string{"held"}, statusHeld, []string{
			`The lock "held" is held.`, "  holder           rival #" + print + " on 3 of 3 servers", "  ends in          1h0m0s, unless it is extended",
			fmt.Sprintf("  fencing counter  %d", lock.Fence()), "  " + s.addrs[2] + "  held   #" + print + "  1h0m0s   0",
		}, ""},
		{[]string{"reserved"}, statusReserved, []string{`The lock "reserved" is reserved.`, "  reserved for  waiter #"}, ""},
		{[]string{"split"}, statusSplit, []string{`The lock "split" is split.`, "  holder   #7692c3ad on 1 of 3 servers", "  holder   #3fc4ccfe on 1 of 3 servers"}, ""},
		{[]string{"free", "held"}, statusHeld, []string{`The lock "free" is free.`, `The lock "held" is held.`}, ""},
		{[]string{"held", "split", "reserved"}, statusSplit, nil, ""},
		{[]string{"held", "reserved"}, statusHeld, nil, ""},
		{[]string{"free", "free"}, statusFree, nil, ""},
		{
			[]string{"--node", s.addrs[0], "--node", down, "--node", dead, "held"}, statusUnknown,
			[]string{`The lock "held" is unknown.`, "  " + down + "  unknown  connection refused"},
			`the state of the lock "held" is unknown: 2 of 3 servers failed, and 2 must work: ` + down,
		},
		{[]string{"--node", down, "--node-timeout", "5s", "a", "b"}, statusUnknown, nil, `the state of 2 locks is unknown: ` + down + ": connection refused (is Redis running there?"},
		{[]string{"--node", s.addrs[0], "--node", down, "--node", s.addrs[1], "split"}, statusUnknown, nil, `"split" is unknown: 1 of 3 servers failed`},
	} {
		code, stdout, stderr := inProcess(append([]string{"status"}, tt.args...)...)
		if code != tt.code {
			t.Errorf("%q: code %d, want %d", tt.args, code, tt.code)
		}
		for _, line := range tt.says {
			if !strings.Contains("\n"+anHour(stdout), "\n"+line) {
				t.Errorf("%q: no line begins with %q:\n%s", tt.args, line, stdout)
			}
		}
		if (stderr == "") != (tt.error == "") || !strings.Contains(stderr, tt.error) || strings.Count(stderr, "\n") > 1 {
			t.Errorf("%q: stderr %q, want %q", tt.args, stderr, tt.error)
		}
		code, stdout, stderr = inProcess(append([]string{"status", "--quiet"}, tt.args...)...)
		if code != tt.code || stdout+stderr != "" {
			t.Errorf("%q: quiet: code %d, stdout %q, stderr %q", tt.args, code, stdout, stderr)
		}
	}

	j := statusJSON(t, statusHeld, "free", "held")
	if len(j.Locks) != 2 || j.Complete != nil || j.Totals != (totals{Locks: 2, Free: 1, Held: 1}) || time.Since(j.Time) > time.Minute {
		t.Fatalf("JSON: %+v", j)
	}
	l := j.Locks[1]
	if l.Name != "held" || l.Key != "held" || l.State != "held" || l.Owner != "rival" || l.Fingerprint != print || l.Fence != int64(lock.Fence()) ||
		l.TTL == nil || *l.TTL <= 0 || *l.TTL > 3_600_000 || l.Waiting == nil || *l.Waiting != 0 || len(l.Servers) != 3 || l.Servers[0].Server != s.addrs[0] {
		t.Errorf("JSON of a held lock: %+v", l)
	}
	if f := j.Locks[0]; f.State != "free" || f.TTL != nil || f.Fingerprint != "" {
		t.Errorf("JSON of a free lock: %+v", f)
	}
	if err := s.clients[0].Persist(t.Context(), "held").Err(); err != nil {
		t.Fatal(err)
	}
	if l := statusJSON(t, statusHeld, "--node", s.addrs[0], "held").Locks[0]; *l.TTL != -1 {
		t.Errorf("a lock that never ends: %+v", l)
	}
	if _, page, _ := inProcess("status", "--node", s.addrs[0], "held"); !strings.Contains(page, "  ends in          never\n") {
		t.Errorf("a lock that never ends:\n%s", page)
	}
}

// A lock without fencing has no fencing counter, or one that the servers do not agree on.
func TestStatusFence(t *testing.T) {
	s := startSeveral(t, 3)
	s.hold("job")
	if l := statusJSON(t, statusHeld, "job").Locks[0]; l.Fence != 0 {
		t.Errorf("without a counter: %d", l.Fence)
	}
	for i := range 3 {
		s.set(i, "job{job}:fence", fmt.Sprint(1000+i))
	}
	if l := statusJSON(t, statusHeld, "job").Locks[0]; l.Fence != 0 {
		t.Errorf("with three counters: %d", l.Fence)
	}
	s.set(2, "job{job}:fence", "1001")
	if l := statusJSON(t, statusHeld, "job").Locks[0]; l.Fence != 1001 {
		t.Errorf("with two counters: %d", l.Fence)
	}
}

func TestStatusShowsWaiters(t *testing.T) {
	s := startSeveral(t, 3)
	lock, _ := s.hold("job")
	run := start(t, s.nodes, "run", "--owner", "patient", "job", "--", "true")
	await(t, "it is in the queues", func() bool {
		return statusJSON(t, statusHeld, "job").Totals.Waiting == 1
	})
	l := statusJSON(t, statusHeld, "job").Locks[0]
	if len(l.Waiters) != 1 || l.Waiters[0].Owner != "patient" || l.Waiters[0].Waited == nil || *l.Waiters[0].Waited > 60_000 {
		t.Errorf("waiters %+v", l.Waiters)
	}
	_, page, _ := inProcess("status", "job")
	if !strings.Contains(page, "  waiting  1\n           patient #"+l.Waiters[0].Fingerprint+" for ") {
		t.Errorf("the page:\n%s", page)
	}
	if err := lock.Unlock(t.Context()); err != nil {
		t.Error(err)
	}
	run.want(0)
}

// A list has all locks under a prefix and nothing else, from all servers.
func TestStatusList(t *testing.T) {
	s := startSeveral(t, 3)
	const prefix = `a*b[c]?\^:` // means something in a pattern
	_, print := s.hold(prefix + "held")
	s.set(0, prefix+"split", "one")
	s.set(2, prefix+"split", "two")
	for i := range 2 {
		s.set(i, prefix+"{tag}", "three")
		s.set(i, prefix+"reserved", reservation)
	}
	for i := range 3 {
		for _, key := range []string{"redlock:marker", "held{" + prefix + "held}:fence", "{tag}:gone:TOKEN", ""} {
			s.set(i, prefix+key, "x")
		}
		s.set(i, strings.ReplaceAll(prefix, "*", "x")+"held", "x")
		s.set(i, "other", "x")
		ctx := t.Context()
		s.clients[i].ZAdd(ctx, prefix+"held{"+prefix+"held}:queue", redis.Z{Score: 1, Member: "x"})
		s.clients[i].HSet(ctx, prefix+"hash", "x", "y")
	}
	j := statusJSON(t, exitOK, "--prefix", prefix)
	var found []string
	for _, l := range j.Locks {
		found = append(found, l.Name+" "+l.State)
		if l.Key != prefix+l.Name {
			t.Errorf("the lock %q has the key %q", l.Name, l.Key)
		}
	}
	if got, want := strings.Join(found, ", "), "held held, reserved reserved, split split, {tag} held"; got != want {
		t.Errorf("found %q, want %q", got, want)
	}
	if j.Totals != (totals{Locks: 4, Held: 2, Reserved: 1, Split: 1, Waiting: 1}) || j.Complete == nil || !*j.Complete || j.Failed != nil {
		t.Errorf("JSON %+v", j)
	}
	code, page, stderr := inProcess("status", "--prefix", prefix)
	if code != exitOK || stderr != "" || !strings.HasPrefix(anHour(page), "LOCK                STATE     ENDS IN  WAITING  HOLDER\n"+prefix+"held      held      1h0m0s   1        rival #"+print+"\n") ||
		!strings.HasSuffix(page, "\n\n4 locks: 2 held, 1 reserved, 1 split, 1 waiting\n") {
		t.Errorf("code %d, stderr %q:\n%s", code, stderr, page)
	}
	if code, page, stderr := inProcess("status", "--prefix", "nobody:"); code != exitOK || page != "no locks found\n" || stderr != "" {
		t.Errorf("without locks: code %d, %q, %q", code, page, stderr)
	}

	// One server that cannot be searched hides no held lock, two may.
	down, dead := nobody(t), nobody(t)
	code, page, stderr = inProcess("status", "--prefix", prefix, "--node", s.addrs[0], "--node", s.addrs[1], "--node", down)
	if code != exitOK || !strings.Contains(page, "rival #"+print) || !strings.Contains(stderr, "redlock: every lock that is held is listed, although not all servers could be searched: 1 of 3 servers failed, and 2 must work: "+down+": connection refused") {
		t.Errorf("one server down: code %d, stderr %q:\n%s", code, stderr, page)
	}
	code, page, stderr = inProcess("status", "--prefix", prefix, "--node", s.addrs[0], "--node", down, "--node", dead)
	if code != exitFailed || !strings.Contains(page, "held      unknown  -        1\n") || !strings.Contains(stderr, "redlock: locks may be missing: 2 of 3 servers failed") {
		t.Errorf("two servers down: code %d, stderr %q:\n%s", code, stderr, page)
	}
	if j := statusJSON(t, exitFailed, "--prefix", prefix, "--node", down); *j.Complete || len(j.Failed) != 1 || j.Failed[0] != (jsonFailed{down, "connection refused", j.Failed[0].Remedy}) || !strings.Contains(j.Failed[0].Remedy, "is Redis running there?") {
		t.Errorf("JSON %+v", j)
	}
}

// A search goes on until the server has no more keys. (An embedded server gives all at once.)
func TestStatusListInSteps(t *testing.T) {
	url := realServer(t)
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: strings.TrimPrefix(url, "unix://")})
	t.Cleanup(func() { _ = client.Close() })
	const locks = 50
	pipe := client.Pipeline()
	for i := range 3 * searchStep {
		pipe.Set(t.Context(), fmt.Sprint("filler ", i), "x", 0)
		if i < locks {
			pipe.Set(t.Context(), fmt.Sprint("p:", i), "x", 0)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if j := statusJSON(t, exitOK, "--node", url, "--prefix", "p:"); j.Totals.Held != locks {
		t.Errorf("found %d locks of %d", j.Totals.Held, locks)
	}
}

// A server that refuses to be searched says what is missing.
func TestStatusListRefused(t *testing.T) {
	for reply, says := range map[string]string{
		"NOPERM this user has no permissions to run the 'scan' command": "the user needs +scan to list locks",
		"ERR syntax error": "listing needs Redis 6.0 or newer",
		"WRONGPASS no":     "wrong user or password",
		"ERR " + hostile:   "locks may be missing: ERR " + hostileShown,
	} {
		addr := refusing(t, reply)
		code, stdout, stderr := inProcess("status", "--node", addr, "--prefix", "p:")
		if code != exitFailed || stdout != "no locks found\n" {
			t.Errorf("%q: code %d, stdout %q", reply, code, stdout)
		}
		oneLine(t, stderr, strings.Replace(says, "missing: ", "missing: "+addr+": ", 1))
	}
}

// What others have written cannot control the terminal.
func TestStatusEscapes(t *testing.T) {
	s := startSeveral(t, 1)
	value := hostile + ":ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	s.set(0, "p:"+hostile, value)
	s.set(0, "p:😀"+strings.Repeat("x", 1<<16), strings.Repeat("y", 1<<16)+":ABCDEFGHIJKLMNOPQRSTUVWXYZ")
	for _, args := range [][]string{
		{"status", "--prefix", "p:", hostile},
		{"status", "--prefix", "p:"},
		{"status", "--prefix", "p:", "--json", hostile},
		{"status", "--prefix", "p:", "--json"},
	} {
		code, stdout, stderr := inProcess(args...)
		if code != statusHeld && code != exitOK || stderr != "" {
			t.Errorf("%q: code %d, stderr %q", args, code, stderr)
		}
		if strings.ContainsAny(stdout, "\x1b\a\r\u009b\u202e\x7f") || !utf8.ValidString(stdout) || !strings.Contains(stdout, "title") {
			t.Errorf("%q: %.300q", args, stdout)
		}
		if !strings.Contains(strings.Join(args, " "), "json") && len(stdout) > 3000 {
			t.Errorf("%q: %d bytes", args, len(stdout))
		}
	}
	// JSON has the whole text.
	if l := statusJSON(t, exitOK, "--prefix", "p:").Locks; len(l) != 2 || l[0].Name != strings.ToValidUTF8(hostile, "\ufffd") || len(l[1].Owner) != 1<<16 || !strings.HasPrefix(l[1].Name, "😀") {
		t.Errorf("JSON: %.300q", fmt.Sprint(l))
	}
	if got, want := printableJSON("\u007f\U000e0001é"), `\u007f\udb40\udc01é`; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A page fits a narrow terminal, except for single words that are longer.
func TestStatusPageIsNarrow(t *testing.T) {
	s := startSeveral(t, 3)
	s.hold("job", redlock.WithOwner("web-1.example.com:4711"), redlock.WithFencing())
	s.hold("a-lock-with-quite-a-long-name", redlock.WithOwner(strings.Repeat("many words ", 10)))
	status := &status{names: []string{"job", "a-lock-with-quite-a-long-name", "free"}, nodes: nodeFlags{timeout: time.Second}}
	var err error
	status.nodes.urls = append(s.addrs[:2:2], nobody(t))
	if status.conn, err = status.nodes.observer(); err != nil {
		t.Fatal(err)
	}
	defer status.conn.close(0)
	for _, list := range []bool{false, true} {
		snap, err := status.look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		snap.list = list
		for _, columns := range []int{40, 60} {
			for _, line := range snap.page(columns) {
				if width(line) > columns && len(strings.Fields(line)) > 1 {
					t.Errorf("%d columns: a line of %d: %q", columns, width(line), line)
				}
			}
		}
	}
}

// docs/status.md has every field of the JSON.
func TestStatusIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/status.md")
	if err != nil {
		t.Fatal(err)
	}
	fields := 0
	for _, part := range []any{jsonSnapshot{}, jsonLock{}, jsonWaiter{}, jsonServer{}, jsonFailed{}, totals{}} {
		for i := range reflect.TypeOf(part).NumField() {
			name, _, _ := strings.Cut(reflect.TypeOf(part).Field(i).Tag.Get("json"), ",")
			fields++
			if name == "" || !strings.Contains(string(page), "`"+name+"`") {
				t.Errorf("%T: the page does not have the field %q", part, name)
			}
		}
	}
	if fields < 30 {
		t.Errorf("only %d fields", fields)
	}
}
