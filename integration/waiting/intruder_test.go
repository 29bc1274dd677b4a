package waiting

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/integration/servers"
	"github.com/quorumlock/quorumlock/internal/resp"
)

// password is the password of every user that a test creates.
const password = "secret"

// An intruder is a connection of a user with few rights. It sends arbitrary commands.
type intruder struct {
	server *servers.Server
	name   string
	conn   net.Conn
	reader *bufio.Reader
}

// intrude creates a user with only these rights, and connects as that user. The rules have the
// form of ACL SETUSER.
func intrude(t testing.TB, s *servers.Server, name string, rules ...string) *intruder {
	t.Helper()
	setUser(t, s, name, append([]string{"reset", "on", ">" + password, "resetchannels"}, rules...)...)
	return connect(t, s, name)
}

// setUser changes the rights of a user.
func setUser(t testing.TB, s *servers.Server, name string, rules ...string) {
	t.Helper()
	command := []any{"ACL", "SETUSER", name}
	for _, rule := range rules {
		command = append(command, rule)
	}
	s.Do(t, command...)
}

// connect connects as an existing user.
func connect(t testing.TB, s *servers.Server, name string) *intruder {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	i := &intruder{server: s, name: name, conn: conn, reader: bufio.NewReader(conn)}
	i.must(t, "AUTH", name, password)
	return i
}

// query sends a command and returns the reply. An error reply is an error.
func (i *intruder) query(args ...any) (any, error) {
	text := make([]string, len(args))
	for at, arg := range args {
		text[at] = fmt.Sprint(arg)
	}
	i.conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := i.conn.Write(resp.AppendCommand(nil, text...)); err != nil {
		return nil, err
	}
	return i.next()
}

// next returns the next reply or message.
func (i *intruder) next() (any, error) {
	_, reply, err := resp.ReadReply(i.reader)
	if e, ok := reply.(resp.Error); ok {
		err = e
	}
	return reply, err
}

// must sends a command that must succeed.
func (i *intruder) must(t testing.TB, args ...any) any {
	t.Helper()
	reply, err := i.query(args...)
	if err != nil {
		t.Fatalf("%s at %s: %v: %v", i.name, i.server, args, err)
	}
	return reply
}

// denied fails the test unless the server rejects a command because its user lacks the rights.
func (i *intruder) denied(t testing.TB, args ...any) {
	t.Helper()
	reply, err := i.query(args...)
	if err == nil || !noPermission(err.Error()) {
		t.Errorf("%s at %s: %.200q answers %v, %v, want an error because of missing rights", i.name, i.server, fmt.Sprint(args...), reply, err)
	}
}

// noPermission reports whether an error reply is about missing rights. Inside a script, its text
// depends on the server version.
func noPermission(text string) bool {
	for _, part := range []string{"NOPERM", "ACL failure in script", "The user executing the script"} {
		if strings.Contains(text, part) {
			return true
		}
	}
	return false
}

// inboxesOf waits until Lockers have subscribed to n channels on a server, and returns the
// channels.
func inboxesOf(t testing.TB, s *servers.Server, n int) []string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		var list []string
		for _, name := range s.Do(t, "PUBSUB", "CHANNELS", "redlock:inbox:*").([]any) {
			list = append(list, name.(string))
		}
		if len(list) == n {
			return list
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d inboxes at %s, want %d", len(list), s, n)
		}
	}
}

// waitQueued waits until n tickets are in the queue of a key without braces.
func waitQueued(t testing.TB, s *servers.Server, key string, n int64) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		got := s.Do(t, "ZCARD", queueOf(key))
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v tickets are queued for %s at %s, want %d", got, key, s, n)
		}
	}
}

// queueOf, counterOf and tombstoneOf return the keys that belong to the lock on a key without
// braces.
func queueOf(key string) string            { return beside(key, ":queue") }
func counterOf(key string) string          { return beside(key, ":fence") }
func tombstoneOf(key, token string) string { return beside(key, ":gone:"+token) }
func beside(key, ending string) string     { return key + "{" + key + "}" + ending }
