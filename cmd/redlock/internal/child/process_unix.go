//go:build unix

package child

import (
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a command that runs, or has. Its methods may be called
// concurrently.
type Process struct {
	pid     int    // and the process group's id
	mark    string // in the environment of all that it starts
	session int    // its session, and ours
	tty     *terminal
	done    chan struct{}
	status  Status
	resumed chan struct{}
	guard   *guard
	alone   error // why there is no guard

	mu       sync.Mutex
	ended    bool
	hadTTY   bool // it was in the foreground when it was suspended
	inFront  bool // it has the terminal
	sleeping bool // it is suspended, and so are we
}

// Start starts cmd, whose standard streams must be files, and does not wait for
// it; cmd's own methods must not be used any more. From then on signals gets,
// beside those of [Notify], what stops a job (Ctrl-Z) and what continues it, to be passed
// on like them. The mark is an entry of the environment of cmd that no other command has.
// The Reaper is nil if there is none.
//
// If this process dies before [Process.Leave] is called, the command is killed, and all
// that it has started in its process group: see [BecomeGuard].
func Start(cmd *exec.Cmd, mark string, signals chan<- os.Signal, r *Reaper) (*Process, error) {
	attributes := syscall.SysProcAttr{Setpgid: true}
	dieWithParent(&attributes)
	cmd.SysProcAttr = &attributes
	p := &Process{
		mark:    mark,
		session: anySession,
		tty:     openTerminal(),
		done:    make(chan struct{}),
		resumed: make(chan struct{}, 1),
	}
	if session, err := unix.Getsid(0); err == nil {
		p.session = session
	}
	if os.Getpid() != 1 { // whose end is that of all others
		p.guard, p.alone = startGuard(r, mark)
	}
	relay(signals, syscall.SIGTSTP)
	relay(signals, syscall.SIGCONT)
	started := make(chan error)
	go func() {
		// What kills the command with us goes by the thread that started it,
		// which therefore must not end before it.
		runtime.LockOSThread()
		wait, err := r.start(cmd)
		if err == nil {
			p.pid = cmd.Process.Pid
			if p.guard != nil {
				p.alone = p.guard.watch(p.pid)
			}
		}
		started <- err
		if err == nil {
			p.wait(wait)
			_ = cmd.Process.Release()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		p.tty.close()
		p.Leave()
		return nil, err
	}
	return p, nil
}

// Unguarded returns why the command may outlive this process if this one is killed, or nil.
func (p *Process) Unguarded() error { return p.alone }

// Leave says that what is left of the command may live on when this process ends. It is
// called once.
func (p *Process) Leave() {
	if p.guard != nil {
		p.guard.leave()
	}
}

// wait follows the command until it has ended.
func (p *Process) wait(next func() (syscall.WaitStatus, error)) {
	for {
		ws, err := next()
		if err == nil && ws.Stopped() {
			p.stopped(ws.StopSignal())
			continue
		}
		p.mu.Lock()
		p.ended = true
		if p.inFront {
			p.tty.take()
		}
		p.tty.close()
		p.mu.Unlock()
		switch {
		case err != nil: // somebody else has waited for it; cannot be
			p.status = Status{Code: 255}
		case ws.Signaled():
			p.status = Status{Code: 128 + int(ws.Signal()), Signal: unix.SignalName(ws.Signal()), By: ws.Signal()}
		default:
			p.status = Status{Code: ws.ExitStatus()}
		}
		return
	}
}

// stopped deals with a command that was stopped by sig.
func (p *Process) stopped(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.tty == nil {
		return // by somebody who will let it go on
	}
	switch sig {
	case syscall.SIGTTIN, syscall.SIGTTOU:
		if p.tty.ours() { // it wants the terminal, and may have it
			p.inFront = true
			p.tty.give(p.pid)
			_ = p.signal(syscall.SIGCONT)
			return
		}
	case syscall.SIGTSTP: // Ctrl-Z
	default:
		return
	}
	if p.tty.noShell() {
		_ = p.signal(syscall.SIGCONT)
		return
	}
	// Stop as well, so that the shell notices, and with us the rest of our job.
	p.hadTTY = p.inFront
	if p.inFront {
		p.inFront = false
		p.tty.take()
	}
	p.sleeping = true
	resumed := make(chan os.Signal, 1)
	signal.Notify(resumed, syscall.SIGCONT)
	go func() {
		<-resumed
		signal.Stop(resumed)
		p.resumed <- struct{}{}
	}()
	// Not SIGTSTP, which the Go runtime swallows once it was asked for it.
	_ = syscall.Kill(0, syscall.SIGSTOP)
}

// Resumed delivers a value when this process goes on after it was suspended
// together with the command, which stays stopped until Continue is called.
func (p *Process) Resumed() <-chan struct{} { return p.resumed }

// Continue lets a suspended command go on, with the terminal if it had it.
func (p *Process) Continue() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.sleeping || p.ended {
		return
	}
	p.sleeping = false
	if p.hadTTY && p.tty.ours() {
		p.inFront = true
		p.tty.give(p.pid)
	}
	_ = p.signal(syscall.SIGCONT)
}

// Signal sends sig to the command and all that it has started in its process
// group. What is to end the command also continues it, because a stopped process does not
// notice. While the command is suspended together with this process, only Continue
// continues it. The error is that of the signal: [fs.ErrPermission] if all of them run as
// another user.
func (p *Process) Signal(sig os.Signal) error {
	s, ok := sig.(syscall.Signal)
	switch {
	case !ok || s == syscall.SIGCONT && p.suspended():
		return nil
	case s == syscall.SIGINT || s == syscall.SIGTERM || s == syscall.SIGHUP || s == syscall.SIGQUIT:
		return p.end(s)
	}
	return p.signal(s)
}

// suspended reports whether the command was suspended together with this process, and
// Continue was not called since.
func (p *Process) suspended() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sleeping
}

