//go:build !unix

package child

import (
	"os"
	"os/exec"
	"os/signal"
)

// Process is a command that runs, or has. Its methods may be called
// concurrently. What the command starts is not followed on this system, and the command
// lives on if this process is killed.
type Process struct {
	cmd    *exec.Cmd
	done   chan struct{}
	status Status
}

// Start starts cmd and does not wait for it; cmd's own methods must not be used
// any more.
func Start(cmd *exec.Cmd, _ string, _ chan<- os.Signal, _ *Reaper) (*Process, error) {
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		p.status = Status{Code: cmd.ProcessState.ExitCode()}
		close(p.done)
	}()
	return p, nil
}

// Unguarded returns nil: that the command may outlive this process is documented.
func (p *Process) Unguarded() error { return nil }

// Leave does nothing on this system.
func (p *Process) Leave() {}

// A Reaper is not needed on this system.
type Reaper struct{}

// NewReaper returns nil on this system.
func NewReaper() *Reaper { return nil }

// Close does nothing on this system.
func (*Reaper) Close() {}

// BecomeGuard returns at once: there are no guards on this system.
func BecomeGuard() {}

// InBackground returns false: it cannot be told on this system.
func InBackground() bool { return false }

// Resumed never delivers anything on this system.
func (p *Process) Resumed() <-chan struct{} { return nil }

// Continue does nothing on this system.
func (p *Process) Continue() {}

// Signal does nothing: the console has told the command already.
func (p *Process) Signal(os.Signal) error { return nil }

// Terminate kills the command: this system has no way to ask.
func (p *Process) Terminate() error { return p.Kill() }

// Kill ends the command.
func (p *Process) Kill() error { return p.cmd.Process.Kill() }

// Lingers reports whether the command runs.
func (p *Process) Lingers() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Done is closed when the command has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Status waits for the command and says how it ended.
func (p *Process) Status() Status {
	<-p.done
	return p.status
}

// Notify relays to c the signals that are meant for the command.
func Notify(c chan<- os.Signal) { signal.Notify(c, os.Interrupt) }

// Die returns: a signal does not end a process of this system.
func Die(os.Signal) {}

// Idle does nothing here: only signals of a job need it.
func Idle() {}

// Ends reports whether sig ends a process by default, and the exit code of a
// process that it has ended.
func Ends(os.Signal) (code int, ends bool) { return 130, true }
