package main

import (
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
	// between least and leave.
	least = 50 * time.Millisecond
	leave = 500 * time.Millisecond

	// lingerCheck is how often the tool checks for processes left behind by a stopped
	// command.
	lingerCheck = 20 * time.Millisecond
)

func newRun() *cobra.Command {
	r := &run{acquisition: acquisition{wait: patience{forever: true}, codes: runCodes}}
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

With --permits, up to N commands run at a time, and "lock" means one of N permits in
this text. The lock and the permits of the same NAME have nothing to do with each
other.

With --shared, commands run at the same time if all of them have this flag, for example
because they only read. A command without it runs alone. All wait in one queue, first
come, first served. So a command without the flag gets its turn.

Input, output and signals (interrupt, terminate, hangup, quit, usr1, usr2) are the
command's. If a signal has ended it, the lock is also held for what it has started,
for the grace period at most. Ctrl-Z stops the command and the extending: others may
have the lock after the TTL, and the command then ends when it is continued. Without
a terminal SIGTSTP and SIGCONT are passed on, and the lock is extended all the time.

A run inside the command of another one that holds the same lock on the same servers
would wait for itself. It fails at once (Linux; elsewhere only if it is the command
itself). "env -u REDLOCK_HELD" turns that off, for what runs on in the background.`,
		Example: `  redlock run deploy -- ./deploy.sh production       wait for the lock, then deploy
  redlock run --wait 0 nightly -- make report        do nothing if another machine runs it
  redlock run --wait 0 --min-hold 30s report -- make report
                                                     in the crontab of several machines, each minute
  redlock run --wait 0 -E 0 --max-hold 1h sync -- ./sync.sh
                                                     no error if it is taken; no run above an hour
  redlock run --wait 30s db -- sh -c 'dump | gzip'   pipes need a shell
  redlock run --permits 5 export -- ./export.sh      up to five at a time
  redlock run --shared data -- ./report.sh           beside other reports, but not beside an import
  redlock run --also db deploy -- ./deploy.sh        hold two locks; no order can lead to a deadlock

  export REDLOCK_NODES=redis://:secret@r1:6379,redis://:secret@r2:6379,redis://:secret@r3:6379
  redlock run nightly -- make report                 works while two of the three do

  A script that locks itself, by its first line:
  [ "$REDLOCK_NAME" = nightly ] || exec redlock run --wait 0 nightly -- "$0" "$@"`,
		Annotations: map[string]string{
			environmentSection: nodesEnvironment + `
  REDLOCK_QUARANTINE
                  as --quarantine, where that is not given` + commandEnvironmentHelp(runEnvironmentHelp),
			exitSection: `  The command's own, or 128 + N if signal N ended it. Else:
  121  the lock is taken, and was so for as long as --wait says (--taken-exit-code N: N)
  122  wrong usage, or it would wait for itself
  123  too few servers work, or they refuse; the command did not run
  124  the lock was lost, and the command stopped (or it had just ended by itself);
       or the command was stopped because --max-hold was over
  126  the command cannot be run
  127  there is no such command
  128 + N  signal N came while waiting for the lock
Some commands end with such codes themselves: timeout with 124, xargs with 123 and
124, and shells with 126 and 127. If the command has done so, a line on stderr says it.
For "timeout" around redlock there is no such line: use --wait and --max-hold instead.`,
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
	flags.StringArrayVar(&r.also, "also", nil, "hold the lock called `name` as well, all or none; any number of times, in any order")
	flags.BoolVar(&r.shared, "shared", false, "share the lock with all others that run with --shared: any number of these run at a time, or one command without it")
	flags.IntVar(&r.permits, "permits", 0, "take one of `N` permits of NAME instead of the lock, so that up to N commands run at a time; all who use NAME should agree on N")
	durationVar(flags, &r.ttl, "ttl", defaultRunTTL, "how long the lock lives on if this process dies or loses the servers")
	durationVar(flags, &r.grace, "grace", defaultGrace,
		"how long a command may take to end when the lock is lost, 0 to kill it at once; at most a third of the TTL, and less by default if that is short")
	durationVar(flags, &r.minHold, "min-hold", 0,
		"keep the lock for at least so long, counted from when it was taken, even if the command ends sooner or this machine dies: for a job that several machines start at about the same time; if --ttl is longer, the lock is kept for that long (default none)")
	durationVar(flags, &r.maxHold, "max-hold", 0,
		"stop the command when the lock has been held for so long, as if the lock were lost: SIGTERM comes the grace period and a little earlier, so that the command has ended by then; at least the TTL (default no limit)")
	flags.IntVarP(&r.codes.taken, "taken-exit-code", "E", runTaken, "end with exit code `N`, from 0 to 255, if the lock is taken")
	flags.BoolVar(&r.fencing, "fencing", false, "give the command a fencing token: a number for what it writes to, higher for each later lock of NAME")
	durationVar(flags, &r.quarantine, "quarantine", 0,
		"have a server that may have lost its data, or is new, lock nothing for so long, at least a second more than the longest TTL of all who use it; "+
			"--wait waits for the end of that (default none)")
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
	path    string // of the command
	told    bool   // a signal that asks a program to end was passed on

	extending struct { // whether extensions fail
		sync.Mutex
		failing map[string]bool // by key
	}
}
