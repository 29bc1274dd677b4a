package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// cannotRun explains why the command cannot be run.
func (r *run) cannotRun(err error) error {
	name := argument(r.command[0])
	switch {
	case errors.Is(err, exec.ErrDot):
		return r.end(runCannot, "the command %s is found in the current directory only by a PATH that contains it: write ./ before it", name)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		if strings.ContainsAny(r.command[0], " \t|<>&;") {
			// Do not show the arguments, because one of them may be a password.
			return r.end(runNotFound, "there is no command with blanks or operators of a shell in its name; a line of shell needs a shell: redlock %s %s -- sh -c 'COMMAND ARGUMENT...'",
				r.verb, text.Name(r.name))
		}
		if r.path != "" { // it was found, so something else is missing
			if _, err := os.Stat(r.path); err == nil {
				return r.end(runNotFound, "the command %s cannot be run: %s", name, missingInterpreter(r.path))
			}
		}
		return r.end(runNotFound, "there is no command %s", name)
	case errors.Is(err, fs.ErrPermission):
		return r.end(runCannot, "the command %s cannot be run: it is not executable (chmod +x), or a directory", name)
	}
	var path *os.PathError
	var problem *exec.Error
	switch {
	case errors.As(err, &path):
		err = path.Err
	case errors.As(err, &problem):
		err = problem.Err
	}
	if errors.Is(err, syscall.ENOEXEC) {
		return r.end(runCannot, "the command %s cannot be run: %v (a script needs a first line such as #!/bin/sh)", name, err)
	}
	return r.end(runCannot, "the command %s cannot be run: %v", name, err)
}

// missingInterpreter says what does not exist if the file at path exists, and cannot be run
// because something does not.
func missingInterpreter(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return "its interpreter does not exist"
	}
	defer func() { _ = file.Close() }()
	line, _ := bufio.NewReader(io.LimitReader(file, 1<<12)).ReadString('\n')
	switch {
	case !strings.HasPrefix(line, "#!"):
		return "the loader that it needs does not exist"
	case strings.HasSuffix(line, "\r\n"):
		return "its first line ends with a carriage return, which is taken for a part of the interpreter's name: save the script with the line ends of Unix"
	}
	return "its interpreter, which its first line names after #!, does not exist"
}

// extended handles the result of each extension of the lock.
func (r *run) extended(_ context.Context, e redlock.Event) {
	r.extending.Lock()
	defer r.extending.Unlock()
	failing, what := r.extending.failing[e.Key], r.one(strings.TrimPrefix(e.Key, r.nodes.prefix))
	switch {
	case e.Err == nil && failing:
		delete(r.extending.failing, e.Key)
		r.say("extended the %s again", what)
	case errors.Is(e.Err, redlock.ErrUnavailable) && !errors.Is(e.Err, context.Canceled) && !failing:
		if r.extending.failing == nil {
			r.extending.failing = make(map[string]bool)
		}
		r.extending.failing[e.Key] = true
		r.say("could not extend the %s, trying again: %s", what, r.nodes.reason(e.Err))
	}
}

// unlocked handles the result of each release.
func (r *run) unlocked(_ context.Context, e redlock.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last, r.lastErr = e.Report, e.Err
}

// lostName returns the name of the lock that err is about.
func (r *run) lostName(err error) string {
	var quorum *redlock.QuorumError
	if len(r.also) > 0 && errors.As(err, &quorum) {
		return strings.TrimPrefix(quorum.Key, r.nodes.prefix)
	}
	return r.name
}

// lostOne returns the lock that was lost, in words.
func (r *run) lostOne(err error) string {
	var quorum *redlock.QuorumError
	if len(r.also) > 0 && !errors.As(err, &quorum) {
		return "one of the " + r.what()
	}
	return "the " + r.one(r.lostName(err))
}

