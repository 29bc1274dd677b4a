// Package server runs Redis or Valkey servers for the benchmark, or uses given ones.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrGiven means that a server was given by its address, so this program cannot stop its process.
var ErrGiven = errors.New("the servers were given by address: they cannot be stopped")

// ErrNone says that this machine has no server program.
var ErrNone = errors.New(`neither redis-server nor valkey-server is in PATH: install one, as with "apt-get install redis-server" ` +
	`or "brew install redis", or name running servers that serve nothing else: -addrs HOST:PORT,…`)

// patience limits the start and the end of a server.
const patience = 10 * time.Second

// folders is the prefix of the names of the servers' folders. The number of the process that made
// them follows.
const folders = "quorumlock-bench-"

// A Server is one server, which was empty at its start. Its methods may be called concurrently.
type Server struct {
	addr    string
	admin   *redis.Client
	process *process // nil for a given server
}

// Start starts n servers on free loopback ports, each in its own folder and without persistence.
// [Server.Close] ends them. On Linux they also end with this process; otherwise they must be
// ended by hand. The error matches [ErrNone] if there is no program.
func Start(ctx context.Context, n int) ([]*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	removeStaleFolders()
	var list []*Server
	for range n {
		s, err := start(ctx, program)
		if err != nil {
			Close(list)
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// Given returns the servers at addrs, which must answer.
func Given(ctx context.Context, addrs []string) ([]*Server, error) {
	var list []*Server
	for _, addr := range addrs {
		s := &Server{addr: addr, admin: newAdmin(addr)}
		list = append(list, s)
		if err := s.admin.Ping(ctx).Err(); err != nil {
			Close(list)
			return nil, fmt.Errorf("the server at %s: %w", addr, err)
		}
	}
	return list, nil
}

func find() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNone
}

func start(ctx context.Context, program string) (*Server, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", folders, os.Getpid()))
	if err != nil {
		return nil, err
	}
	p, err := launch(program, dir, "--port", port, "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--maxclients", "10000")
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	addr := net.JoinHostPort("127.0.0.1", port)
	s := &Server{addr: addr, admin: newAdmin(addr), process: p}
	if err := s.ready(ctx); err != nil {
		log := p.log()
		s.Close()
		return nil, fmt.Errorf("%s on port %s: %w\n%s", program, port, err, log)
	}
	return s, nil
}

// freePort returns a port on which nobody was listening a moment ago.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// newAdmin returns a client for operations that are not measured. It fails soon if the server is
// stopped.
func newAdmin(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr: addr, MaxRetries: -1, PoolSize: 1, ReadTimeout: time.Second, DialerRetries: 1,
	})
}

// Addr returns the host and port.
func (s *Server) Addr() string { return s.addr }

// Version returns the program and version of the server, for example "redis 7.0.15".
func (s *Server) Version(ctx context.Context) (string, error) {
	info, err := s.admin.Info(ctx, "server").Result()
	if err != nil {
		return "", err
	}
	name, version := "redis", "?"
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch {
		case key == "valkey_version":
			return "valkey " + value, nil
		case key == "redis_version":
			version = value
		}
	}
	return name + " " + version, nil
}

// Matching returns the number of keys on the server that match a glob pattern.
func (s *Server) Matching(ctx context.Context, glob string) (int, error) {
	found := map[string]struct{}{} // a scan may return a key twice
	each := s.admin.Scan(ctx, 0, glob, 10_000).Iterator()
	for each.Next(ctx) {
		found[each.Val()] = struct{}{}
	}
	return len(found), each.Err()
}

// Stop makes the server hang. Its connections stay open, and nothing is answered before
// [Server.Resume]. Stop returns when a PING was not answered. The error is [ErrGiven] if the
// server was given.
func (s *Server) Stop(ctx context.Context) error {
	if s.process == nil {
		return ErrGiven
	}
	if err := s.process.stop(); err != nil {
		return err
	}
	for ctx.Err() == nil { // the signal takes a moment
		probe := s.admin.WithTimeout(50 * time.Millisecond)
		if err := probe.Ping(ctx).Err(); err != nil {
			return nil
		}
	}
	return ctx.Err()
}

// Resume lets a stopped server run on, and waits until it has read what it was sent meanwhile.
func (s *Server) Resume(ctx context.Context) error {
	if s.process == nil {
		return ErrGiven
	}
	if err := s.process.resume(); err != nil {
		return err
	}
	return s.ready(ctx)
}

// ready waits until the server answers.
func (s *Server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := s.ping(ctx)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return fmt.Errorf("no answer: %w", err)
		case s.process != nil && s.process.ended():
			return errors.New("it has ended")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// ping sends a PING. It dials on its own first, because the driver pauses for a second after a
// refusal.
func (s *Server) ping(ctx context.Context) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	if err != nil {
		return err
	}
	conn.Close()
	return s.admin.Ping(ctx).Err()
}

// Close ends a server that was started, and removes its folder. It does not end a given server.
func (s *Server) Close() error {
	err := s.admin.Close()
	if s.process != nil {
		err = errors.Join(err, s.process.kill())
	}
	return err
}

// Close closes all servers of a list.
func Close(list []*Server) error {
	var errs []error
	for _, s := range list {
		errs = append(errs, s.Close())
	}
	return errors.Join(errs...)
}

// Processes returns the numbers of the processes of a list. The error is [ErrGiven] if one was
// given.
func Processes(list []*Server) ([]int, error) {
	var numbers []int
	for _, s := range list {
		if s.process == nil {
			return nil, ErrGiven
		}
		numbers = append(numbers, s.process.number())
	}
	return numbers, nil
}

// Addrs returns the addresses of a list.
func Addrs(list []*Server) []string {
	var addrs []string
	for _, s := range list {
		addrs = append(addrs, s.addr)
	}
	return addrs
}