func (p *Process) signal(sig syscall.Signal) error { return syscall.Kill(-p.pid, sig) }

// end sends sig, which is to end the command, and continues it.
func (p *Process) end(sig syscall.Signal) error {
	err := p.signal(sig)
	_ = p.signal(syscall.SIGCONT)
	return err
}

// others returns the process groups that were made from that of the command in the same
// session, as timeout and shells with job control do. They are known on Linux only.
func (p *Process) others() []int {
	if p.session == anySession {
		return nil
	}
	own := unix.Getpgrp()
	return slices.DeleteFunc(groupsWith(p.mark, p.session), func(group int) bool {
		return group <= 1 || group == own || group == p.pid
	})
}

// Terminate asks the command and all that it has started in its process group to end, also if
// they are stopped; on Linux also what has left the group, but not the session. The error is
// that of the command's group, as of Signal.
func (p *Process) Terminate() error {
	err := p.end(syscall.SIGTERM)
	for _, group := range p.others() {
		_ = syscall.Kill(-group, syscall.SIGTERM)
		_ = syscall.Kill(-group, syscall.SIGCONT)
	}
	return err
}

// Kill ends what Terminate asks to end. The error is as that of Terminate.
func (p *Process) Kill() error {
	err := p.signal(syscall.SIGKILL)
	for _, group := range p.others() {
		_ = syscall.Kill(-group, syscall.SIGKILL)
	}
	return err
}

// Lingers reports whether anything still runs that Kill would end: the command, or what it has
// started.
func (p *Process) Lingers() bool {
	return syscall.Kill(-p.pid, 0) != syscall.ESRCH && lives(p.pid) || len(p.others()) > 0
}

// Done is closed when the command has ended. What it has started may live on.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status waits for the command and says how it ended.
func (p *Process) Status() Status {
	<-p.done
	return p.status
}