// follow waits until the command has ended. It reports whether the lock was lost before
// that, in which case follow has stopped the command. The end of --max-hold, counted from
// taken, is such a loss.
func (r *run) follow(p *child.Process, lock tenure, taken time.Time) (lost bool) {
	held := lock.Context(context.Background()).Done()
	// The command must be gone before the lock.
	lead := r.lead()
	due := time.Now().Add(time.Until(lock.Until()) - lead)
	late := time.NewTimer(time.Until(due))
	defer late.Stop()
	var (
		kill, giveUp <-chan time.Time
		done         = p.Done()
		asked        bool // somebody else has asked the command to end, or has ended it
		left         <-chan time.Time
		waited       bool // for the extension that was due during a pause
	)
	end := func(why string) {
		lost, held = true, nil
		late.Stop()
		grace := r.grace
		if lock.Err() == nil { // after a pause, less than that may be left of the lock
			grace = min(grace, time.Until(lock.Until())-r.ttl/margin)
		}
		// A message may take a moment that is not left, so the signals go first.
		if grace <= 0 {
			err := p.Kill()
			r.say("%s; killing the command", why)
			r.signalled(err)
			return
		}
		kill = time.After(grace)
		err := p.Terminate()
		r.say("%s; stopping the command", why)
		r.signalled(err)
	}
	stop := func(err error) { end(fmt.Sprintf("lost %s: %s", r.lostOne(err), lossReason(err))) }
	for {
		select {
		case <-held:
			stop(lock.Err())
		case <-late.C:
			if left := time.Until(lock.Until()) - lead; left > 0 { // extended in the meantime
				due, waited = time.Now().Add(left), false
				late.Reset(left)
			} else if pause := time.Since(due); !lost && !waited && pause > r.ttl/margin && lock.Err() == nil && !r.heldLongest(taken, lock.Until()) {
				// This process was stopped, and the extension that was due is only being sent.
				waited = true
				late.Reset(time.Until(lock.Until()) / 2)
			} else if err := lock.Err(); err != nil && !lost { // this process was stopped
				stop(err)
			} else if !lost && r.heldLongest(taken, lock.Until()) {
				end(fmt.Sprintf("the %s may be held for %v at most (--max-hold)", r.what(), r.maxHold))
			} else if !lost {
				end(fmt.Sprintf("lost %s: it could not be extended and is about to end, in %s", r.lostOne(nil), round(time.Until(lock.Until()))))
			}
		case <-kill:
			err := p.Kill()
			kill = nil
			r.say("the command does not end, killing it")
			r.signalled(err)
		case sig := <-r.signals:
			err := p.Signal(sig)
			_, ends := child.Ends(sig)
			if ends {
				r.passed = append(r.passed, sig)
				r.signalled(err)
			}
			asked = asked || asksToEnd(sig) || sig == syscall.SIGHUP
		case <-p.Resumed():
			if !lost && lock.Err() != nil {
				stop(lock.Err())
			}
			if !lost {
				p.Continue()
			}
		case <-done:
			asked = asked || p.Status().Signal != ""
			if kill == nil && !asked || !p.Lingers() {
				return lost
			}
			// Processes that the command has started may take longer to end.
			done = nil
			ticker := time.NewTicker(lingerCheck)
			defer ticker.Stop()
			left = ticker.C
			if !lost {
				giveUp = time.After(r.grace)
			}
		case <-left:
			if lost && kill == nil || !p.Lingers() {
				return lost
			}
		case <-giveUp:
			if !lost {
				r.say("the command has ended, but not all that it has started, which goes on without the lock")
				return lost
			}
		}
	}
}

// signalled handles the result of a signal that was sent to the command.
func (r *run) signalled(err error) {
	if errors.Is(err, fs.ErrPermission) && !r.denied {
		r.denied = true
		r.say(`may not stop the command: it runs as another user; use "sudo redlock %s NAME -- COMMAND" instead`, r.verb)
	}
}

// heldLongest reports whether a lock that was acquired at taken and is valid until until
// ends because of --max-hold. Its last extension goes to the end of the hold, less the
// clock drift. taken is a little late: at most by a node timeout, an eighth of the TTL.
func (r *run) heldLongest(taken, until time.Time) bool {
	return r.maxHold > 0 && taken.Add(r.maxHold).Sub(until) < r.ttl/4
}
