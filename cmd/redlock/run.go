package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/quorumlock/quorumlock/cmd/redlock/internal/child"
	"github.com/quorumlock/quorumlock/internal/text"
	"github.com/quorumlock/quorumlock/redlock"
)

// Exit codes of run itself. They are the codes of the other commands plus 120, so that
// they are not mistaken for exit codes of the command.
const (
	runTaken   = 120 + exitFailed // somebody else has the lock
	runUsage   = 120 + exitUsage
	runServers = 123 // too few servers work
	runLost    = 124 // the lock was lost while the command ran

	// As in shells.
	runCannot   = 126 // the command exists and cannot be run
	runNotFound = 127
)

const (
	// defaultRunTTL is longer than the library's, because commands run for minutes and
	// should survive a restart of a server.
	defaultRunTTL = 30 * time.Second

	defaultGrace = 5 * time.Second

	// The grace is at most 1/graceShare of the TTL. This leaves as much time for
	// extensions and for repeating them.
	graceShare = 3

	// If the command must be killed, it is gone 1/margin of the TTL before the lock.
	margin = 20

	// quietWait is how long the tool waits for a lock without a message.
	quietWait = 700 * time.Millisecond

	// Before it exits, the tool waits for servers that have not answered, for a time
	// between least and leave.
	least = 50 * time.Millisecond
	leave = 500 * time.Millisecond

	// lingerCheck is how often the tool checks for processes left behind by a stopped
	// command.
	lingerCheck = 20 * time.Millisecond
)

func newRun() *cobra.Command {
	r := &run{wait: patience{forever: true}}
	cmd := &cobra.Command{
		Use:   "run [flags] NAME -- COMMAND [ARGUMENT...]",
		Short: "Hold a lock while a command runs",
		Long: `Takes the lock called NAME, waiting if it is taken, runs the command, and unlocks
when the command has ended. Meanwhile it extends the lock, so the command may take
as long as it likes. If this machine dies, the lock ends by itself after the TTL.

If the lock is lost, the command must stop, because another may start. The command
and all that it has started get a SIGTERM, and a SIGKILL after the grace period. If
the servers only stopped answering, the command has ended before anyone else can get
the lock. If the lock was deleted or a server lost its data, stopping starts when that
is noticed, which may be too late.

If redlock itself is killed (SIGKILL), a second process of it kills the command and
all that it has started. In both cases this means the processes of the command's
process group. A process that has left the group (setsid, a daemon) goes on without
the lock. On Windows only the command itself is stopped, and it lives on if redlock is
killed.

Input, output and signals (interrupt, terminate, hangup, quit, usr1, usr2) are the
command's. If a signal has ended it, the lock is also held for what it has started,
for the grace period at most. Ctrl-Z stops the command and the extending: others may
have the lock after the TTL, and the command then ends when it is continued. Without
a terminal SIGTSTP and SIGCONT are passed on, and the lock is extended all the time.

A run inside the command of another one that holds the same lock on the same servers
would wait for itself. It fails at once (Linux; elsewhere only if it is the command
itself). "env -u REDLOCK_HELD" turns that off, for what runs on in the background.`,
		Example: `  redlock run deploy -- ./deploy.sh production       wait for the lock, then deploy
  redlock run --wait 0 nightly -- make report        do nothing where another is at it
  redlock run --wait 0 --min-hold 30s report -- make report
                                                     in the crontab of several machines, each minute
  redlock run --wait 30s db -- sh -c 'dump | gzip'   pipes need a shell

  export REDLOCK_NODES=redis://:secret@r1:6379,redis://:secret@r2:6379,redis://:secret@r3:6379
  redlock run nightly -- make report                 works while two of the three do

  A script that locks itself, by its first line:
  [ "$REDLOCK_NAME" = nightly ] || exec redlock run --wait 0 nightly -- "$0" "$@"`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + `
  REDLOCK_QUARANTINE
                  as --quarantine, where that is not given` + commandEnvironmentHelp,
			exitSection: `  The command's own, or 128 + N if signal N ended it. Else:
  121  the lock is taken, and was so for as long as --wait says
  122  wrong usage, or it would wait for itself
  123  too few servers work, or they refuse; the command did not run
  124  the lock was lost, and the command stopped (or it had just ended by itself)
  126  the command cannot be run
  127  there is no such command
  128 + N  signal N came while waiting for the lock`,
		},
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			r.stderr = cmd.ErrOrStderr()
			if err := r.parse(cmd, args); err != nil {
				return err
			}
			return r.execute()
		},
	}
	flags := cmd.Flags()
	flags.SortFlags = false
	r.nodes.register(flags, "; at most an eighth of the TTL, and less by default if that is short")
	flags.VarP(&r.wait, "wait", "w", `how long to wait while the lock is taken: "forever", 0 to try once, or a time such as 90s (a number without a unit is seconds, here and in all flags that are times)`)
	durationVar(flags, &r.ttl, "ttl", defaultRunTTL, "how long the lock lives on if this process dies or loses the servers")
	durationVar(flags, &r.grace, "grace", defaultGrace,
		"how long a command may take to end when the lock is lost, 0 to kill it at once; at most a third of the TTL, and less by default if that is short")
	durationVar(flags, &r.minHold, "min-hold", 0,
		"keep the lock for at least so long, counted from when it was taken, even if the command ends sooner or this machine dies: for a job that several machines start at about the same time (default none)")
	flags.BoolVar(&r.fencing, "fencing", false, "give the command a fencing token: a number for what it writes to, higher for each later lock of NAME")
	durationVar(flags, &r.quarantine, "quarantine", 0,
		"have a server that may have lost its data, or is new, lock nothing for so long, at least a second more than the longest TTL of all who use it; "+
			"--wait waits for the end of that (default none)")
	flags.BoolVar(&r.passNodes, "pass-nodes", false, "pass REDLOCK_NODES on to the command even if it may contain a password")
	flags.StringVar(&r.owner, "owner", "", "`label` by which others see who has the lock (default the host name and process id)")
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		text := flagError(err)
		if strings.HasPrefix(text, "unknown") {
			text += `; the flags of the command come after "--", as in: redlock run NAME -- ls -l`
		}
		return usage(cmd, text)
	})
	return cmd
}

