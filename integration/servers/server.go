package servers

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/internal/port"
	"github.com/quorumlock/quorumlock/internal/resp"
)

// patience limits each action on a server. The slowest one, the start of a container on a busy
// machine, takes a few seconds.
const patience = 30 * time.Second

// poll is the pause between two checks of something that has no event.
const poll = 3 * time.Millisecond

// A Server is one Redis or Valkey server that belongs to one test. Methods with a [testing.TB]
// fail the test if they do not succeed.
type Server struct {
	kind    Kind
	addr    string
	spec    spec
	port    int     // allocated by this package; 0 for a given server
	machine machine // nil for a given server

	mu     sync.Mutex
	paused bool
	down   bool
	undo   [][]string // commands that restore what a test has changed

	ownConnections, ownCommands atomic.Int64
}

// machine is a server as its rung runs it. Each method returns when its effect is complete, but
// start may return before the server answers.
type machine interface {
	pause(context.Context) error
	resume(context.Context) error
	kill(context.Context) error // also of a paused server, which must not run on
	stop(context.Context) error // in order
	start(context.Context) error
	remove(context.Context) error
	// gone returns an error that says why, if the server has ended by itself.
	gone(context.Context) error
}

// Addr returns the server's host and port. They stay the same over restarts.
func (s *Server) Addr() string { return s.addr }

// HostPort returns the two parts of [Server.Addr].
func (s *Server) HostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(s.addr) // a connection to it has worked
	return host, port
}

// Kind returns the kind of the server.
func (s *Server) Kind() Kind { return s.kind }

// URL returns the server's address with the user and password for connecting:
// redis://user:password@host:port/0, or rediss:// if it speaks TLS.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.addr, Path: "/0"}
	if s.spec.tls != nil {
		u.Scheme = "rediss"
	}
	if name, password := s.Credentials(); password != "" {
		u.User = url.UserPassword(name, password)
	}
	return u.String()
}

// Credentials returns the user and password for connecting, or "" if none is needed. They are
// those of [WithUser], or the password of [WithPassword].
func (s *Server) Credentials() (username, password string) {
	if s.spec.user != nil {
		return s.spec.user.name, s.spec.user.password
	}
	return "", s.spec.password
}

// TLSConfig returns the configuration with which a client connects to a server that was started
// [WithTLS]. It is nil for any other server.
func (s *Server) TLSConfig() *tls.Config {
	if s.spec.tls == nil {
		return nil
	}
	return s.spec.tls.clientConfig()
}

func (s *Server) String() string {
	if s.kind == "" {
		return "the server at " + s.addr
	}
	return string(s.kind) + " at " + s.addr
}

// Query runs a command as the default user on its own connection, and returns the reply: a
// string, int64, nil or []any. An error reply is an error. Arguments other than string and []byte
// are formatted with [fmt.Sprint]. It takes at most 5 s.
func (s *Server) Query(ctx context.Context, args ...any) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	text := make([]string, len(args))
	for i, arg := range args {
		if b, ok := arg.([]byte); ok {
			text[i] = string(b)
		} else {
			text[i] = fmt.Sprint(arg)
		}
	}
	replies, err := s.roundTrip(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("servers: %s: %s: %w", s, text[0], err)
	}
	return replies[0], nil
}

// roundTrip sends commands together and reads their replies. The first error reply ends it.
func (s *Server) roundTrip(ctx context.Context, commands ...[]string) ([]any, error) {
	var dialer interface {
		DialContext(ctx context.Context, network, address string) (net.Conn, error)
	} = &net.Dialer{}
	if config := s.TLSConfig(); config != nil {
		dialer = &tls.Dialer{Config: config}
	}
	conn, err := dialer.DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()

	skip := 0
	if s.spec.password != "" {
		commands = append([][]string{{"AUTH", s.spec.password}}, commands...)
		skip = 1
	}
	var out []byte
	for _, command := range commands {
		out = resp.AppendCommand(out, command...)
	}
	if _, err := conn.Write(out); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	var replies []any
	for _, command := range commands {
		_, reply, err := resp.ReadReply(r)
		if e, ok := reply.(resp.Error); ok {
			err = e
		}
		if err != nil {
			if ctx.Err() != nil {
				err = ctx.Err()
			}
			return nil, fmt.Errorf("%s: %w", command[0], err)
		}
		replies = append(replies, reply)
		if len(replies) == 1 {
			s.ownConnections.Add(1)
		}
		s.ownCommands.Add(1)
	}
	return replies[skip:], nil
}

