package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/redlock"
)

func (r *run) execute() error {
	defer r.close()
	reaper, err := r.prepare()
	if err != nil {
		return err
	}
	defer reaper.Close()
	lock, err := r.acquire()
	if err != nil {
		return err
	}
	status, lost, err := r.serve(lock, reaper)
	if err != nil {
		r.abandon(lock)
		return r.cannotRun(err)
	}
	return r.outcome(status, lost, lock.Unlock(context.Background()))
}

// prepare checks what must be right before the tool takes a lock.
func (r *run) prepare() (*child.Reaper, error) {
	if err := r.check(); err != nil {
		return nil, err
	}
	reaper := child.NewReaper()
	// Do not take a lock for a command that does not exist.
	path, err := exec.LookPath(r.command[0])
	if err != nil {
		reaper.Close()
		return nil, r.cannotRun(err)
	}
	r.path = path
	return reaper, nil
}

// serve runs the command under lock, and stops it if the lock is lost. The error is that
// of a command that cannot be run.
func (r *run) serve(lock tenure, reaper *child.Reaper) (status child.Status, lost bool, err error) {
	taken := time.Now()
	r.passed = nil
	r.extending.Lock()
	r.extending.failing = nil // the failures of an earlier term
	r.extending.Unlock()
	cmd := exec.Command(r.path)
	cmd.Args = r.command
	held := r.around.with(r.locks...)
	cmd.Env = commandEnvironment(os.Environ(), surrounding{
		name: r.name, fence: lock.Fence(r.name), permit: r.permit(lock), held: held, passNodes: r.passNodes,
	})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	process, err := child.Start(cmd, heldVariable+"="+held.String(), r.signals, reaper)
	if err != nil {
		return child.Status{}, false, err
	}
	if err := process.Unguarded(); err != nil {
		r.say("if this process is killed, what the command has started may go on without the lock: %v", err)
	}
	lost = r.follow(process, lock, taken)
	process.Leave()
	return process.Status(), lost, nil
}

// outcome returns what ends the tool after a command that has run. err is that of the
// release.
func (r *run) outcome(status child.Status, lost bool, err error) error {
	r.silent = true
	switch {
	case lost:
		return r.end(runLost, "the command has ended: %v", status)
	case errors.Is(err, redlock.ErrNotHeld):
		return r.end(runLost, "the command has ended by itself (%v), but %s was lost before, so that another may have run at the same time: %s",
			status, r.lostOne(err), lossReason(err))
	case err != nil:
		r.silent = false
		r.say("could not unlock %s, which then ends by itself, at the latest after %v: %s", r.unlockable(err), r.ttl, r.nodes.reason(err))
	}
	if status.Code == 0 {
		return nil
	}
	if own := r.ownMeaning(status.Code); own != "" {
		r.say("exit code %d is from the command itself; from redlock it would mean %s", status.Code, own)
	}
	end := &exitError{code: status.Code}
	if status.By != nil && slices.Contains(r.passed, status.By) {
		end.by = status.By
	}
	return end
}
