//go:build unix

package child

import (
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
)

// A Reaper waits for the processes that this process has to wait for though it has not
// started them: orphans, of which the system makes process 1 the parent. Without it they
// would stay as zombies. While there is one, nothing else may wait for children. A nil
// Reaper waits for nothing by itself.
type Reaper struct {
	signals chan os.Signal
	done    chan struct{}

	mu  sync.Mutex
	own map[int]chan syscall.WaitStatus // of children that somebody here waits for
}

// NewReaper returns a Reaper that works until it is closed, or nil if this process gets no
// orphans.
func NewReaper() *Reaper {
	if os.Getpid() != 1 && !isSubreaper() {
		return nil
	}
	r := &Reaper{
		signals: make(chan os.Signal, 1),
		done:    make(chan struct{}),
		own:     make(map[int]chan syscall.WaitStatus),
	}
	signal.Notify(r.signals, syscall.SIGCHLD)
	go func() {
		defer close(r.done)
		r.reap() // what ended before
		for range r.signals {
			r.reap()
		}
	}()
	return r
}

// Close ends the Reaper. Nobody learns any more how a process ends.
func (r *Reaper) Close() {
	if r == nil {
		return
	}
	signal.Stop(r.signals)
	close(r.signals)
	<-r.done
}

// reap waits for all children that have ended or were stopped.
func (r *Reaper) reap() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		var ws syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &ws, syscall.WNOHANG|syscall.WUNTRACED, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		own := r.own[pid]
		if own == nil {
			continue // an orphan
		}
		own <- ws
		if !ws.Stopped() {
			delete(r.own, pid)
		}
	}
}

// start starts cmd. The function that it returns waits until the process ends or is
// stopped, and is called again after a stop.
func (r *Reaper) start(cmd *exec.Cmd) (wait func() (syscall.WaitStatus, error), err error) {
	if r != nil {
		// So that the process is known to be ours before it can be waited for.
		r.mu.Lock()
		defer r.mu.Unlock()
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	pid := cmd.Process.Pid
	if r != nil {
		statuses := make(chan syscall.WaitStatus, 16)
		r.own[pid] = statuses
		return func() (syscall.WaitStatus, error) { return <-statuses, nil }, nil
	}
	return func() (syscall.WaitStatus, error) {
		for {
			var ws syscall.WaitStatus
			_, err := syscall.Wait4(pid, &ws, syscall.WUNTRACED, nil)
			if err != syscall.EINTR {
				return ws, err
			}
		}
	}, nil
}