// Own returns how many connections this package has made to the server since its start, and how
// many commands it has run there. A test that counts those of clients subtracts these.
func (s *Server) Own() (connections, commands int64) {
	return s.ownConnections.Load(), s.ownCommands.Load()
}

// Do is [Server.Query] for a command that must succeed.
func (s *Server) Do(t testing.TB, args ...any) any {
	t.Helper()
	reply, err := s.Query(context.Background(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// SetUser changes a user, by rules as in [WithUser].
func (s *Server) SetUser(t testing.TB, name string, rules ...string) {
	t.Helper()
	args := []any{"ACL", "SETUSER", name}
	for _, rule := range s.kind.rules(rules) {
		args = append(args, rule)
	}
	s.Do(t, args...)
}

// Keys returns every key of database 0, in any order.
func (s *Server) Keys(t testing.TB) []string {
	t.Helper()
	keys, err := s.keys(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func (s *Server) keys(ctx context.Context) ([]string, error) {
	reply, err := s.Query(ctx, "KEYS", "*")
	if err != nil {
		return nil, err
	}
	var keys []string
	for _, key := range reply.([]any) {
		keys = append(keys, key.(string))
	}
	return keys, nil
}

// WaitEmpty waits until none of the servers has a key. If that takes longer than within, it fails
// the test with the remaining keys.
func WaitEmpty(t testing.TB, within time.Duration, list ...*Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for _, s := range list {
		for {
			keys, err := s.keys(ctx)
			if err == nil && len(keys) == 0 {
				break
			}
			if ctx.Err() != nil {
				if keys, err = s.keys(context.Background()); len(keys) > 0 || err != nil {
					t.Errorf("servers: %s is not empty after %v: keys %q, %v", s, within, keys, err)
				}
				break
			}
			sleep(ctx, poll)
		}
	}
}

// Flush deletes all data and all scripts, like a restart, but keeps connections.
func (s *Server) Flush(t testing.TB) {
	t.Helper()
	s.Do(t, "FLUSHALL")
	s.FlushScripts(t)
}

// FlushScripts makes the server forget its scripts, so that the next EVALSHA returns NOSCRIPT.
func (s *Server) FlushScripts(t testing.TB) {
	t.Helper()
	s.Do(t, "SCRIPT", "FLUSH")
}

// SetConfig sets a configuration parameter. Its value is restored before another test gets the
// server.
func (s *Server) SetConfig(t testing.TB, name, value string) {
	t.Helper()
	was, ok := s.Do(t, "CONFIG", "GET", name).([]any)
	if !ok || len(was) != 2 {
		t.Fatalf("servers: %s has no parameter %q", s, name)
	}
	s.Do(t, "CONFIG", "SET", name, value)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.undo = append(s.undo, []string{"CONFIG", "SET", name, was[1].(string)})
}

// Pause stops the server as if its machine were frozen. Connections stay open, new ones are
// accepted, and bytes sent to it are kept, but nothing is answered before [Server.Resume]. It has
// no effect on a paused server.
func (s *Server) Pause(t testing.TB) {
	t.Helper()
	s.change(t, "pause", func(ctx context.Context) error {
		if s.down {
			return errors.New("it is down")
		}
		if s.paused {
			return nil
		}
		err := s.machine.pause(ctx)
		s.paused = err == nil
		return err
	})
}

// Resume lets a paused server run on. It first runs what it was sent meanwhile. Resume waits
// until the server answers. It has no effect on a server that is not paused.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	s.change(t, "resume", s.resume)
}

func (s *Server) resume(ctx context.Context) error {
	if !s.paused {
		return nil
	}
	if err := s.machine.resume(ctx); err != nil {
		return err
	}
	s.paused = false
	return s.ready(ctx)
}

// Kill ends the server at once (SIGKILL). Connections are cut. New ones are refused, or, in a
// Sentinel set or Cluster, accepted and cut. A paused server runs nothing more. Kill has no
// effect on a server that is down.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.change(t, "kill", func(ctx context.Context) error {
		if s.down {
			return nil
		}
		if err := s.machine.kill(ctx); err != nil {
			return err
		}
		s.down, s.paused = true, false
		return nil
	})
}

// Stop ends the server in order (SIGTERM), and otherwise works like [Server.Kill].
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.change(t, "stop", func(ctx context.Context) error {
		if s.down {
			return nil
		}
		if err := s.resume(ctx); err != nil {
			return err
		}
		if err := s.machine.stop(ctx); err != nil {
			return err
		}
		s.down = true
		return nil
	})
}