// A run is one invocation of redlock run.
type run struct {
	nodes      nodeFlags
	wait       patience
	ttl, grace time.Duration
	owner      string
	fencing    bool
	quarantine time.Duration
	minHold    time.Duration

	name    string
	command []string
	path    string // of the command
	stderr  io.Writer
	conn    *connection
	signals chan os.Signal
	around  held   // locks held by the runs around this one
	lock    string // identifies its lock

	passNodes bool

	last   redlock.Report // of the last release or attempt; close reports servers without an answer in it
	silent bool           // there may be such servers, and nothing was said about them

	extending struct { // whether extensions fail
		sync.Mutex
		failing bool
	}
}

// parse checks the arguments, before any I/O.
func (r *run) parse(cmd *cobra.Command, args []string) error {
	dash := cmd.ArgsLenAtDash()
	const form = "as in: redlock run NAME -- COMMAND"
	switch {
	case len(args) == 0 || dash == 0:
		return usage(cmd, "the name of the lock is missing, "+form)
	case dash < 0 && len(args) > 1:
		name, command := args[0], args[1]
		if mayHoldPassword(name) || mayHoldPassword(command) {
			name, command = "NAME", "COMMAND"
		}
		return usage(cmd, fmt.Sprintf(`"--" is missing between the name of the lock and the command, as in: redlock run %s -- %s`, text.Name(name), text.Name(command)))
	case dash < 0 || dash == len(args):
		return usage(cmd, "the command to run is missing, "+form)
	case dash > 1:
		return usage(cmd, fmt.Sprintf("a lock has one name, but before the -- there are %d: %s", dash, arguments(args[:dash])))
	case args[0] == "":
		return usage(cmd, "the name of the lock is empty, "+form)
	case isServer(args[0]):
		return usage(cmd, "the name of the lock is the URL of a server, which belongs into --node or REDLOCK_NODES; "+form)
	}
	r.name, r.command = args[0], args[1:]
	switch longest := r.ttl / graceShare; {
	case !cmd.Flags().Changed("grace"):
		r.grace = min(r.grace, longest)
	case r.grace < 0:
		return usage(cmd, fmt.Sprintf("--grace is %v: it cannot be negative", r.grace))
	case r.grace > longest:
		return usage(cmd, fmt.Sprintf("--grace is %v: it can be a third of --ttl at most, so take a --ttl of %v or more", r.grace, graceShare*r.grace))
	}
	if !cmd.Flags().Changed("node-timeout") {
		r.nodes.timeout = min(r.nodes.timeout, r.ttl/8)
	}
	if cmd.Flags().Changed("min-hold") && r.minHold <= 0 {
		return usage(cmd, fmt.Sprintf("--min-hold is %v: it must be positive", r.minHold))
	}
	if r.owner == "" {
		r.owner = owner()
	}
	quarantined := cmd.Flags().Changed("quarantine")
	if value := os.Getenv("REDLOCK_QUARANTINE"); !quarantined && value != "" {
		d, err := parseDuration(value)
		if err != nil {
			return usage(cmd, fmt.Sprintf("REDLOCK_QUARANTINE is %s, and %v", argument(value), err))
		}
		r.quarantine, quarantined = d, true
	}
	var err error
	opts := []redlock.Option{
		redlock.WithTTL(r.ttl), redlock.WithNodeTimeout(r.nodes.timeout), redlock.WithOwner(r.owner), redlock.WithAutoExtend(),
		redlock.WithHooks(redlock.Hooks{
			Extended: r.extended,
			Unlocked: func(_ context.Context, e redlock.Event) { r.last = e.Report },
		}),
	}
	if r.minHold > 0 {
		opts = append(opts, redlock.WithMinHold(r.minHold))
	}
	if r.fencing {
		opts = append(opts, redlock.WithFencing())
	}
	if quarantined {
		opts = append(opts, redlock.WithQuarantine(r.quarantine))
	}
	r.conn, err = r.nodes.connect(os.Getenv, opts...)
	if err != nil {
		return usage(cmd, err.Error())
	}
	r.around = parseHeld(os.Getenv(heldVariable))
	r.lock = lockHash(r.nodes.prefix+r.name, r.conn.servers())
	return nil
}

