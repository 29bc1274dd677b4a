//go:build unix

package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// processes is the rung of programs from PATH.
type processes struct {
	list     []Kind
	programs map[Kind]string // paths
}

func openProcesses(ctx context.Context, _ settings) (rung, string, error) {
	r := &processes{programs: map[Kind]string{}}
	var made []string
	for _, name := range []string{"redis-server", "valkey-server", "keydb-server"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		cancel()
		kind, ok := kindOf(string(out))
		if err != nil || !ok {
			return nil, "", fmt.Errorf("%s --version says %q, %v", path, out, err)
		}
		if _, twice := r.programs[kind]; twice {
			continue // because Valkey installs a redis-server too
		}
		r.programs[kind] = path
		r.list = append(r.list, kind)
		made = append(made, fmt.Sprintf("%s from %s", kind, path))
	}
	if len(r.list) == 0 {
		return nil, "", errors.New("no redis-server, valkey-server or keydb-server in PATH")
	}
	removeStaleFolders()
	return r, strings.Join(made, ", "), nil
}

// removeStaleFolders removes the folders of dead test processes.
func removeStaleFolders() {
	names, _ := filepath.Glob(filepath.Join(os.TempDir(), folders+"*"))
	for _, name := range names {
		number, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(name), folders), "-")
		pid, err := strconv.Atoi(number)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			os.RemoveAll(name)
		}
	}
}

func (r *processes) kinds() []Kind { return r.list }

func (r *processes) supports(*spec) error { return nil }

func (r *processes) close() {}

// group is empty, because processes of one machine reach each other anyway.
func (r *processes) group(context.Context, Kind, []int) (group, error) { return noGroup{}, nil }

type noGroup struct{}

func (noGroup) remove(context.Context) error { return nil }

// process is a server in a working folder that it keeps over restarts.
type process struct {
	path string
	args []string
	env  []string // in addition to the test's own
	dir  string

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
}

func (r *processes) launch(ctx context.Context, s *spec, port int, _ group) (machine, error) {
	dir, err := os.MkdirTemp("", fmt.Sprintf("%s%d-*", folders, os.Getpid()))
	if err != nil {
		return nil, err
	}
	for name, content := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
	}
	p := &process{
		path: r.programs[s.kind],
		args: append(s.command(strconv.Itoa(port))[1:], "--bind", "127.0.0.1"),
		dir:  dir,
	}
	if s.dial != nil {
		p.env = []string{"LD_PRELOAD=" + filepath.Join(dir, clockLibrary), "QUORUMLOCK_CLOCK=" + s.dial.file.Name()}
	}
	if err := p.start(ctx); err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return p, nil
}

func (p *process) start(context.Context) error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = diesWithParent()
	if err := fork(cmd); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() { // ends with the process
		defer close(exited)
		cmd.Wait()
	}()
	p.cmd, p.exited = cmd, exited
	return nil
}

// fork starts cmd from a thread that lives as long as this process, because diesWithParent treats
// the end of the forking thread as the end of the parent.
func fork(cmd *exec.Cmd) error {
	forker.once.Do(func() {
		forker.cmds, forker.errs = make(chan *exec.Cmd), make(chan error)
		go func() {
			runtime.LockOSThread()
			for cmd := range forker.cmds {
				forker.errs <- cmd.Start()
			}
		}()
	})
	forker.mu.Lock()
	defer forker.mu.Unlock()
	forker.cmds <- cmd
	return <-forker.errs
}

var forker struct {
	once sync.Once
	mu   sync.Mutex
	cmds chan *exec.Cmd
	errs chan error
}

func (p *process) pause(ctx context.Context) error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	// If the process is running on another core, the signal takes a moment.
	stat := fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid)
	for ctx.Err() == nil {
		text, err := os.ReadFile(stat)
		_, after, ok := bytes.Cut(text, []byte(") "))
		if err != nil || !ok || bytes.HasPrefix(after, []byte("T")) {
			return nil // stopped, or the system does not report it
		}
		sleep(ctx, time.Millisecond)
	}
	return ctx.Err()
}

func (p *process) resume(context.Context) error { return p.cmd.Process.Signal(syscall.SIGCONT) }

func (p *process) kill(ctx context.Context) error { return p.end(ctx, syscall.SIGKILL) }

func (p *process) stop(ctx context.Context) error { return p.end(ctx, syscall.SIGTERM) }

func (p *process) end(ctx context.Context, signal os.Signal) error {
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *process) remove(ctx context.Context) error {
	if err := p.kill(ctx); err != nil {
		return err
	}
	return os.RemoveAll(p.dir)
}

func (p *process) gone(context.Context) error {
	select {
	case <-p.exited:
	default:
		return nil
	}
	log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	err := fmt.Errorf("it ended: %s", lastLines(log))
	if bytes.Contains(log, []byte("Address already in use")) {
		err = fmt.Errorf("%w: %w", errPortTaken, err)
	}
	return err
}