// Start starts a server that is down, at its old address, and waits until it answers. The server
// is empty and knows no script, but with [WithAOF] it has its data. Start has no effect on a
// server that is up.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.change(t, "start", s.start)
}

func (s *Server) start(ctx context.Context) error {
	if !s.down {
		return nil
	}
	s.ownConnections.Store(0)
	s.ownCommands.Store(0)
	if err := s.machine.start(ctx); err != nil {
		return err
	}
	s.down = false
	return s.ready(ctx)
}

// Restart is [Server.Kill] and [Server.Start].
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Kill(t)
	s.Start(t)
}

// up reports whether the server is neither paused nor down.
func (s *Server) up() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.paused && !s.down
}

// change applies an action to the server's machine, under the lock.
func (s *Server) change(t testing.TB, what string, f func(context.Context) error) {
	t.Helper()
	if s.machine == nil {
		t.Skipf("servers: %s cannot %s %s, a server that was given (start it WithOutages)", t.Name(), what, s.addr)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := f(ctx); err != nil {
		t.Fatalf("servers: %s %s: %v", what, s, err)
	}
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := s.roundTrip(attempt, []string{"PING"})
		cancel()
		if err == nil {
			return nil
		}
		if s.machine != nil {
			if gone := s.machine.gone(ctx); gone != nil {
				return gone
			}
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", s, err)
		}
		sleep(ctx, poll)
	}
}

// heal prepares a server for use by a test.
func (s *Server) heal(ctx context.Context) error {
	if s.machine == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return errors.Join(s.resume(ctx), s.start(ctx))
}

// reset empties a server and cuts the connections that an earlier test has left.
func (s *Server) reset(ctx context.Context) error {
	commands := [][]string{{"FLUSHALL"}, {"SCRIPT", "FLUSH"}}
	if s.machine != nil && s.kind != Embedded {
		commands = append([][]string{
			{"CLIENT", "KILL", "TYPE", "normal"}, // all except this one
			{"CLIENT", "KILL", "TYPE", "pubsub"},
		}, commands...)
		commands = append(commands, []string{"CONFIG", "RESETSTAT"})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	slices.Reverse(s.undo)
	if _, err := s.roundTrip(ctx, append(commands, s.undo...)...); err != nil {
		return err
	}
	s.undo = nil
	return nil
}

// remove ends the server permanently.
func (s *Server) remove(ctx context.Context) error {
	if s.machine == nil {
		return nil
	}
	err := s.machine.remove(ctx)
	if err == nil && s.port != 0 {
		port.Give(s.port)
		err = s.spec.dial.remove()
	}
	return err
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