// say prints a message for the user.
func (r *run) say(format string, args ...any) {
	if !r.nodes.quiet {
		printLine(r.stderr, fmt.Sprintf(format, args...))
	}
}

// end returns the error that ends the tool with this code and message.
func (r *run) end(code int, format string, args ...any) error {
	r.say(format, args...)
	return &exitError{code: code}
}

func (r *run) execute() error {
	defer r.close()
	if n := len(r.conn.names); n%2 == 0 {
		r.say("of %d servers %d must work, so that no more of them may fail than of %d: an odd number of servers is better", n, n/2+1, n-1)
	}
	if err := r.nested(); err != nil {
		return err
	}
	reaper := child.NewReaper()
	defer reaper.Close()
	// Do not take a lock for a command that does not exist.
	path, err := exec.LookPath(r.command[0])
	if err != nil {
		return r.cannotRun(err)
	}
	r.path = path
	r.signals = make(chan os.Signal, 16)
	child.Notify(r.signals)

	lock, err := r.acquire()
	for err == nil && lock.Err() != nil { // this process was stopped for a long time
		_ = lock.Unlock(context.Background())
		lock, err = r.acquire()
	}
	if err != nil {
		return err
	}
	cmd := exec.Command(r.path)
	cmd.Args = r.command
	held := r.around.with(r.lock)
	cmd.Env = commandEnvironment(os.Environ(), surrounding{
		name: r.name, fence: lock.Fence(), held: held, passNodes: r.passNodes,
	})
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	process, err := child.Start(cmd, heldVariable+"="+held.String(), r.signals, reaper)
	if err != nil {
		if r.minHold > 0 { // the command did not run, so let another machine try
			_ = r.conn.locker.Release(context.Background(), lock.Handover())
		}
		_ = lock.Unlock(context.Background())
		return r.cannotRun(err)
	}
	if err := process.Unguarded(); err != nil {
		r.say("if this process is killed, what the command has started may go on without the lock: %v", err)
	}
	lost := r.follow(process, lock)
	process.Leave()
	status := process.Status()

	err = lock.Unlock(context.Background())
	r.silent = true
	switch {
	case lost:
		return r.end(runLost, "the command has ended: %v", status)
	case errors.Is(err, redlock.ErrNotHeld):
		return r.end(runLost, "the command has ended by itself (%v), but the lock %s was lost before, so that another may have run at the same time: %s",
			status, text.Quote(r.name), lossReason(err))
	case err != nil:
		r.silent = false
		r.say("could not unlock %s, which then ends by itself, at the latest after %v: %s", text.Quote(r.name), r.ttl, reason(err))
	}
	if status.Code == 0 {
		return nil
	}
	return &exitError{code: status.Code}
}

