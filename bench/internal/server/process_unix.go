//go:build unix

package server

import (
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

// process is a server program that runs in its own folder.
type process struct {
	cmd    *exec.Cmd
	dir    string
	exited chan struct{} // closed when it has ended
}

func launch(program, dir string, args ...string) (*process, error) {
	out, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.SysProcAttr = diesWithParent()
	if err := fork(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, dir: dir, exited: make(chan struct{})}
	go func() { // ends with the process
		defer close(p.exited)
		cmd.Wait()
	}()
	return p, nil
}

// removeStaleFolders removes the folders of killed benchmarks.
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

func (p *process) number() int { return p.cmd.Process.Pid }

func (p *process) stop() error   { return p.cmd.Process.Signal(syscall.SIGSTOP) }
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// kill ends the process, even a stopped one, and removes its folder.
func (p *process) kill() error {
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
	case <-time.After(patience):
		return fmt.Errorf("process %d does not end", p.cmd.Process.Pid)
	}
	return os.RemoveAll(p.dir)
}

func (p *process) ended() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// log returns what the process has printed.
func (p *process) log() string {
	text, _ := os.ReadFile(filepath.Join(p.dir, "log"))
	return string(text)
}
