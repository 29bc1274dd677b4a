package main

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quorumlock/quorumlock/backend"
	"github.com/quorumlock/quorumlock/backend/goredis"
	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/cmd/redlock/internal/embedded"
	"github.com/quorumlock/quorumlock/internal/port"
	"github.com/quorumlock/quorumlock/redlock"
)

// asTool makes the test binary the tool, so that tests run the tool as a
// process, with the race detector if they have it.
const asTool = "REDLOCK_TEST_AS_TOOL"

// asSomethingElse is what the test binary is instead, by environment variable.
var asSomethingElse = map[string]func(){asTool: main}

// patient is how long tests wait for what must happen.
const patient = 30 * time.Second

func TestMain(m *testing.M) {
	child.BecomeGuard()
	for name, be := range asSomethingElse {
		if os.Getenv(name) != "" {
			_ = os.Unsetenv(name)
			be()
		}
	}
	silenceDriver()
	flag.Parse()
	// Parallel tests wait more than they work.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// server starts a Redis server for the test.
func server(t *testing.T) *embedded.Server {
	t.Helper()
	s, err := embedded.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// rival is another process's Locker on the servers.
func rival(t *testing.T, addrs ...string) *redlock.Locker {
	t.Helper()
	var nodes []backend.Node
	for _, a := range addrs {
		client, err := goredis.NewClient("redis://" + a)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = client.Close() })
		nodes = append(nodes, goredis.New(client))
	}
	locker, err := redlock.New(nodes, redlock.WithOwner("rival"), redlock.WithNodeTimeout(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	return locker
}

// environment returns the environment of a tool that finds servers in vars only.
func environment(vars ...string) []string {
	env := []string{asTool + "=1", "GORACE=atexit_sleep_ms=0"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "REDIS_") && !strings.HasPrefix(e, "REDLOCK_") {
			env = append(env, e)
		}
	}
	return append(env, vars...)
}

// tool is the tool as a process.
type tool struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdin          io.WriteCloser
	stdout, stderr *output
	ended          chan struct{}
	status         error
}

// start runs the tool with the servers at nodes and args.
func start(t *testing.T, nodes string, args ...string) *tool {
	t.Helper()
	return startIn(t, environment("REDLOCK_NODES="+nodes), args...)
}

func startIn(t *testing.T, env []string, args ...string) *tool {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = env
	return startAs(t, cmd)
}

// startAs runs cmd, which is the tool. It closes the files that are the output of cmd.
func startAs(t *testing.T, cmd *exec.Cmd) *tool {
	t.Helper()
	p := &tool{t: t, cmd: cmd, ended: make(chan struct{}), stdout: newOutput(), stderr: newOutput()}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	// Pipes of our own: they end when the last process that has them does.
	if cmd.Stdout == nil {
		cmd.Stdout = p.stdout.follow(t)
	} else { // it is the caller's
		close(p.stdout.closed)
	}
	if cmd.Stderr == nil {
		cmd.Stderr = p.stderr.follow(t)
	} else {
		close(p.stderr.closed)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = p.cmd.Stdout.(*os.File).Close()
	_ = p.cmd.Stderr.(*os.File).Close()
	go func() {
		p.status = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		_ = stdin.Close()
		<-p.ended
		if t.Failed() {
			t.Logf("stdout of redlock %q:\n%s", cmd.Args[1:], p.stdout)
			t.Logf("stderr of redlock %q:\n%s", cmd.Args[1:], p.stderr)
		}
	})
	return p
}

// exited waits for the tool for a time, and for nothing that it started.
func (p *tool) exited(within time.Duration) error {
	select {
	case <-p.ended:
		return nil
	case <-time.After(within):
		return errors.New("the tool does not end")
	}
}

// lastOutput waits for the tool, and returns when something was last written to its stdout.
func (p *tool) lastOutput() (last time.Time) {
	last = time.Now()
	for size := 0; p.exited(2*time.Millisecond) != nil; {
		if n := len(p.stdout.String()); n > size {
			last, size = time.Now(), n
		}
	}
	return last
}

// wait waits for the tool, and for whatever else has its output open, and
// returns its exit code. If signal n has killed it, that is 128+n, as in shells.
func (p *tool) wait() int {
	p.t.Helper()
	if err := p.exited(patient); err != nil {
		p.t.Fatal(err)
	}
	if p.stdout != p.stderr { // it is no terminal
		p.stdout.end(p.t)
		p.stderr.end(p.t)
	}
	var exit *exec.ExitError
	if p.status != nil && !errors.As(p.status, &exit) {
		p.t.Fatal(p.status)
	}
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// want waits for the tool and checks its exit code.
func (p *tool) want(code int) {
	p.t.Helper()
	if got := p.wait(); got != code {
		p.t.Fatalf("exit code %d, want %d", got, code)
	}
}

// tell writes a line to the standard input.
func (p *tool) tell(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

func (p *tool) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// output is what a process has written.
type output struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	grown  chan struct{} // closed when there is more
	closed chan struct{} // closed when nobody can write any more
}

func newOutput() *output {
	return &output{grown: make(chan struct{}), closed: make(chan struct{})}
}

// follow returns a file, what is written to which the output gets.
func (o *output) follow(t *testing.T) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go o.copy(r)
	return w
}

func (o *output) copy(r io.ReadCloser) {
	defer func() { _ = r.Close() }()
	defer close(o.closed)
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		o.mu.Lock()
		o.buf.Write(buf[:n])
		close(o.grown)
		o.grown = make(chan struct{})
		o.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// await waits until text was written.
func (o *output) await(t *testing.T, text string) {
	t.Helper()
	timeout := time.After(patient)
	for {
		o.mu.Lock()
		found, grown := strings.Contains(o.buf.String(), text), o.grown
		o.mu.Unlock()
		if found {
			return
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("%q never came; there is:\n%s", text, o)
		}
	}
}

// end waits until all processes that could write have ended.
func (o *output) end(t *testing.T) {
	t.Helper()
	select {
	case <-o.closed:
	case <-time.After(patient):
		t.Fatal("something that the tool started lives on")
	}
}

// await waits until condition holds.
func await(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patient); !condition(); {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// inProcess runs the tool in this process, for calls that run no command.
func inProcess(args ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code, _ = execute(args, &out, &err)
	return code, out.String(), err.String()
}

// nobody returns an address at which nobody listens. No server of another test gets it later,
// because those get ports that the system chooses, which are of another range.
func nobody(t *testing.T) string {
	t.Helper()
	p, err := port.Take()
	if err != nil {
		t.Fatal(err)
	}
	return port.Addr(p)
}