// nested fails if this run would wait for itself, because the lock is held by a run whose
// command waits for this one.
func (r *run) nested() error {
	if r.wait.once() {
		return nil // without waiting, there is no deadlock
	}
	pid, certain := r.around.around(r.lock)
	switch {
	case pid == 0:
		return nil
	case certain:
		return r.end(runUsage, `this run would wait for itself: the lock %s is held by the redlock run with process id %d, whose command this is or belongs to; `+
			`take another name, or the lock once only`, text.Quote(r.name), pid)
	}
	r.say("the lock %s is held by the redlock run with process id %d, which has started this one; if it waits for this one, neither ends", text.Quote(r.name), pid)
	return nil
}

// close ends the connections, and says what remains until it expires. A quorum of the
// servers has already answered. The others may be a little slower, or hang.
func (r *run) close() {
	slowest := time.Duration(0)
	var names []string
	for _, n := range r.last {
		switch n.Outcome {
		case redlock.Granted, redlock.Taken, redlock.NotHeld:
			slowest = max(slowest, n.Latency)
		case redlock.Pending, redlock.TimedOut:
			names = append(names, n.Node)
		}
	}
	if r.conn.close(min(max(3*slowest, least), leave)) || !r.silent || len(names) == 0 {
		return
	}
	r.say("no answer yet from %s, where what is left of the lock %s ends by itself, at the latest after %v", strings.Join(names, ", "), text.Quote(r.name), r.ttl)
}

// cannotRun explains why the command cannot be run.
func (r *run) cannotRun(err error) error {
	name := argument(r.command[0])
	switch {
	case errors.Is(err, exec.ErrDot):
		return r.end(runCannot, "the command %s is found in the current directory only by a PATH that contains it: write ./ before it", name)
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		if strings.ContainsAny(r.command[0], " \t|<>&;") {
			// Do not show the arguments, because one of them may be a password.
			return r.end(runNotFound, "there is no command with blanks or operators of a shell in its name; a line of shell needs a shell: redlock run %s -- sh -c 'COMMAND ARGUMENT...'",
				text.Name(r.name))
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
	return r.end(runCannot, "the command %s cannot be run: %v", name, err)
}

// extended handles the result of each extension of the lock.
func (r *run) extended(_ context.Context, e redlock.Event) {
	r.extending.Lock()
	defer r.extending.Unlock()
	switch {
	case e.Err == nil && r.extending.failing:
		r.extending.failing = false
		r.say("extended the lock %s again", text.Quote(r.name))
	case errors.Is(e.Err, redlock.ErrUnavailable) && !errors.Is(e.Err, context.Canceled) && !r.extending.failing:
		r.extending.failing = true
		r.say("could not extend the lock %s, trying again: %s", text.Quote(r.name), reason(e.Err))
	}
}

// follow waits until the command has ended. It reports whether the lock was lost before
// that, in which case follow has stopped the command.
func (r *run) follow(p *child.Process, lock *redlock.Lock) (lost bool) {
	held := lock.Context(context.Background()).Done()
	// The command must be gone before the lock.
	lead := r.grace + r.ttl/margin
	late := time.NewTimer(time.Until(lock.Until()) - lead)
	defer late.Stop()
	var (
		kill, giveUp <-chan time.Time
		done         = p.Done()
		asked        bool // somebody else has asked the command to end
		left         <-chan time.Time
	)
	stop := func(why string) {
		lost, held = true, nil
		late.Stop()
		if r.grace == 0 {
			r.say("lost the lock %s: %s; killing the command", text.Quote(r.name), why)
			p.Kill()
			return
		}
		r.say("lost the lock %s: %s; stopping the command", text.Quote(r.name), why)
		p.Terminate()
		kill = time.After(r.grace)
	}
	for {
		select {
		case <-held:
			stop(lossReason(lock.Err()))
		case <-late.C:
			if left := time.Until(lock.Until()) - lead; left > 0 { // extended in the meantime
				late.Reset(left)
			} else if err := lock.Err(); err != nil && !lost { // this process was stopped
				stop(lossReason(err))
			} else if !lost {
				stop(fmt.Sprintf("it could not be extended and is about to end, in %s", round(time.Until(lock.Until()))))
			}
		case <-kill:
			r.say("the command does not end, killing it")
			p.Kill()
			kill = nil
		case sig := <-r.signals:
			p.Signal(sig)
			_, ends := child.Ends(sig)
			asked = asked || ends
		case <-p.Resumed():
			if !lost && lock.Err() != nil {
				stop(lossReason(lock.Err()))
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
