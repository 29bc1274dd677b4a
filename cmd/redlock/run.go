package main

import (
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
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
	// between least and leave. If all have answered so far, it waits for longest at most.
	least   = 50 * time.Millisecond
	leave   = 500 * time.Millisecond
	longest = 2 * time.Second

	// lingerCheck is how often the tool checks for processes left behind by a stopped
	// command.
	lingerCheck = 20 * time.Millisecond
)

func newRun() *cobra.Command {
	r := &run{acquisition: acquisition{wait: patience{forever: true}, codes: runCodes}}
	cmd := &cobra.Command{
		Use:   "run [flags] NAME -- COMMAND [ARGUMENT...]",
		Short: "Hold a lock while a command runs",
		Long: `Takes the lock called NAME, waits for it if it is taken, runs the command, and unlocks
when the command has ended. Meanwhile it extends the lock, so the command may take
as long as it likes. If this machine dies, the lock ends by itself after the TTL.

If the lock is lost, the command must stop, because another machine may start its own.
redlock sends SIGTERM to the command and to all that it has started, and SIGKILL after
the grace period. If the servers only stopped answering, the command has ended before
anyone else can get the lock. If the lock was deleted or a server lost its data, stopping
starts when that is noticed, which may be too late.

If redlock itself is killed (SIGKILL), a second redlock process notices that, and kills
the command and all that it has started. "All that it has started" means the process
group of the command. On Linux, it includes what has left the group but not the session
(timeout, set -m). A process that has left the session (setsid, a daemon), or on other
systems the group, goes on without the lock. On Windows, redlock stops only the command
itself, and the command lives on if redlock is killed. A command that runs as another user, such as
"redlock run NAME -- sudo COMMAND", can be neither stopped nor interrupted: use
"sudo redlock run NAME -- COMMAND" instead.

With --also, redlock holds several locks. The command starts when it has all of them.

With --permits N, NAME has N permits, and the command runs while redlock holds one of
them. So up to N commands run at a time. What this text says about the lock is true for
the permit. The lock NAME and the permits of NAME are independent of each other.

With --shared, the command runs beside other commands with --shared, for example because
all of them only read. A command without --shared runs alone. All wait in one queue,
first come, first served. So a command without --shared gets its turn.

The command has the standard input and output of redlock, and gets the signals that are
sent to redlock: interrupt, terminate, hangup, quit, usr1 and usr2. Usually redlock
unlocks as soon as the command has ended, even if processes that it has started still run.
But if a signal has ended the command, or one of the first four was passed on to it,
redlock first waits until these processes have ended too, for the grace period at most.

Ctrl-Z suspends the command and redlock. Nobody extends the lock then, so others may
have it after the TTL. If so, redlock stops the command when you continue it. Without a
terminal, redlock passes SIGTSTP and SIGCONT on, and extends the lock all the time.

A run inside the command of another run would wait for itself if it needs the same lock
on the same servers. So it fails at once. (On Linux this is noticed in everything that the
command has started, elsewhere only if the inner run is the command itself.) If the outer
command does not wait for the inner run, start that with "env -u REDLOCK_HELD", which
turns the check off.`,
		Example: `  redlock run deploy -- ./deploy.sh production       wait for the lock, then deploy
  redlock run --wait 0 nightly -- make report        do nothing if it already runs somewhere
  redlock run --wait 0 --min-hold 30s report -- make report
                                                     in the crontab of several machines: one runs it
  redlock run --wait 0 -E 0 --max-hold 1h sync -- ./sync.sh
                                                     exit code 0 if it already runs; at most an hour
  redlock run --wait 30s db -- sh -c 'dump | gzip'   pipes need a shell
  redlock run --permits 5 export -- ./export.sh      at most five of them at a time
  redlock run --shared data -- ./report.sh           beside other commands with --shared
  redlock run --also db deploy -- ./deploy.sh        hold two locks; no order of names can deadlock

  export REDLOCK_NODES=redis://:secret@r1:6379,redis://:secret@r2:6379,redis://:secret@r3:6379
  redlock run nightly -- make report                 works while two of the three servers do

  The first line after #! in a script that takes the lock itself (run it as ./script):
  [ "$REDLOCK_NAME" = nightly ] || exec redlock run --wait 0 nightly -- "$0" "$@"`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + `
  REDLOCK_QUARANTINE
                  as --quarantine, where that is not given` + commandEnvironmentHelp(runEnvironmentHelp),
			exitSection: `  The command's own, or 128 + N if signal N ended it. Else:
  121  the lock was taken for as long as --wait says (--taken-exit-code sets another code)
  122  wrong usage, or the run would wait for itself
  123  too few servers work, or they refuse; the command did not run
  124  the lock was lost, and redlock stopped the command (or it had just ended by
       itself); or redlock stopped the command because --max-hold was over
  126  the command cannot be run
  127  there is no such command
  128 + N  signal N came before redlock had the lock; the command did not run
If SIGINT, SIGTERM or SIGHUP has ended the command or the wait, redlock ends by that
signal too, which shells show as 128 + N.
Some commands end with such codes themselves: timeout with 124, xargs with 123 and
124, and shells with 126 and 127. Then a line on stderr says that the code is from the
command. There is no such line if timeout runs redlock: use --wait and --max-hold instead.`,
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
	flags.StringArrayVar(&r.also, "also", nil, "hold the lock called `name` too; give it once for each further lock, in any order")
	flags.BoolVar(&r.shared, "shared", false, "share the lock: the command runs beside others with --shared, but not beside one without it")
	flags.IntVar(&r.permits, "permits", 0, "take one of `N` permits of NAME instead of the lock, so that up to N commands run at a time; give the same N everywhere")
	durationVar(flags, &r.ttl, "ttl", defaultRunTTL, "how long the lock lives on if this process dies or loses the servers")
	durationVar(flags, &r.grace, "grace", defaultGrace,
		"how long the command may take to end after SIGTERM if the lock is lost, 0 to kill it at once; at most a third of the TTL, which is also the default if that is shorter")
	durationVar(flags, &r.minHold, "min-hold", 0,
		"keep the lock for at least this long after it was taken, even if the command ends sooner or this machine dies: for a job that several machines start at about the same time. If --ttl is longer, the lock is kept for the TTL. If the command did not run, it is not kept (default none)")
	durationVar(flags, &r.maxHold, "max-hold", 0,
		"hold the lock for at most this long: redlock then stops the command as if the lock were lost. SIGTERM comes a little more than the grace period before that, so that the command has ended in time; at least the TTL (default no limit)")
	flags.IntVarP(&r.codes.taken, "taken-exit-code", "E", runTaken, "end with exit code `N`, from 0 to 255, if the lock is taken; with 0, also print no message about that")
	flags.BoolVar(&r.fencing, "fencing", false, "give the command a fencing token in REDLOCK_FENCE: a number that is higher for each later holder of NAME, so that what the command writes to can reject late writes")
	durationVar(flags, &r.quarantine, "quarantine", 0,
		quarantineUsage+". A run that waits for the lock waits for the end of that too; 0 means none (default none)")
	flags.BoolVar(&r.passNodes, "pass-nodes", false, "pass REDLOCK_NODES and REDLOCK_PASSWORD on to the command although they may contain a password")
	flags.StringVar(&r.owner, "owner", "", "`label` by which others see who has the lock (default the host name and process id)")
	cmd.SetFlagErrorFunc(commandFlagError)
	return cmd
}

// commandFlagError returns the error for a wrong flag of run and campaign. It may be one of
// the command.
func commandFlagError(cmd *cobra.Command, err error) error {
	text := flagError(err)
	if strings.HasPrefix(text, "unknown") {
		text += `; the flags of the command come after "--", as in: redlock ` + cmd.Name() + ` NAME -- ls -l`
	}
	return usage(cmd, text)
}

// A run is one invocation of redlock run.
type run struct {
	acquisition
	grace     time.Duration
	maxHold   time.Duration
	passNodes bool

	verb    string // the name of the subcommand
	command []string
	path    string      // of the command
	passed  []os.Signal // to the command that runs
	denied  bool        // the user was told that the command cannot be signalled

	extending struct { // whether extensions fail
		sync.Mutex
		failing map[string]bool // by key
	}
}
